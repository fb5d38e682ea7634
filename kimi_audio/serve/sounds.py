"""Recordings of clients: the one place where bytes from outside are decoded."""

import base64
import binascii

from kimi_audio.audio import sandbox
from kimi_audio.audio.sources import Samples
from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.serve.http_errors import ApiError
from kimi_audio.serve.settings import ServeLimits


def decoded(content: bytes, limits: ServeLimits) -> Samples:
    """Return a recording [L] at 16 kHz, decoded in a process of its own and no further than is allowed.

    Raises:
        ApiError: it is no audio, damaged, or too long.
    """
    allowed = sandbox.Limits(file_bytes=limits.body_bytes, sound_s=limits.sound_s)
    try:
        return sandbox.decode_untrusted(content, allowed, rate_hz=INPUT_RATE_HZ, name="the recording")
    except ValueError as error:
        raise ApiError(f"The recording cannot be used: {error}.", code="invalid_audio", param="file") from None


def from_base64(data: str, most_bytes: int, param: str) -> bytes:
    """Return bytes from base64, whose length is checked before it is decoded.

    Raises:
        ApiError: it is too long, or no base64.
    """
    if len(data) > 4 * (most_bytes // 3 + 1):
        raise ApiError(f"{param} holds more than {most_bytes / 2**20:g} MiB.", 413, code="too_large", param=param)
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(f"{param} is not base64.", code="invalid_base64", param=param) from None


def seconds_of(sound: Samples) -> float:
    """Return how long a recording lasts."""
    return len(sound.array) / sound.rate_hz
