"""Joining of waveforms that overlap. Shapes: L samples."""

import math

import torch
from torch import Tensor


def crossfade(tail: Tensor, wav: Tensor) -> Tensor:
    """Blend the end of one rendering into the beginning of another: the gains of both sum to one everywhere.

    Args:
        tail: samples of the earlier rendering [..., K], possibly none.
        wav: the later rendering [..., L], which starts at the same moment; K <= L.

    Returns:
        [..., L]: a raised-cosine transition over the first K samples, then ``wav`` alone.
    """
    overlap = tail.shape[-1]
    assert overlap <= wav.shape[-1], "the tail is longer than what follows it"
    moments = (torch.arange(overlap, device=wav.device, dtype=wav.dtype) + 0.5) / max(overlap, 1)
    rise = 0.5 - 0.5 * torch.cos(math.pi * moments)
    return torch.cat([tail + rise * (wav[..., :overlap] - tail), wav[..., overlap:]], dim=-1)
