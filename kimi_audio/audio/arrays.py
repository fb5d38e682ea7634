"""Sound that is in memory already: its layouts and its numbers. Shapes: L samples, C channels."""

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from kimi_audio.audio.pcm import to_float
from kimi_audio.audio.sources import Samples, check_rate

BLOCK_SAMPLES = 1 << 18


def blocks_of(source: Samples) -> Iterator[Samples]:
    """Yield blocks [L, C] in float32 of an array.

    Raises:
        ValueError: its rate, shape or numbers are not those of sound.
    """
    rate_hz = check_rate(source.rate_hz)
    array = source.array
    if isinstance(array, Tensor):
        array = array.detach().cpu()
        array = (array.float() if array.is_floating_point() else array).numpy()
    array = np.asarray(array)
    if array.ndim not in (1, 2):
        raise ValueError(f"samples must have one or two dimensions, not shape {array.shape}")
    if array.ndim == 1:
        array = array[:, None]
    elif array.shape[0] < array.shape[1]:
        array = array.T  # [C, L], the layout of torch code
    for start in range(0, len(array) if array.size else 0, BLOCK_SAMPLES):
        yield Samples(to_float(array[start : start + BLOCK_SAMPLES]), rate_hz)
