"""The two codes of telephony, 8 bits a sample: µ-law and A-law (ITU-T G.711). Shapes: L samples."""

from functools import cache

import numpy as np

_BIAS = 0x84  # of µ-law


def decode_ulaw(content: bytes) -> np.ndarray:
    """Return samples [L] as float32 in [-1, 1]."""
    return _ulaw_values()[np.frombuffer(content, np.uint8)]


def decode_alaw(content: bytes) -> np.ndarray:
    """Return samples [L] as float32 in [-1, 1]."""
    return _alaw_values()[np.frombuffer(content, np.uint8)]


def encode_ulaw(samples: np.ndarray) -> bytes:
    """Return the nearest codes of samples [L] in [-1, 1]."""
    return _nearest(samples, _ulaw_values())


def encode_alaw(samples: np.ndarray) -> bytes:
    """Return the nearest codes of samples [L] in [-1, 1]."""
    return _nearest(samples, _alaw_values())


def _nearest(samples: np.ndarray, values: np.ndarray) -> bytes:
    order = np.argsort(values, kind="stable")
    ascending = values[order]
    middles = (ascending[1:] + ascending[:-1]) / 2
    return order[np.searchsorted(middles, samples)].astype(np.uint8).tobytes()


@cache
def _ulaw_values() -> np.ndarray:
    """Return what each of the 256 codes stands for."""
    codes = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (codes >> 4) & 7, (codes & 15).astype(np.int32)
    sizes = ((mantissa << 3) + _BIAS << exponent) - _BIAS
    return (np.where(codes & 0x80, -sizes, sizes) / 32768).astype(np.float32)


@cache
def _alaw_values() -> np.ndarray:
    """Return what each of the 256 codes stands for."""
    codes = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = (codes >> 4) & 7, (codes & 15).astype(np.int32)
    sizes = np.where(exponent == 0, (mantissa << 4) + 8, (mantissa << 4) + 0x108 << np.maximum(exponent, 1) - 1)
    return (np.where(codes & 0x80, sizes, -sizes) / 32768).astype(np.float32)
