"""Writing sound. Shapes: L samples."""

import io
import os
from pathlib import Path

import soundfile
import torch
from torch import Tensor

from kimi_audio.core.files import write_whole

WRITABLE_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
BLOCK_SAMPLES = 1 << 14  # libsndfile's Vorbis encoder keeps a block on the stack: a long one ends the process


PROVENANCE = "Speech made by a machine: kimi-audio"


def save_audio(path: str | os.PathLike[str], wav: Tensor, rate_hz: int, *, comment: str = "") -> None:
    """Write samples [L] or [1, L], whole or not at all; the suffix (.wav, .flac, .ogg, .mp3) sets the format.

    Args:
        path: of the file.
        wav: samples.
        rate_hz: their rate.
        comment: kept in the file, such as ``PROVENANCE``.

    Raises:
        ValueError: as for ``check_target``, there are several channels, samples are not finite, or the format does not
            know the rate.
        OSError: the file cannot be written; what was there before stays.
    """
    target = Path(path)
    check_target(target)
    if wav.numel() != wav.shape[-1]:
        raise ValueError(f"cannot write {target.name}: one channel is wanted, not samples of shape {tuple(wav.shape)}")
    if not torch.isfinite(wav).all():
        raise ValueError(f"cannot write {target.name}: there are samples that are not finite (NaN or infinity)")
    # Encoders do not tell of a full disk, so they write to memory.
    content = _encoded(wav.detach().float().cpu().flatten().clamp(-1, 1), rate_hz, target, comment)
    with write_whole(target) as partial:
        partial.write_bytes(content)


def _encoded(wav: Tensor, rate_hz: int, target: Path, comment: str) -> memoryview:
    memory = io.BytesIO()
    try:
        with soundfile.SoundFile(memory, "w", rate_hz, 1, format=target.suffix.lstrip(".").upper()) as sound:
            if comment:
                sound.comment = comment
            for block in wav.split(BLOCK_SAMPLES):
                sound.write(block.numpy())
    except soundfile.LibsndfileError as error:
        raise ValueError(f"cannot write {target.name} at {rate_hz} Hz: {error.error_string}") from None
    return memory.getbuffer()


def check_target(path: str | os.PathLike[str]) -> None:
    """Check, before long work, that sound can be saved under a name.

    Raises:
        ValueError: the suffix is another one, the folder does not exist or is read-only, or something that cannot be
            replaced has that name.
    """
    target = Path(path)
    if target.suffix.lower() not in WRITABLE_SUFFIXES:
        raise ValueError(f"cannot write {target.name}: use a file name that ends in .wav, .flac, .ogg or .mp3")
    if not target.parent.is_dir():
        raise ValueError(f"cannot write {target}: the folder {target.parent} does not exist")
    if target.exists() and not target.is_file():
        raise ValueError(f"cannot write {target}: there is a folder or a device of that name")
    for place in (target, target.parent):
        if place.exists() and not os.access(place, os.W_OK):
            raise ValueError(f"cannot write {target}: {place} is read-only")


def check_folder(path: str | os.PathLike[str]) -> None:
    """Check, before long work, that files can be written to a folder, which is made if it does not exist.

    Raises:
        ValueError: there is a file of that name, or it is read-only.
    """
    place = next(parent for parent in (Path(path), *Path(path).absolute().parents) if parent.exists())
    if not place.is_dir():
        raise ValueError(f"cannot write to the folder {path}: {place} is a file")
    if not os.access(place, os.W_OK):
        raise ValueError(f"cannot write to the folder {path}: {place} is read-only")
