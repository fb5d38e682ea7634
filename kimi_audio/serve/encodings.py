"""Sound as the formats that clients ask for, written while it is made. Shapes: L samples at 24 kHz."""

import importlib.util
import struct
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from kimi_audio.audio.writing import PROVENANCE
from kimi_audio.core.units import OUTPUT_RATE_HZ
from kimi_audio.serve.http_errors import ApiError, unsupported

_UNKNOWN_BYTES = 0xFFFFFFFF  # the length in the header of a sound whose end is not known


def to_pcm16(wav: Tensor) -> bytes:
    """Return samples [L] in [-1, 1] as 16-bit little-endian integers."""
    return (wav.clamp(-1, 1) * 32767).round().to(torch.int16).numpy().astype("<i2").tobytes()


class Encoder(Protocol):
    """Writes one sound."""

    def push(self, wav: Tensor) -> bytes:
        """Return what the next samples [L] complete."""
        ...

    def finish(self) -> bytes:
        """Return the rest."""
        ...


class PcmEncoder:
    """16-bit samples, behind a header that leaves their number open if they are to be a WAV file."""

    def __init__(self, *, with_header: bool) -> None:
        self._head = wav_header() if with_header else b""

    def push(self, wav: Tensor) -> bytes:
        """Return the samples."""
        head, self._head = self._head, b""
        return head + to_pcm16(wav)

    def finish(self) -> bytes:
        """Return the header if there was no sound."""
        return self.push(torch.zeros(0))


def wav_header(data_bytes: int = _UNKNOWN_BYTES) -> bytes:
    """Return the header of a WAV file with 16-bit mono samples; it tells where they come from."""
    comment = PROVENANCE.encode() + b"\0"
    comment += b"\0" * (len(comment) % 2)
    info = struct.pack("<4sI4s4sI", b"LIST", len(comment) + 12, b"INFO", b"ICMT", len(comment)) + comment
    riff_bytes = min(_UNKNOWN_BYTES, data_bytes + 36 + len(info))
    format = struct.pack("<HHIIHH", 1, 1, OUTPUT_RATE_HZ, 2 * OUTPUT_RATE_HZ, 2, 16)
    return (
        struct.pack("<4sI4s4sI", b"RIFF", riff_bytes, b"WAVE", b"fmt ", 16)
        + format
        + info
        + struct.pack("<4sI", b"data", data_bytes)
    )


class _Sink:
    """A file that can only be written on; PyAV closes it."""

    def __init__(self) -> None:
        self.content = bytearray()

    def write(self, content: bytes) -> int:
        self.content += content
        return len(content)

    def take(self) -> bytes:
        content, self.content = bytes(self.content), bytearray()
        return content


class FfmpegEncoder:
    """A compressed format, by PyAV."""

    def __init__(self, container: str, codec: str, bit_rate: int | None, options: dict[str, str]) -> None:
        import av

        self._sink = _Sink()
        self._output = av.open(self._sink, "w", format=container, container_options=options)
        self._stream: Any = self._output.add_stream(codec, OUTPUT_RATE_HZ)
        self._stream.layout = "mono"
        self._output.metadata["comment"] = PROVENANCE
        if bit_rate:
            self._stream.bit_rate = bit_rate
        self._written = 0

    def push(self, wav: Tensor) -> bytes:
        """Return what the encoder has finished."""
        import av

        if len(wav):
            samples = np.frombuffer(to_pcm16(wav), "<i2")[None]
            frame = av.AudioFrame.from_ndarray(samples, "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = OUTPUT_RATE_HZ, self._written, Fraction(1, OUTPUT_RATE_HZ)
            self._written += len(wav)
            self._output.mux(self._stream.encode(frame))
        return self._sink.take()

    def finish(self) -> bytes:
        """Return the end of the file."""
        self._output.mux(self._stream.encode(None))
        self._output.close()
        return self._sink.take()


_ENCODERS: dict[str, tuple[str, Callable[[], Encoder]]] = {
    "wav": ("audio/wav", lambda: PcmEncoder(with_header=True)),
    "pcm": ("audio/pcm", lambda: PcmEncoder(with_header=False)),
    "flac": ("audio/flac", lambda: FfmpegEncoder("flac", "flac", None, {})),
    "mp3": ("audio/mpeg", lambda: FfmpegEncoder("mp3", "libmp3lame", 64_000, {"write_xing": "0"})),
    "opus": ("audio/ogg", lambda: FfmpegEncoder("ogg", "libopus", 32_000, {"page_duration": "100000"})),
    "aac": ("audio/aac", lambda: FfmpegEncoder("adts", "aac", 64_000, {})),
}
FORMATS = tuple(_ENCODERS)
_PLAIN = ("wav", "pcm")


def encoder_of(format: str, param: str = "response_format") -> tuple[str, Encoder]:
    """Return the media type of a format and what writes one sound in it.

    Raises:
        ApiError: there is no such format, or it needs a library that is not installed.
    """
    if format not in _ENCODERS:
        raise unsupported(param, format, ", ".join(FORMATS))
    if format not in _PLAIN and importlib.util.find_spec("av") is None:
        raise ApiError(
            f"This server cannot write {format}: PyAV is not installed (pip install 'kimi-audio[media]'). "
            "Ask for wav or pcm.",
            501,
            code="unsupported_format",
            param=param,
        )
    media_type, make = _ENCODERS[format]
    return media_type, make()
