"""From several channels to one, and from one rate to another, block by block. Shapes: L samples, C channels."""

import logging
from collections.abc import Iterator

import numpy as np
import soxr

from kimi_audio.audio.sources import Samples

logger = logging.getLogger(__name__)

MAX_LEVEL = 32.0  # 30 dB above full scale; beyond, the numbers are not those of sound in [-1, 1]
CANCELLED = 0.1  # of the power that unrelated channels would have together
JUDGED_S = 0.1  # of sound, at least, to tell whether channels cancel each other


def to_mono(blocks: Iterator[Samples], name: str) -> Iterator[Samples]:
    """Average the channels [L, C] to [L]; where they cancel each other, the louder one is heard alone.

    Raises:
        ValueError: there are no samples, they are not finite, or far beyond full scale.
    """
    alone: int | None = None
    is_first, warned = True, False
    for block in blocks:
        array = np.asarray(block.array)
        if not len(array):
            continue
        _check_level(array, name)
        average = array.mean(axis=1) if array.shape[1] > 1 else array[:, 0]
        if array.shape[1] == 1:
            alone = None
        elif is_first or len(array) >= JUDGED_S * block.rate_hz:
            alone = _louder_if_cancelled(array, average)
        is_first = False
        if alone is not None and not warned:
            warned = True
            logger.warning("%s has channels that cancel each other (left = -right); the louder one is heard", name)
        yield Samples(average if alone is None else np.ascontiguousarray(array[:, alone]), block.rate_hz)
    if is_first:
        raise ValueError(f"{name} holds no samples")


def _check_level(array: np.ndarray, name: str) -> None:
    level = max(float(array.max()), -float(array.min()))
    if not np.isfinite(level):
        raise ValueError(f"{name} holds samples that are not finite (NaN or infinity)")
    if level > MAX_LEVEL:
        raise ValueError(
            f"{name} holds samples of up to {level:.4g}, but full scale is 1; divide samples in 16-bit scale by 32768"
        )


def _louder_if_cancelled(array: np.ndarray, average: np.ndarray) -> int | None:
    powers = np.square(array, dtype=np.float64).sum(axis=0)
    expected = powers.sum() / array.shape[1] ** 2
    if np.square(average, dtype=np.float64).sum() < CANCELLED * expected:
        return int(powers.argmax())
    return None


def resampled(blocks: Iterator[Samples], rate_hz: int | None) -> Iterator[Samples]:
    """Bring blocks [L] to one rate, by default that of the first, with soxr HQ, the order of the official front-end.

    The result does not depend on how the samples are spread over blocks.
    """
    resampler, source_hz = None, 0
    for block in blocks:
        rate_hz = rate_hz or block.rate_hz
        if resampler is not None and block.rate_hz != source_hz:
            yield Samples(resampler.resample_chunk(np.zeros(0, np.float32), last=True), rate_hz)
            resampler = None
        source_hz = block.rate_hz
        if source_hz == rate_hz:
            yield block
            continue
        resampler = resampler or soxr.ResampleStream(source_hz, rate_hz, 1, dtype="float32")
        yield Samples(resampler.resample_chunk(np.asarray(block.array)), rate_hz)
    if resampler is not None and rate_hz is not None:
        yield Samples(resampler.resample_chunk(np.zeros(0, np.float32), last=True), rate_hz)
