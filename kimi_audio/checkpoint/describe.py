"""Which networks a model folder holds, and how large they are."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from kimi_audio.checkpoint.find import find_semantic_tokenizer
from kimi_audio.checkpoint.layout import FLOW, VOCODER, WHISPER
from kimi_audio.checkpoint.load import load_lm_config, read_config
from kimi_audio.core.config import EncoderConfig, FlowConfig, SemanticConfig, VocoderConfig
from kimi_audio.core.weights import PICKLE
from kimi_audio.detokenizer.dit import DiT
from kimi_audio.detokenizer.vocoder import BigVGAN
from kimi_audio.lm.model import AudioLM
from kimi_audio.nn.empty import build_empty
from kimi_audio.tokenizer.acoustic import AcousticEncoder
from kimi_audio.tokenizer.semantic import SemanticTokenizer


@dataclass(frozen=True)
class Component:
    """One network of a model folder."""

    name: str
    parameters: int
    file_bytes: int


def list_components(folder: Path) -> list[Component]:
    """Return the networks of a model folder and their sizes, from its configs, without reading weights.

    Raises:
        ValueError: a config is missing, damaged or not supported.
    """
    builders: dict[str, tuple[Path, Callable[[Path], nn.Module]]] = {
        "audio LLM": (folder / "config.json", lambda path: AudioLM(load_lm_config(path.parent))),
        "acoustic encoder": (
            folder / WHISPER / "config.json",
            lambda path: AcousticEncoder(read_config(EncoderConfig, path)),
        ),
        "semantic tokenizer": (
            find_semantic_tokenizer(folder) / "config.json",
            lambda path: SemanticTokenizer(read_config(SemanticConfig, path)),
        ),
        "flow matching": (folder / FLOW / "config.yaml", lambda path: DiT(read_config(FlowConfig, path).dit)),
        "vocoder": (folder / VOCODER / "config.json", lambda path: BigVGAN(read_config(VocoderConfig, path))),
    }
    components = []
    for name, (path, build) in builders.items():
        place = path.parent
        if not place.exists():  # a model without its detokenizer still writes
            continue
        parameters = sum(parameter.numel() for parameter in build_empty(partial(build, path)).parameters())
        files = [*place.glob("*.safetensors"), *place.glob(PICKLE)]
        components.append(Component(name, parameters, sum(file.stat().st_size for file in files)))
    return components
