"""Cutting recordings into the encoders' windows of 30 s.

Shapes: L samples at 16 kHz, W windows.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kimi_audio.core.units import SAMPLES_PER_TOKEN, SAMPLES_PER_WINDOW


def cut_windows(wav: Tensor) -> list[Tensor]:
    """Cut wav [L] into consecutive windows of 30 s; the last keeps its own length.

    Raises:
        ValueError: there is no sample.
    """
    if wav.dim() != 1 or wav.numel() == 0:
        raise ValueError(f"a recording must be a row of at least one sample, not shape {tuple(wav.shape)}")
    return list(wav.split(SAMPLES_PER_WINDOW))


def whole_tokens(samples: int) -> int:
    """Return ``samples`` rounded up to whole tokens of 1280 samples."""
    return -(-samples // SAMPLES_PER_TOKEN) * SAMPLES_PER_TOKEN


def alike(lengths: Sequence[int], samples: int) -> Iterator[tuple[int, list[int]]]:
    """Yield (length, numbers of the windows that have it), so many that they hold at most so many samples together."""
    by_length: dict[int, list[int]] = {}
    for number, length in enumerate(lengths):
        by_length.setdefault(length, []).append(number)
    for length, numbers in by_length.items():
        size = max(1, samples // length)
        for start in range(0, len(numbers), size):
            yield length, numbers[start : start + size]


def stack_padded(windows: Sequence[Tensor], length_samples: int) -> Tensor:
    """Fill windows up with silence to ``length_samples`` and stack them to [W, length_samples]."""
    return torch.stack([F.pad(window, (0, length_samples - len(window))) for window in windows])
