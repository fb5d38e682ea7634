"""The front door of sound: reading it from anything a user may hold, and writing it. Shapes: L samples.

What is read is decoded, averaged and resampled in blocks, to its end, whatever a header says about its length.
"""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kimi_audio.audio import ffmpeg
from kimi_audio.audio.arrays import blocks_of
from kimi_audio.audio.condition import Condition, Damage
from kimi_audio.audio.decoding import decode, exact_length
from kimi_audio.audio.mono import resampled, to_mono
from kimi_audio.audio.sources import AudioSource, Samples, check_rate, is_regular, name_of, opened
from kimi_audio.audio.writing import check_folder, check_target, save_audio

__all__ = [
    "AudioSource",
    "Damage",
    "Samples",
    "announced_s",
    "audio_blocks",
    "check_folder",
    "check_target",
    "decode_audio",
    "inspect_audio",
    "inspect_part",
    "load_audio",
    "measure_audio",
    "read_part",
    "resampled_samples",
    "save_audio",
]

MAX_BYTES_IN_MEMORY = 2 << 30  # of the samples of one recording: 9 hours at 16 kHz


def load_audio(source: AudioSource, rate_hz: int, *, damage: Damage = "cut") -> Tensor:
    """Read a recording as mono float32 samples [L] at ``rate_hz``.

    Channels are averaged, then resampled with soxr HQ, the order of the official front-end.

    Args:
        source: a path, the bytes of an audio file, an open binary file, or samples with their rate.
        rate_hz: the wanted rate.
        damage: what is borne: "refuse" nothing; "cut" a recording that ends before its time, with a warning; "keep" any
            damage, with a warning, and what can be read is read.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the source is empty, no sound that can be read, damaged, not finite, or too long for the memory.
    """
    blocks = _blocks(source, check_rate(rate_hz, "the result"), damage)
    return torch.from_numpy(_collected(blocks, name_of(source)).array)


def audio_blocks(source: AudioSource, rate_hz: int, *, damage: Damage = "cut") -> Iterator[Tensor]:
    """Yield what ``load_audio`` returns in blocks, without an end to its length; errors come when they are met."""
    for block in _blocks(source, check_rate(rate_hz, "the result"), damage):
        yield torch.from_numpy(block.array)


def decode_audio(source: AudioSource, *, damage: Damage = "cut") -> Samples:
    """Read a recording once, as mono at its own rate, to be loaded at several rates; see ``load_audio``."""
    return _collected(_blocks(source, None, damage), name_of(source))


def measure_audio(source: AudioSource, *, damage: Damage = "refuse") -> tuple[int, int]:
    """Decode a recording, keep nothing of it, and return its samples and its rate in Hz; see ``load_audio``."""
    length, rate_hz = 0, 0
    for block in _blocks(source, None, damage):
        length, rate_hz = length + len(block.array), block.rate_hz
    return length, rate_hz


def read_part(
    path: str | os.PathLike[str], start_s: float = 0.0, duration_s: float | None = None, *, damage: Damage = "cut"
) -> Samples:
    """Read a part of a file as mono at its own rate.

    Arguments and errors as for ``inspect_part``; ``damage`` as for ``load_audio``, of what is read. That is no more
    than the part, so only a part up to the end of the file can be cut off there.
    """
    (start, length, _), total = _place(path, start_s, duration_s)
    name, to_end = str(path), start + length == total
    with opened(path) as file:
        blocks = _first(decode(file, Condition(name, damage), start), length, to_end=to_end)
        return _collected(to_mono(blocks, name), name)


def inspect_part(
    path: str | os.PathLike[str], start_s: float = 0.0, duration_s: float | None = None
) -> tuple[int, int, int]:
    """Return the first sample of a part of a file, its number of samples, and the rate in Hz.

    Args:
        path: of the file.
        start_s: where the part begins.
        duration_s: how long it is; by default it goes to the end of the file.

    Raises:
        FileNotFoundError, ValueError: as for ``inspect_audio``, or the file holds no such part.
    """
    return _place(path, start_s, duration_s)[0]


