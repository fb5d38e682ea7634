"""Which networks a model folder holds, how large they are, and what memory they take."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from kimi_audio.checkpoint.find import find_semantic_tokenizer
from kimi_audio.checkpoint.layout import FLOW, VOCODER, WHISPER
from kimi_audio.checkpoint.load import load_lm_config, read_config
from kimi_audio.core.config import EncoderConfig, FlowConfig, SemanticConfig, VocoderConfig
from kimi_audio.core.quantized import FORMATS, Format
from kimi_audio.core.weights import PICKLE
from kimi_audio.detokenizer.dit import DiT
from kimi_audio.detokenizer.vocoder import BigVGAN
from kimi_audio.lm.cache import token_bytes
from kimi_audio.lm.captured import slot_bytes, slots_within
from kimi_audio.lm.model import AudioLM
from kimi_audio.lm.quantize import num_bytes
from kimi_audio.nn.empty import build_empty
from kimi_audio.tokenizer.acoustic import AcousticEncoder
from kimi_audio.tokenizer.semantic import SemanticTokenizer


@dataclass(frozen=True)
class Component:
    """One network of a model folder."""

    name: str
    parameters: int
    file_bytes: int


@dataclass(frozen=True)
class MemoryUse:
    """What a model takes on a device that computes in bfloat16, from its configs alone."""

    lm_bytes: dict[str, int]  # by the format of its matrices
    encoders_bytes: int
    detokenizer_bytes: int  # with the vocoder; 0 if there is none
    cache_bytes: int  # of one conversation that fills the context
    slot_bytes: int  # of one conversation whose steps are captured
    working_bytes: int = 1_000_000_000  # an allowance: the context of CUDA, and what layers compute

    def total_bytes(self, quantize: str, *, speech: bool) -> int:
        """Return the sum in a format, with speech or for text alone."""
        fixed = self.encoders_bytes + self.cache_bytes + self.working_bytes
        return self.lm_bytes[quantize] + fixed + (self.detokenizer_bytes if speech else 0)

    def num_slots(self, card_bytes: int, quantize: str, *, speech: bool) -> int:
        """Return how many conversations of captured steps a card has memory for, 0 where the model does not fit."""
        left = card_bytes - self.total_bytes(quantize, speech=speech)
        return slots_within(left + self.cache_bytes, self.slot_bytes) if left >= 0 else 0


def list_components(folder: Path) -> list[Component]:
    """Return the networks of a model folder and their sizes, from its configs, without reading weights.

    Raises:
        ValueError: a config is missing, damaged or not supported.
    """
    components = []
    for name, (place, module) in _networks(folder):
        files = [*place.glob("*.safetensors"), *place.glob(PICKLE)]
        components.append(Component(name, _parameters(module), sum(file.stat().st_size for file in files)))
    return components


def memory_of(folder: Path) -> MemoryUse:
    """Return the memory that a model takes; errors as for ``list_components``."""
    modules = {name: module for name, (_, module) in _networks(folder)}
    lm, config = modules["audio LLM"], load_lm_config(folder)
    # Semantic tokenizer and vocoder are float32 always.
    widths = {"acoustic encoder": 2, "semantic tokenizer": 4, "flow matching": 2, "vocoder": 4}
    sizes = {name: widths[name] * _parameters(module) for name, module in modules.items() if module is not lm}
    layers = config.num_layers + config.num_audio_layers
    formats: tuple[Format | None, ...] = (None, *FORMATS)
    return MemoryUse(
        {name or "bfloat16": num_bytes(lm, name, torch.bfloat16) for name in formats},
        sizes["acoustic encoder"] + sizes["semantic tokenizer"],
        sizes.get("flow matching", 0) + sizes.get("vocoder", 0),
        config.max_positions * token_bytes(config, layers, torch.bfloat16),
        slot_bytes(config, torch.bfloat16),
    )


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _networks(folder: Path) -> Iterator[tuple[str, tuple[Path, nn.Module]]]:
    """Yield the name, the folder and the empty network of every component."""
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
    for name, (path, build) in builders.items():
        if path.parent.exists():  # a model without its detokenizer still writes
            yield name, (path.parent, build_empty(partial(build, path)))
