"""Samples as numbers: from the integers of PCM to floats. It needs no torch, and so does no decoder."""

import numpy as np


def to_float(array: np.ndarray) -> np.ndarray:
    """Return float32 samples in [-1, 1] of floats, which are so already, or of PCM integers; a copy in any case."""
    if np.issubdtype(array.dtype, np.floating):
        return array.astype(np.float32)
    if array.dtype.newbyteorder("=") not in (np.uint8, np.int8, np.int16, np.int32):
        raise ValueError(f"samples must be floats in [-1, 1] or int16, int32 or (u)int8 numbers, not {array.dtype}")
    limits = np.iinfo(array.dtype)
    silence, full_scale = (limits.max + limits.min + 1) / 2, (limits.max - limits.min + 1) / 2
    samples = array.astype(np.float32)
    samples -= silence
    samples /= full_scale  # a power of two: nothing is rounded twice
    return samples
