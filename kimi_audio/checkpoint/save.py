"""Write a model folder in the released layout."""

from pathlib import Path

from torch import Tensor

from kimi_audio.checkpoint.find import find_semantic_tokenizer
from kimi_audio.checkpoint.layout import ENCODER, FILES, FLOW, SEMANTIC, SPEECH_MODEL, VOCODER, WHISPER
from kimi_audio.core.config import FlowConfig, Settings
from kimi_audio.core.files import copy_whole, write_json, write_yaml
from kimi_audio.core.weights import INDEX, WEIGHTS, holds_int8, save_weights
from kimi_audio.detokenizer.dit import DiT
from kimi_audio.detokenizer.vocoder import BigVGAN, to_released
from kimi_audio.lm.model import AudioLM
from kimi_audio.tokenizer.acoustic import AcousticEncoder
from kimi_audio.tokenizer.semantic import SemanticTokenizer
from kimi_audio.tokenizer.text import TextTokenizer


def save_model(
    folder: Path,
    *,
    lm: AudioLM,
    text_tokenizer: TextTokenizer,
    acoustic: AcousticEncoder,
    semantic: SemanticTokenizer,
    dit: DiT,
    flow_config: FlowConfig,
    vocoder: BigVGAN,
    settings: Settings | None = None,
    int8: bool = False,
) -> None:
    """Write a model folder in the released layout, semantic tokenizer included.

    ``config.json`` comes last, and an older one goes first: a folder that was not finished is not taken for a model.

    Args:
        folder: made if needed; files of other names in it are left alone.
        lm: the audio LLM.
        text_tokenizer: the text tokenizer.
        acoustic: the acoustic encoder.
        semantic: the semantic tokenizer.
        dit: the flow-matching network.
        flow_config: with the normalisation of its mels.
        vocoder: the vocoder.
        settings: how the model is best used.
        int8: store large matrices and convolutions as int8 with row scales, and all else in float16; by default
            everything is stored exactly as it is.

    Raises:
        ValueError: the folder holds a model in shards, or tensors are not finite.
    """
    if (folder / INDEX).exists():
        raise ValueError(f"{folder} holds a model in shards; save to another folder")
    (folder / "config.json").unlink(missing_ok=True)
    text_tokenizer.save(folder)
    save_weights(folder / WEIGHTS, lm.state_dict(), int8=int8)
    write_json(folder / "generation_config.json", (settings or Settings()).to_dict())

    save_weights(folder / WHISPER / WEIGHTS, released_acoustic(acoustic), int8=int8)
    write_json(folder / WHISPER / "config.json", acoustic.config.to_dict())
    save_weights(folder / SEMANTIC / WEIGHTS, semantic.state_dict(), int8=int8)
    write_json(folder / SEMANTIC / "config.json", semantic.config.to_dict())

    _save_detokenizer(folder, dit, flow_config, vocoder, int8=int8)

    marks = {
        "kimia_media_begin": text_tokenizer.special.media_begin,
        "kimia_media_end": text_tokenizer.special.media_end,
    }
    write_json(folder / "config.json", lm.config.to_dict() | marks)


def released_acoustic(acoustic: AcousticEncoder) -> dict[str, Tensor]:
    """Return the weights of an acoustic encoder by their released names."""
    return {f"{ENCODER}{name}": tensor for name, tensor in acoustic.state_dict().items()}


def save_with_detokenizer(folder: Path, base: Path, *, dit: DiT, flow_config: FlowConfig, vocoder: BigVGAN) -> None:
    """Write a model folder that is ``base`` with another detokenizer; everything else is copied as it is.

    The detokenizer is stored as that of ``base`` is: exactly, or small. ``config.json`` comes last, as in
    ``save_model``, and the semantic tokenizer comes along.

    Raises:
        ValueError: both folders are the same, the folder holds another model in shards, or tensors are not finite.
    """
    if folder.resolve() == base.resolve():
        raise ValueError(f"{folder} is the base model itself; write to another folder")
    if (folder / INDEX).exists() and not (base / INDEX).exists():
        raise ValueError(f"{folder} holds a model in shards; save to another folder")
    config = folder / "config.json"
    config.unlink(missing_ok=True)
    semantic = find_semantic_tokenizer(base)
    copied = {path: folder / path.relative_to(base) for pattern in FILES for path in base.glob(pattern)}
    copied |= {semantic / name: folder / SEMANTIC / name for name in ("config.json", WEIGHTS)}
    for source, target in copied.items():
        if target != config:
            copy_whole(source, target)
    _save_detokenizer(folder, dit, flow_config, vocoder, int8=holds_int8(base / FLOW / WEIGHTS))
    copy_whole(base / "config.json", config)


def _save_detokenizer(folder: Path, dit: DiT, flow_config: FlowConfig, vocoder: BigVGAN, *, int8: bool) -> None:
    flow = {SPEECH_MODEL + name: tensor for name, tensor in dit.state_dict().items()}
    save_weights(folder / FLOW / WEIGHTS, flow, int8=int8)
    write_yaml(folder / FLOW / "config.yaml", flow_config.to_dict())
    generator = to_released(vocoder.state_dict())
    filters = [name for name in generator if name.endswith(".filter")]  # are compared with exact ones when loading
    save_weights(folder / VOCODER / WEIGHTS, generator, int8=int8, exact=filters)
    write_json(folder / VOCODER / "config.json", vocoder.config.to_dict())
