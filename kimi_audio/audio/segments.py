"""Cutting long recordings at their pauses."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from kimi_audio.core.units import INPUT_RATE_HZ

FRAME_SAMPLES = INPUT_RATE_HZ // 50  # 20 ms
PAUSE_FRAMES = 10  # the loudness of a possible cut is that of 200 ms


def cut_at_pauses(blocks: Iterable[Tensor], longest_s: float) -> Iterator[Tensor]:
    """Cut a recording at 16 kHz into pieces of at most ``longest_s``, each at the quietest place of its last half.

    Nothing is lost: the pieces joined are the recording. No more of it than a piece and a block is held.

    Args:
        blocks: the recording, as a row of blocks [L].
        longest_s: of a piece.
    """
    longest = int(longest_s * INPUT_RATE_HZ)
    wav = torch.zeros(0)
    for block in blocks:
        wav = torch.cat([wav, block])
        while len(wav) > longest:
            cut = _quietest(wav, longest // 2, longest)
            yield wav[:cut]
            wav = wav[cut:]
    if len(wav):
        yield wav


def _quietest(wav: Tensor, begin: int, end: int) -> int:
    """Return the sample in the middle of the quietest 200 ms between two samples."""
    frames = wav[begin : end - (end - begin) % FRAME_SAMPLES].unflatten(0, (-1, FRAME_SAMPLES))
    power = frames.square().mean(1)
    width = min(PAUSE_FRAMES, len(power))
    loudness = power.unfold(0, width, 1).mean(1)
    return begin + (int(torch.argmin(loudness)) + width // 2) * FRAME_SAMPLES
