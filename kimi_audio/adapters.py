"""Adapters: small additions to the weights of the audio LLM (LoRA), in the files of the peft library.

peft is imported when an adapter is used: it is large, and part of the extra ``train``.
"""

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from kimi_audio.lm.model import AudioLM

ADAPTER_CONFIG = "adapter_config.json"


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
        ValueError: the folder holds no adapter, or one for another model.
    """
    if not (Path(folder) / ADAPTER_CONFIG).exists():
        raise ValueError(f"{folder} holds no adapter: it has no {ADAPTER_CONFIG}")
    try:
        wrapped = import_peft().PeftModel.from_pretrained(lm, str(folder))
    except (RuntimeError, KeyError, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ValueError(f"the adapter in {folder} does not fit this model: {' '.join(lines[:2])}") from None
    return (merged(wrapped) if merge else wrapped.get_base_model()).requires_grad_(False).eval()


@torch.no_grad()
def merged(wrapped: Any) -> AudioLM:
    """Return the model of a ``PeftModel`` with the adapter added to its weights; nothing of peft stays in it."""
    lm = wrapped.merge_and_unload()
    assert isinstance(lm, AudioLM)
    return lm
