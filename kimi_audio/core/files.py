"""Small files of plain values, and the one way in which a file is written: whole or not at all."""

import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from kimi_audio.core.numbers import without_nan


@contextmanager
def write_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a new, empty file to write to, which takes the place of ``path`` if all goes well and else disappears.

    The name of the new file cannot be guessed, so nobody can have laid a link there, and two writers of one path do not
    meet: the last one wins. Its content is on the disk before it takes the place of the old one; a full disk therefore
    leaves the old file as it was. A link at ``path`` stays one, and what it points at is replaced. Missing folders are
    made.

    Args:
        path: of the file.

    Yields:
        The path to write to: in the same folder, with the same suffix.

    Raises:
        OSError: it cannot be written.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    # At most 100 bytes of the old name, whose characters may have four: file systems take 255.
    partial = target.with_name(f".{target.stem[:25]}-{secrets.token_hex(8)}{target.suffix}")
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # fails where something lies, be it a link
    try:
        if target.is_file():
            partial.chmod(stat.S_IMODE(target.stat().st_mode))
        yield partial
        _to_disk(partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def copy_whole(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Copy a file, whole or not at all; see ``write_whole``."""
    with write_whole(target) as partial:
        shutil.copyfile(source, partial)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep a file or folder that is written bit by bit for this process. Missing folders above it are made.

    Raises:
        ValueError: another process is writing it.
    """
    place = path.with_name(path.name + ".lock")
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(place, timeout=0):
            try:
                yield
            finally:
                place.unlink(missing_ok=True)
    except Timeout:
        raise ValueError(f"another process is writing {path}; wait until it ends") from None


def _to_disk(path: Path) -> None:
    """Wait until the content of a file is on the disk, where an error of a late write appears, too."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: the file is missing or holds something else.
    """
    try:
        return as_mapping(json.loads(_read_text(path)), path)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping of plain values; errors as for ``read_json``."""
    try:
        return as_mapping(yaml.safe_load(_read_text(path)), path)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {' '.join(str(error).split())}") from None


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON object; numbers that are not finite become null."""
    with write_whole(path) as partial:
        partial.write_text(json_text(without_nan(values), indent=1) + "\n", "utf-8")


def json_text(values: Any, *, indent: int | None = None) -> str:
    """Return JSON that UTF-8 can hold: readable, or escaped where names of files or fields hold no whole characters."""
    text = json.dumps(values, indent=indent, ensure_ascii=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # surrogates: bytes of a file name that are not UTF-8, halves of a character
        return json.dumps(values, indent=indent)
    return text


def write_yaml(path: Path, values: Mapping[str, Any]) -> None:
    """Write a YAML mapping of plain values."""
    with write_whole(path) as partial:
        partial.write_text(yaml.safe_dump(values), "utf-8")


def as_mapping(values: Any, path: Path) -> dict[str, Any]:
    """Return values that were read from a file, if they are named ones.

    Raises:
        ValueError: they are not.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{path} is damaged: it holds a {type(values).__name__} instead of named values")
    return values


def _read_text(path: Path) -> str:
    # Reading a pipe or a device could wait for ever.
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a regular file")
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise ValueError(f"{path.parent} lacks {path.name}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
