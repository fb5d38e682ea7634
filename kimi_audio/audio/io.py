"""Reading sound from anything a user may hold, and writing it."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

MAX_DURATION_S = 4 * 3600  # a limit before memory is spent; longer recordings are to be cut first

WRITABLE_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


@dataclass(frozen=True)
class Samples:
    """Sound in memory: ``array`` [L] or [L, channels] (or [channels, L] with few channels) at ``rate_hz``."""

    array: np.ndarray | Tensor
    rate_hz: int


AudioSource: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | Samples | tuple[np.ndarray | Tensor, int]


def load_audio(source: AudioSource, rate_hz: int) -> Tensor:
    """Read a recording as mono float32 samples [L] at ``rate_hz``.

    Channels are averaged, then resampled with soxr HQ, the order of the official front-end.

    Args:
        source: a path, the bytes of an audio file, an open binary file, or samples with their rate.
        rate_hz: the wanted rate.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the source is empty, no sound that libsndfile reads, too long, or not finite.
    """
    samples, source_hz, name = _read(source)
    mono = samples if samples.ndim == 1 else samples.mean(axis=1)
    if source_hz != rate_hz:
        mono = soxr.resample(mono, source_hz, rate_hz)
        if mono.size == 0:
            raise ValueError(f"{name} is too short: no sample is left at {rate_hz} Hz")
    return torch.from_numpy(np.array(mono, dtype=np.float32))


def decode_audio(source: AudioSource) -> Samples:
    """Read a recording once, to be loaded at several rates; errors as for ``load_audio``."""
    samples, rate_hz, _ = _read(source)
    return Samples(samples, rate_hz)


def read_part(path: str | os.PathLike[str], start_s: float = 0.0, duration_s: float | None = None) -> Samples:
    """Read a part of a file without decoding what lies behind it; arguments and errors as for ``inspect_part``."""
    start, length, rate_hz = inspect_part(path, start_s, duration_s)
    with _existing(path).open("rb") as file, _sound(file, str(path)) as sound:
        sound.seek(start)
        return Samples(sound.read(length, dtype="float32"), rate_hz)


def inspect_part(
    path: str | os.PathLike[str], start_s: float = 0.0, duration_s: float | None = None
) -> tuple[int, int, int]:
    """Return the first sample of a part of a file, its number of samples, and the rate in Hz, from the header.

    Args:
        path: of the file.
        start_s: where the part begins.
        duration_s: how long it is; by default it goes to the end of the file.

    Raises:
        FileNotFoundError, ValueError: as for ``load_audio``, or the file holds no such part.
    """
    total, rate_hz = inspect_audio(path)
    start = round(start_s * rate_hz)
    end = total if duration_s is None else round((start_s + duration_s) * rate_hz)
    if not 0 <= start < end <= total:
        until = "its end" if duration_s is None else f"{start_s + duration_s:g} s"
        raise ValueError(f"{path} has nothing from {start_s:g} s to {until}: it lasts {total / rate_hz:.2f} s")
    return start, end - start, rate_hz


def inspect_audio(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return the samples per channel and the rate in Hz of a file, from its header; errors as for ``load_audio``."""
    with _existing(path).open("rb") as file, _sound(file, str(path)) as sound:
        if not sound.frames:
            raise ValueError(f"{path} holds no samples")
        return sound.frames, sound.samplerate


def resampled_samples(samples: int, source_hz: int, target_hz: int) -> int:
    """Return how many samples ``load_audio`` makes of so many: the resampler rounds, a half upwards."""
    return (2 * samples * target_hz + source_hz) // (2 * source_hz)


def save_audio(path: str | os.PathLike[str], wav: Tensor, rate_hz: int) -> None:
    """Write samples [L] or [1, L], whole or not at all; the suffix (.wav, .flac, .ogg, .mp3) sets the format.

    Raises:
        ValueError: the suffix is another one, the folder does not exist, or there are several channels.
    """
    target = Path(path)
    check_target(target)
    if wav.numel() != wav.shape[-1]:
        raise ValueError(f"cannot write {target.name}: one channel is wanted, not samples of shape {tuple(wav.shape)}")
    partial = target.with_name(target.name + ".partial")
    samples = wav.detach().float().cpu().flatten().clamp(-1, 1).numpy()
    try:
        soundfile.write(partial, samples, rate_hz, format=target.suffix.lstrip(".").upper())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def check_target(path: str | os.PathLike[str]) -> None:
    """Check, before long work, that sound can be saved under a name; errors as for ``save_audio``."""
    target = Path(path)
    if target.suffix.lower() not in WRITABLE_SUFFIXES:
        raise ValueError(f"cannot write {target.name}: use a file name that ends in .wav, .flac, .ogg or .mp3")
    if not target.parent.is_dir():
        raise ValueError(f"cannot write {target}: the folder {target.parent} does not exist")


