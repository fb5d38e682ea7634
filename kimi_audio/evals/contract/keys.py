"""Keys that change with what an answer depends on, and values kept by them: nothing is computed or paid for twice."""

import hashlib
import json
import logging
import re
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any, TypeAlias

from kimi_audio.audio.io import Samples, load_audio
from kimi_audio.core.files import copy_whole, write_whole

logger = logging.getLogger(__name__)

Clip: TypeAlias = Path | Samples  # sound: a file, or samples with their rate
HASHED = {".json", ".yaml", ".safetensors", ".pt", ".model"}  # weights and configs


def key_of(**parts: Any) -> str:
    """Return 64 hexadecimal digits that change with any part; the parts are JSON."""
    canonical = json.dumps(parts, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def digest_of(clip: Clip) -> str:
    """Return the hash of a file's bytes, or of samples and their rate."""
    if isinstance(clip, Path):
        with clip.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    wav = load_audio(clip, clip.rate_hz)
    return hashlib.sha256(f"{clip.rate_hz}:".encode() + wav.numpy().tobytes()).hexdigest()


def named_with_hash(source: str) -> str:
    """Return the name of a folder with the hash of its weights and configs; what is no folder as it is."""
    folder = Path(source)
    return f"{folder.name} {hash_of([folder], HASHED | {'.bin', '.txt'})}" if folder.is_dir() else source


def hash_of(folders: Iterable[Path], suffixes: Container[str] = HASHED) -> str:
    """Return 12 hexadecimal digits that change with any weight or config in the folders."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.suffix in suffixes and path.is_file()):
            stored = path.resolve().name
            # The hub's cache names large files by their hash: no need to read 20 GB.
            found = stored if re.fullmatch(r"[0-9a-f]{64}", stored) else digest_of(path)
            digest.update(f"{path.relative_to(folder).as_posix()} {found}\n".encode())
    return digest.hexdigest()[:12]


def one_line(error: BaseException) -> str:
    """Return what happened, for a row or a message."""
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__


class Cache:
    """JSON values and files by key, in a folder that any number of processes may share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str) -> dict[str, Any] | None:
        """Return a value, or None if there is none."""
        path = self._path(key, ".json")
        try:
            return json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            logger.warning("%s is damaged and is made again", path)
            return None

    def put(self, key: str, value: dict[str, Any]) -> None:
        """Store a value."""
        content = json.dumps(value, ensure_ascii=False, allow_nan=False)
        with write_whole(self._path(key, ".json")) as partial:
            partial.write_text(content, encoding="utf-8")

    def get_file(self, key: str, target: Path) -> bool:
        """Copy a stored file to ``target``, whose suffix names it; False if there is none."""
        source = self._path(key, target.suffix)
        if not source.exists():
            return False
        copy_whole(source, target)
        return True

    def put_file(self, key: str, source: Path) -> None:
        """Store a copy of a file."""
        copy_whole(source, self._path(key, source.suffix))

    def _path(self, key: str, suffix: str) -> Path:
        return self.folder / key[:2] / (key + suffix)
