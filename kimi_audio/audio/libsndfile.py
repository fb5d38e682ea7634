"""Decoding in blocks with libsndfile: wav and its relatives, aiff, au, caf, flac, ogg.

Shapes: L samples, C channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soundfile

from kimi_audio.audio import ogg
from kimi_audio.audio.announced import announced_share
from kimi_audio.audio.condition import Condition
from kimi_audio.audio.formats import OGG, Format
from kimi_audio.audio.sources import Samples, Window, check_rate

BLOCK_SAMPLES = 1 << 18  # of all channels together
STEP_SAMPLES = 4096  # per channel; so exactly is a damaged place known
_UNKNOWN = 1 << 62  # so many samples "are" in a file whose length was not known when its header was written
_OPUS_RATE_HZ = 48_000


@dataclass(frozen=True)
class Part:
    """An open recording; a chained Ogg file has several."""

    sound: soundfile.SoundFile
    announced_samples: int
    damaged_at_s: float | None = None
    is_cut: bool = False


def open_parts(file: Window, format: Format) -> list[Part] | None:
    """Return what is to be decoded, in its order; None if libsndfile cannot read the file, or not all of it."""
    if format != OGG:
        sound = _open(file)
        return None if sound is None else [Part(sound, round(sound.frames * announced_share(file, format)))]
    parts = []
    for link in ogg.links(file):
        sound = _open(Window(file, link.start, link.end))
        if sound is None:
            return None
        unit_hz = _OPUS_RATE_HZ if sound.subtype == "OPUS" else sound.samplerate
        at_s = None if link.damaged_at is None else link.damaged_at / unit_hz
        parts.append(Part(sound, sound.frames, at_s, link.is_cut))
    return parts or None


def _open(file: Window) -> soundfile.SoundFile | None:
    file.seek(0)
    try:
        sound = soundfile.SoundFile(file)  # pyright: ignore[reportArgumentType] - a window is a binary file
    except soundfile.LibsndfileError:
        return None
    # The length of mpeg in a wav is a guess.
    return sound if 0 < sound.frames < _UNKNOWN and not sound.subtype.startswith("MPEG") else None


def decode(parts: list[Part], condition: Condition, start: int = 0) -> Iterator[Samples]:
    """Yield blocks [L, C], from a sample on if there is one part.

    Raises:
        ValueError: damage that is not borne.
    """
    heard_s = 0.0
    for part in parts:
        rate_hz = check_rate(part.sound.samplerate, condition.name)
        if part.damaged_at_s is not None:
            condition.damaged(heard_s + part.damaged_at_s)
        count = start
        try:
            if start:
                part.sound.seek(start)
            for block in _blocks(part.sound):
                count += len(block)
                yield Samples(block, rate_hz)
        except soundfile.LibsndfileError:
            condition.damaged(heard_s + count / rate_hz)
        heard_s += count / rate_hz
        condition.ended(count / rate_hz, part.announced_samples / rate_hz)
        if part.is_cut:
            condition.cut(f"{condition.name} is cut off at {heard_s:.1f} s")


def _blocks(sound: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """Yield blocks [L, C]; what was decoded before an error comes before the error."""
    size = max(STEP_SAMPLES, BLOCK_SAMPLES // sound.channels)
    while True:
        block, filled = np.empty((size, sound.channels), np.float32), 0
        try:
            while filled < size and len(step := sound.read(out=block[filled : filled + STEP_SAMPLES])):
                filled += len(step)
        except soundfile.LibsndfileError:
            yield block[:filled]
            raise
        if not filled:
            return
        yield block[:filled]
