"""Answers by key, so that nothing is computed or paid for twice: one file each, for any number of processes."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from kimi_audio.audio.io import load_audio
from kimi_audio.core.files import copy_whole, write_whole
from kimi_audio.evals.contract.types import Clip, Options, Sample

logger = logging.getLogger(__name__)


def key_of(**parts: Any) -> str:
    """Return 64 hexadecimal digits that change with any part; the parts are JSON."""
    canonical = json.dumps(parts, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def answer_key(sample: Sample, options: Options, name: str, revision: str) -> str:
    """Return the key of the answer of a model to a sample, whose text is the finished prompt.

    It holds the content of the sample and not the names of its files, so data may move.
    """
    return key_of(
        audio=[digest_of(clip) for clip in sample.audio],
        prompt=sample.text,
        meta=dict(sample.meta),
        output=options.output,
        system=options.system,
        decoding=dict(options.decoding),
        seed=options.seed_of(sample),
        model=name,
        revision=revision,
    )


def digest_of(clip: Clip) -> str:
    """Return the hash of a file's bytes, or of samples and their rate."""
    if isinstance(clip, Path):
        with clip.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    wav = load_audio(clip, clip.rate_hz)
    return hashlib.sha256(f"{clip.rate_hz}:".encode() + wav.numpy().tobytes()).hexdigest()


class Cache:
    """JSON values and files by key, in a folder. Written beside and renamed: there are no halves."""

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
