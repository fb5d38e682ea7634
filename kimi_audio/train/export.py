"""From a training run of the audio LLM to a model folder in the released layout, or to an adapter of peft."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kimi_audio.checkpoint import (
    FLOW,
    LEXICON,
    SEMANTIC,
    VOCODER,
    WHISPER,
    find_model,
    find_semantic_tokenizer,
    load_acoustic,
    load_lm,
    released_acoustic,
)
from kimi_audio.core.files import copy_whole, read_json
from kimi_audio.core.quantized import Format
from kimi_audio.core.weights import INDEX, WEIGHTS, read_shards, save_quantized, save_weights
from kimi_audio.lm.adapters import merged
from kimi_audio.lm.model import AudioLM
from kimi_audio.lm.quantize import formats_of
from kimi_audio.train.hearing import HearingLM
from kimi_audio.train.loop.loop import load_module_state
from kimi_audio.train.lora import LoraOptions, add_lora, only_trained
from kimi_audio.train.pretrain import STAGE
from kimi_audio.train.runs import RUN, check_base_weights

# Beside the weights of the LLM; model cards tell about the base.
_SETTINGS = ("*.json", "*.py", "tiktoken.model", LEXICON)
_NETWORKS = (WHISPER, FLOW, VOCODER, SEMANTIC)


def export_model(
    run: Path, folder: Path, *, best: bool = False, int8: bool = False, quantize: Format | None = None
) -> None:
    """Write the model of a run: what it trained, adapters merged, and copies of the other components of its base.

    The weights are their average where the run has one. They keep the dtype of the base; small ones (int8) become
    float32, unless ``int8`` is set.

    Args:
        run: folder of the run.
        folder: to be made; ``config.json`` comes last, so a folder that was not finished is not taken for a model.
        best: the weights with the best score instead of the newest ones.
        int8: store matrices at 8 bits, for small models.
        quantize: store the matrices of the LLM as they are held in memory when it is loaded in this format.

    Raises:
        ValueError: both of these are asked for, there is no such run or checkpoint, its base is gone or has other
            weights now, or ``folder`` is not empty.
    """
    if int8 and quantize:
        raise ValueError("int8 stores everything at 8 bits, quantize the LLM alone; ask for one of them")
    facts, base = _facts(run, folder)
    if facts.get("stage") == STAGE or facts.get("train_encoder"):
        module = _hearing(run, base, best=best)
        _copy(base, folder)
        for file in (folder / WHISPER).glob("*.safetensors*"):
            file.unlink()
        _save_like(base / WHISPER, folder / WHISPER / WEIGHTS, released_acoustic(module.acoustic), int8=int8)
        lm = module.lm
    else:
        lm, wrapped = _trained(run, facts, base, best=best)
        lm = lm if wrapped is None else merged(wrapped)
        _copy(base, folder)
    if quantize is None:
        _save_like(base, folder / WEIGHTS, lm.state_dict(), int8=int8)
    else:
        save_quantized(folder / WEIGHTS, _in_dtype_of(base, lm.state_dict()), formats_of(lm, quantize))
    copy_whole(base / "config.json", folder / "config.json")


def _save_like(source: Path, target: Path, state: Mapping[str, Tensor], *, int8: bool) -> None:
    """Write tensors in the dtype of those in the folder ``source``."""
    save_weights(target, _in_dtype_of(source, state), int8=int8)


def _in_dtype_of(source: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    dtype = next(read_shards(source))[1].dtype
    return {name: tensor.to(dtype) for name, tensor in state.items()}


def export_adapter(run: Path, folder: Path, *, best: bool = False) -> None:
    """Write the adapter of a run in the format of peft; arguments and errors as for ``export_model``."""
    facts, base = _facts(run, folder)
    if facts.get("stage") == STAGE:
        raise ValueError(f"{run} was pre-training and has no adapter; export the model")
    if facts["lora"] is None:
        raise ValueError(f"{run} trained the weights themselves and has no adapter; export the model")
    _, wrapped = _trained(run, facts, base, best=best)
    # Told not to look: whether embeddings were resized is a question to the hub.
    wrapped.save_pretrained(str(folder), save_embedding_layers=False)


def _facts(run: Path, folder: Path) -> tuple[dict[str, Any], Path]:
    if not (run / RUN).exists():
        raise ValueError(f"{run} holds no training run of the audio LLM: it has no {RUN}")
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; give another folder")
    facts = read_json(run / RUN)
    base = find_model(facts["base"])
    check_base_weights(run, facts, base)
    return facts, base


def _hearing(run: Path, base: Path, *, best: bool) -> HearingLM:
    module = HearingLM(load_lm(base), load_acoustic(base)).requires_grad_(True)
    load_module_state(run, module, best=best)
    return module


def _trained(run: Path, facts: dict[str, Any], base: Path, *, best: bool) -> tuple[AudioLM, Any]:
    """Return the LLM of a run and, if it has adapters, peft's view of it."""
    lm = load_lm(base, dtype=torch.float32).requires_grad_(True)
    if facts["lora"] is None:
        load_module_state(run, lm, best=best)
        return lm, None
    # Adapters that were trained beside 4 bits are merged into the full weights.
    wrapped = add_lora(lm, LoraOptions(**facts["lora"] | {"four_bit": False}))
    with only_trained(lm):
        load_module_state(run, lm, best=best)
    return lm, wrapped


def _copy(base: Path, folder: Path) -> None:
    """Copy everything but the LLM and its config."""
    semantic = find_semantic_tokenizer(base)
    copied = {path: folder / path.name for pattern in _SETTINGS for path in base.glob(pattern)}
    copied |= {path: folder / name / path.name for name in _NETWORKS for path in (base / name).glob("*")}
    copied |= {path: folder / SEMANTIC / path.name for path in semantic.glob("*")}
    for source, target in copied.items():
        if source.is_file() and target not in (folder / INDEX, folder / "config.json"):
            copy_whole(source, target)
