"""Autocast to bfloat16, only where a device computes in it: a CPU without such instructions is many times slower."""

from contextlib import AbstractContextManager
from functools import cache

import torch


@cache
def computes_bf16(device_type: str) -> bool:
    """Tell whether devices of a type compute in bfloat16; of a type that this machine lacks, newer ones do."""
    if device_type == "cuda" and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type == "cpu":
        # The question that torch itself asks before it takes such a kernel; builds without oneDNN have none.
        return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return True


def gpus_compute_bf16() -> bool:
    """Tell whether the GPUs of this machine compute in bfloat16; where there are none, newer ones do."""
    return computes_bf16("cuda")


def autocast(
    device: torch.device | str, wanted: bool = True, *, cache_enabled: bool = True
) -> AbstractContextManager[object]:
    """Return a context that computes in bfloat16 if that is wanted and the device does, and in float32 otherwise."""
    device_type = torch.device(device).type
    enabled = wanted and computes_bf16(device_type)
    return torch.autocast(device_type, torch.bfloat16, enabled=enabled, cache_enabled=cache_enabled)
