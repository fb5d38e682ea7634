"""Sound as it travels over Realtime: from bytes of the client, and to bytes for it. Shapes: L samples."""

from dataclasses import dataclass

import numpy as np
import soxr
import torch
from torch import Tensor

from kimi_audio.audio.marking import Marker
from kimi_audio.audio.sources import Samples
from kimi_audio.core.units import INPUT_RATE_HZ, OUTPUT_RATE_HZ
from kimi_audio.serve.encodings import to_pcm16
from kimi_audio.serve.g711 import decode_alaw, decode_ulaw, encode_alaw, encode_ulaw
from kimi_audio.serve.session_config import AudioFormat
from kimi_audio.serve.session_state import TICKS_PER_S
from kimi_audio.serve.tempo import Tempo


def samples_of(content: bytes, format: AudioFormat) -> np.ndarray:
    """Return the samples [L] of sound in a format, as float32."""
    if format.type == "audio/pcm":
        return np.frombuffer(content, "<i2").astype(np.float32) / 32768
    return decode_ulaw(content) if format.type == "audio/pcmu" else decode_alaw(content)


def ticks_per_byte(format: AudioFormat) -> float:
    """Return how long a byte lasts."""
    return TICKS_PER_S / format.rate_hz / format.sample_bytes


@dataclass(frozen=True)
class _Piece:
    start: int  # tick
    content: bytes
    format: AudioFormat

    @property
    def end(self) -> int:
        return self.start + round(len(self.content) * ticks_per_byte(self.format))


class InputBuffer:
    """The client's sound that may still be needed, by its place in time."""

    def __init__(self) -> None:
        self._pieces: list[_Piece] = []

    def append(self, start: int, content: bytes, format: AudioFormat) -> None:
        """Keep sound that begins at a tick."""
        self._pieces.append(_Piece(start, content, format))

    def take(self, start: int, end: int) -> Samples:
        """Return the sound between two ticks, all of which is in one format."""
        pieces = [piece for piece in self._pieces if piece.end > start and piece.start < max(end, start + 1)]
        format, first = pieces[0].format, pieces[0].start
        per_sample = TICKS_PER_S // format.rate_hz
        samples = samples_of(b"".join(piece.content for piece in pieces), format)
        return Samples(samples[max(0, start - first) // per_sample : (end - first) // per_sample], format.rate_hz)

    def discard(self, before: int) -> None:
        """Forget what ends before a tick."""
        self._pieces = [piece for piece in self._pieces if piece.end > before]


class Resampler:
    """Brings the client's sound to the rate at which turns are detected, piece by piece."""

    def __init__(self, format: AudioFormat) -> None:
        self.format = format
        self._stream = soxr.ResampleStream(format.rate_hz, INPUT_RATE_HZ, 1, dtype="float32")

    def push(self, content: bytes) -> Tensor:
        """Return what the next sound gives [L] at 16 kHz."""
        return torch.from_numpy(self._stream.resample_chunk(samples_of(content, self.format)).copy())


class OutputEncoder:
    """Writes the speech of one reply in the format and at the speed that the client wants, with a mark if given one."""

    def __init__(self, format: AudioFormat, speed: float, marker: Marker | None = None) -> None:
        self._format, self._marker = format, marker
        self._tempo = None if speed == 1 else Tempo(speed)
        is_pcm = format.type == "audio/pcm"
        self._resample = None if is_pcm else soxr.ResampleStream(OUTPUT_RATE_HZ, format.rate_hz, 1, dtype="float32")

    def push(self, wav: Tensor, *, is_final: bool) -> bytes:
        """Return what the next samples [L] at 24 kHz give; at the end, all that is left."""
        if self._tempo is not None:
            wav = torch.cat([self._tempo.push(wav), self._tempo.finish() if is_final else torch.zeros(0)])
        if self._marker is not None:
            wav = self._marker.push(wav, is_final=is_final)
        if self._resample is None:
            return to_pcm16(wav)
        samples = self._resample.resample_chunk(wav.float().numpy(), last=is_final)
        return (encode_ulaw if self._format.type == "audio/pcmu" else encode_alaw)(samples)
