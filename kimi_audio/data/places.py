"""Where a file of samples says that a recording is: a path on this machine, from the folder of the file."""

import re
import unicodedata
from pathlib import Path

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # a path has lost the second stroke
_SHOWN = 60  # characters
_LONGEST_PATH = 4096  # of Linux


def find_recording(name: str, folder: Path) -> Path:
    """Return the path of a recording, which need not exist.

    Names with accents can be written in two ways, of which macOS prefers one and everybody else the other; a file that
    is there under the other one is found.

    Raises:
        ValueError: the name is an address or holds the sound itself.
    """
    if name.startswith("data:"):
        raise ValueError(
            f'the sound itself is in the line ({_short(name)}): "kimi-audio prepare convert" writes it to a file'
        )
    if _ADDRESS.match(name):
        raise ValueError(f"{_short(name)} is an address: copy the recordings to this machine, or mount them, first")
    if len(name) > _LONGEST_PATH or "\0" in name:
        raise ValueError(f"{_short(name)} is no path of a file")
    path = folder / name
    return path if not name or _exists(path) else _spelt_otherwise(path)


def refuse_address(name: str) -> None:
    """Refuse an address where a path is wanted; errors as for ``find_recording``."""
    if _ADDRESS.match(name):
        raise ValueError(f"{_short(name)} is an address: copy it to this machine, or mount it, first")


def _spelt_otherwise(path: Path) -> Path:
    """Return the file with the same name in another Unicode form, where there is one."""
    found = Path(path.anchor) if path.is_absolute() else Path()
    for part in path.relative_to(found).parts:
        step = found / part
        if not _exists(step) and not part.isascii() and found.is_dir():
            same = (other for other in found.iterdir() if _composed(other.name) == _composed(part))
            step = next(same, step)
        found = step
    return found if _exists(found) else path


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a part of it is too long for a name
        return False


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _short(name: str) -> str:
    return name if len(name) <= _SHOWN else f"{name[:_SHOWN]}… of {len(name):,} characters"