def _read(source: AudioSource) -> tuple[np.ndarray, int, str]:
    """Return finite float32 samples [L] or [L, channels], their rate, and a name for messages."""
    samples, rate_hz, name = _decode_any(source)
    if samples.size == 0:
        raise ValueError(f"{name} holds no samples")
    if not np.isfinite(samples).all():
        raise ValueError(f"{name} holds samples that are not finite (NaN or infinity)")
    return samples, rate_hz, name


def _decode_any(source: AudioSource) -> tuple[np.ndarray, int, str]:
    if isinstance(source, tuple) and len(source) == 2:
        source = Samples(*source)
    if isinstance(source, Samples):
        return *_from_array(source), "the given array"
    if isinstance(source, bytes):
        return *_decode(io.BytesIO(source), "the given audio"), "the given audio"
    if isinstance(source, str | os.PathLike):
        with _existing(source).open("rb") as file:
            return *_decode(file, str(source)), str(source)
    if hasattr(source, "read"):
        content = source.read()
        if not isinstance(content, bytes):
            raise ValueError('the given file is open as text; open it in binary mode ("rb")')
        return *_decode(io.BytesIO(content), "the given file"), "the given file"
    raise ValueError(
        f"audio must be a path, bytes, a binary file or samples with their rate, not {type(source).__name__}"
    )


def _existing(source: str | os.PathLike[str]) -> Path:
    path = Path(source)
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not an audio file")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    return path


def _decode(file: BinaryIO, name: str) -> tuple[np.ndarray, int]:
    with _sound(file, name) as sound:
        return sound.read(dtype="float32"), sound.samplerate


@contextmanager
def _sound(file: BinaryIO, name: str) -> Iterator[soundfile.SoundFile]:
    """Open a file whose header is that of a recording of a bearable length."""
    if not file.read(1):
        raise ValueError(f"{name} is empty")
    file.seek(0)
    try:
        with soundfile.SoundFile(file) as sound:
            if sound.frames > MAX_DURATION_S * sound.samplerate:
                raise ValueError(f"{name} lasts more than {MAX_DURATION_S // 3600} hours; cut it into parts first")
            yield sound
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"{name} is not audio that can be read (wav, flac, ogg and mp3 can; ffmpeg converts others): "
            f"{error.error_string}"
        ) from None


def _from_array(source: Samples) -> tuple[np.ndarray, int]:
    if not isinstance(source.rate_hz, Integral) or source.rate_hz <= 0:
        raise ValueError(f"the sample rate must be a positive whole number of Hz, not {source.rate_hz!r}")
    array = source.array
    if isinstance(array, Tensor):
        array = array.detach().cpu()
        array = (array.float() if array.is_floating_point() else array).numpy()
    array = np.asarray(array)
    if array.ndim not in (1, 2):
        raise ValueError(f"samples must have one or two dimensions, not shape {array.shape}")
    if array.ndim == 2 and array.shape[0] < array.shape[1]:
        array = array.T  # [channels, L], the layout of torch code
    return _to_float(array), int(source.rate_hz)


def _to_float(array: np.ndarray) -> np.ndarray:
    """Return float32 samples in [-1, 1] of floats, which are so already, or of PCM integers."""
    if np.issubdtype(array.dtype, np.floating):
        return array.astype(np.float32)
    if array.dtype not in (np.uint8, np.int8, np.int16, np.int32):
        raise ValueError(f"samples must be floats in [-1, 1] or int16, int32 or (u)int8 numbers, not {array.dtype}")
    limits = np.iinfo(array.dtype)
    silence, full_scale = (limits.max + limits.min + 1) / 2, (limits.max - limits.min + 1) / 2
    return ((array - silence) / full_scale).astype(np.float32)