def _place(path: str | os.PathLike[str], start_s: float, duration_s: float | None) -> tuple[tuple[int, int, int], int]:
    """Return what ``inspect_part`` does, and the samples of the whole file."""
    total, rate_hz = inspect_audio(path)
    start = round(start_s * rate_hz)
    end = total if duration_s is None else round((start_s + duration_s) * rate_hz)
    if not 0 <= start < end <= total:
        until = "its end" if duration_s is None else f"{start_s + duration_s:g} s"
        raise ValueError(f"{path} has nothing from {start_s:g} s to {until}: it lasts {total / rate_hz:.2f} s")
    return (start, end - start, rate_hz), total


def inspect_audio(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return the samples per channel and the rate in Hz of a file: from its header, or where that may lie, by decoding.

    Raises:
        FileNotFoundError, ValueError: as for ``load_audio``, or it is a pipe, which can be read only once.
    """
    file_path = Path(path)
    with opened(path) as file:
        if not is_regular(file_path):
            raise ValueError(f"{path} is a pipe, which can be read only once")
        found = exact_length(file)
    if found is not None:
        return found
    status = file_path.stat()
    return _measured(file_path, status.st_size, status.st_mtime_ns)


def announced_s(path: str | os.PathLike[str]) -> float | None:
    """Return how long a file says that it is, to tell how far one is; None if it says nothing, or is a pipe."""
    if not is_regular(Path(path)):
        return None
    with opened(path) as file:
        found = exact_length(file)
        return ffmpeg.announced_s(file) if found is None else found[0] / found[1]


@lru_cache(maxsize=4096)
def _measured(path: Path, _size_bytes: int, _changed_ns: int) -> tuple[int, int]:
    return measure_audio(path, damage="cut")


def resampled_samples(samples: int, source_hz: int, target_hz: int) -> int:
    """Return how many samples ``load_audio`` makes of so many: the resampler rounds, a half upwards."""
    return (2 * samples * target_hz + source_hz) // (2 * source_hz)


def _blocks(source: AudioSource, rate_hz: int | None, damage: Damage) -> Iterator[Samples]:
    """Yield blocks [L] that are not empty, at a rate, by default that of the recording."""
    name = name_of(source)
    if isinstance(source, tuple) and len(source) == 2:
        source = Samples(*source)
    if isinstance(source, Samples):
        yield from _at_rate(blocks_of(source), rate_hz, name)
        return
    with opened(source) as file:
        yield from _at_rate(decode(file, Condition(name, damage)), rate_hz, name)


def _at_rate(blocks: Iterator[Samples], rate_hz: int | None, name: str) -> Iterator[Samples]:
    is_empty = True
    for block in resampled(to_mono(blocks, name), rate_hz):
        if len(block.array):
            is_empty = False
            yield block
    if is_empty:
        raise ValueError(f"{name} is too short: no sample is left at {rate_hz} Hz")


def _first(blocks: Iterator[Samples], length: int, *, to_end: bool) -> Iterator[Samples]:
    """Yield the first samples; ``to_end`` decodes all, because what is wrong with an end is found behind it."""
    for block in blocks:
        if length > 0:
            yield Samples(block.array[:length], block.rate_hz)
        length -= len(block.array)
        if length <= 0 and not to_end:
            return


def _collected(blocks: Iterator[Samples], name: str) -> Samples:
    """Join blocks [L]; a growing buffer takes half of the memory that a list of blocks and their sum would."""
    buffer, rate_hz = bytearray(), 0
    for block in blocks:
        array, rate_hz = np.ascontiguousarray(block.array), block.rate_hz
        if len(buffer) + array.nbytes > MAX_BYTES_IN_MEMORY:
            raise ValueError(
                f"{name} is too long: its samples take more than {MAX_BYTES_IN_MEMORY / 2**30:g} GiB of memory; "
                "transcribe reads it in blocks, for all else cut it into parts first"
            )
        buffer += array.data.cast("B")
    return Samples(np.frombuffer(buffer, np.float32), rate_hz)
