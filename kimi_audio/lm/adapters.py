"""Adapters: small additions to the weights of the audio LLM (LoRA), in the files of the peft library.

Only what is understood is read from a folder, and nothing from a network: a config that asks for more is refused, and
the tensors must be exactly those that the config promises, because an adapter that fits in part would have part of its
effect, or none. peft is imported when an adapter is used: it is large, and part of the extra ``train``.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import regex
import torch

from kimi_audio.core.files import read_json
from kimi_audio.core.numbers import finite_number, whole_number
from kimi_audio.core.weights import fitting, read_safetensors
from kimi_audio.lm.model import AudioLM

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

_TARGETS = ("target_modules", "modules_to_save")
_SWITCHES = ("use_rslora", "use_dora")
_WITHOUT_EFFECT = (  # in inference
    *("auto_mapping", "base_model_name_or_path", "inference_mode", "lora_dropout", "megatron_core", "peft_type"),
    *("peft_version", "qalora_group_size", "revision", "task_type"),
)
_PATTERN_S = 5.0  # time for finding the modules that a pattern means


def import_peft() -> ModuleType:
    """Return the peft library.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import peft
    except ImportError:
        raise ValueError("adapters need the peft library: install kimi-audio[train]") from None
    return peft


def load_adapter(lm: AudioLM, folder: str | os.PathLike[str], *, merge: bool = True) -> AudioLM:
    """Change the LLM in place by the adapter of a folder, and return it, ready for inference.

    Args:
        lm: the model that the adapter was trained on.
        folder: ``adapter_config.json`` and ``adapter_model.safetensors``.
        merge: add it to the weights, which is as fast as without it and rounds to their dtype; otherwise it stays
            beside them.

    Raises:
        ValueError: the folder holds no adapter, one for another model, or one that asks for what is not supported.
    """
    folder = Path(folder)
    if not (folder / ADAPTER_CONFIG).exists():
        raise ValueError(f"{folder} holds no adapter: it has no {ADAPTER_CONFIG}")
    options = _options(read_json(folder / ADAPTER_CONFIG), folder / ADAPTER_CONFIG)
    options["target_modules"] = _matching(options["target_modules"], lm, folder / ADAPTER_CONFIG)
    peft = import_peft()
    try:
        # On the meta device: sizes are compared before memory is spent.
        wrapped = peft.PeftModel(lm, peft.LoraConfig(**options), low_cpu_mem_usage=True)
        expected = peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False)
        tensors = read_safetensors(folder / ADAPTER_WEIGHTS)
        state = fitting(tensors, expected, str(folder), lm.lm_head.weight.device, torch.float32)
        peft.set_peft_model_state_dict(wrapped, state, low_cpu_mem_usage=True)
    except (RuntimeError, LookupError, TypeError, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ValueError(f"the adapter in {folder} does not fit this model: {' '.join(lines[:2])}") from None
    return (merged(wrapped) if merge else wrapped.get_base_model()).requires_grad_(False).eval()


def _options(values: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """Return what peft needs to know to apply an adapter."""
    if values.get("peft_type") != "LORA":
        raise ValueError(f"{source}: peft_type {values.get('peft_type')!r:.60} is not supported; it must be 'LORA'")
    used = (*_TARGETS, *_SWITCHES, *_WITHOUT_EFFECT, "r", "lora_alpha", "bias", "init_lora_weights")
    unknown = [name for name, value in values.items() if value and name not in used]
    # The other ways of beginning change the weights of the model, too.
    for name, allowed in {"bias": ("none",), "init_lora_weights": (True, False, "gaussian", "orthogonal")}.items():
        if values.get(name, allowed[0]) not in allowed:
            unknown.append(f"{name} {values[name]!r:.60}")
    if unknown:
        raise ValueError(f"{source} asks for {', '.join(unknown[:5])}, which is not supported")
    try:
        switches = {name: values.get(name) or False for name in _SWITCHES}
        if any(type(value) is not bool for value in switches.values()):
            raise ValueError(f"{' and '.join(_SWITCHES)} must be true or false")
        saved = values.get("modules_to_save")
        return switches | {
            "r": whole_number("r", values.get("r"), 1, 2**16),
            "lora_alpha": finite_number("lora_alpha", values.get("lora_alpha"), 0, 1e6),
            "target_modules": values.get("target_modules"),
            "modules_to_save": None if saved is None else _names("modules_to_save", saved),
            "init_lora_weights": False,  # they come from the file
        }
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def _matching(targets: Any, lm: AudioLM, source: Path) -> list[str]:
    """Return the names of the modules that a list of endings or a regular expression means.

    peft has no bound on the time that an expression takes, so it gets names.
    """
    if not isinstance(targets, str):
        return _names(f"{source}: target_modules", targets)
    end_s = time.monotonic() + _PATTERN_S
    try:
        pattern = regex.compile(targets)
        found = [
            name
            for name, _ in lm.named_modules()
            if pattern.fullmatch(name, timeout=max(end_s - time.monotonic(), 1e-3))
        ]
    except (regex.error, TimeoutError, RecursionError, OverflowError) as error:
        raise ValueError(f"{source}: the pattern target_modules cannot be used: {error}") from None
    if not found:
        raise ValueError(f"{source}: the pattern target_modules {targets[:60]!r} means no module of this model")
    return found


def _names(what: str, values: Any) -> list[str]:
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{what} must be a list of names")
    return values


@torch.no_grad()
def merged(wrapped: Any) -> AudioLM:
    """Return the model of a ``PeftModel`` with the adapter added to its weights; nothing of peft stays in it."""
    lm = wrapped.merge_and_unload()
    assert isinstance(lm, AudioLM)
    return lm
