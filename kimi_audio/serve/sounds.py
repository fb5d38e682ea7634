"""Recordings of clients: the one place where bytes from outside are decoded."""

import base64
import binascii
import io

import torch

from kimi_audio.audio.io import audio_blocks
from kimi_audio.audio.sources import Samples
from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.serve.http_errors import ApiError


def decoded(content: bytes, most_s: float) -> Samples:
    """Return a recording [L] at 16 kHz; it is decoded no further than is allowed.

    Raises:
        ApiError: it is no audio, damaged, or too long.
    """
    blocks, samples = [], 0
    try:
        # A file object, so that messages do not name a path, and bytes are never taken for one.
        for block in audio_blocks(io.BytesIO(content), INPUT_RATE_HZ):
            blocks.append(block)
            samples += len(block)
            if samples > most_s * INPUT_RATE_HZ:
                raise ApiError(
                    f"The recording is longer than {most_s:g} s; cut it into parts.",
                    413,
                    code="audio_too_long",
                    param="file",
                )
    except ValueError as error:
        raise ApiError(f"The recording cannot be read: {error}.", code="invalid_audio", param="file") from None
    return Samples(torch.cat(blocks), INPUT_RATE_HZ)


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
