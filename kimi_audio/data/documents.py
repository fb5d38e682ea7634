"""Documents for pre-training: recordings as rows of segments, and texts; JSONL files, checked and read lazily.

Every line is one document, a recording whose segments follow each other::

    {"segments": [{"audio": "talk.flac", "start_s": 0.0, "duration_s": 4.2, "text": "Good evening."},
                  {"audio": "talk.flac", "start_s": 4.2, "duration_s": 6.0}]}

or a text: ``{"text": "Once upon a time ..."}``. A segment has sound (a file or a part of one, by default to its end),
text, or both; of what it lacks, the tasks that need it learn nothing. Paths are relative to the folder of the file. A
document may have an ``id`` and ``metadata``, which are not read. One that cannot be learned is reported and left out.
"""

import hashlib
from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from kimi_audio.audio.io import inspect_part, load_audio, read_part, resampled_samples
from kimi_audio.core.lines import BadSampleError, JsonLines, parse_object
from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.data.foreign import refuse_foreign
from kimi_audio.data.places import find_recording
from kimi_audio.data.shards import KEY_BYTES, content_key

_FIELDS = ("segments", "text", "id", "metadata")
_SEGMENT_FIELDS = ("audio", "start_s", "duration_s", "text")


@dataclass(frozen=True)
class SoundPart:
    """A part of a sound file."""

    path: Path
    start_s: float = 0.0
    duration_s: float | None = None  # to the end

    def num_samples(self) -> int:
        """Return how many samples it has at 16 kHz, from the header of the file; errors as for ``inspect_part``."""
        _, length, rate_hz = inspect_part(self.path, self.start_s, self.duration_s)
        return resampled_samples(length, rate_hz, INPUT_RATE_HZ)

    def load(self) -> Tensor:
        """Return samples [L] at 16 kHz; errors as for ``load_audio``. What is cut off there is not learned."""
        return load_audio(read_part(self.path, self.start_s, self.duration_s, damage="refuse"), INPUT_RATE_HZ)

    def key(self) -> bytes:
        """Return what it is known by: the content of its file, and its place there."""
        place = f"{self.start_s!r} {self.duration_s!r}".encode()
        return hashlib.blake2b(content_key(self.path) + place, digest_size=KEY_BYTES).digest()


@dataclass(frozen=True)
class SourceSegment:
    """A segment as the file has it: sound, text, or both."""

    audio: SoundPart | None
    text: str | None


@dataclass(frozen=True)
class Document:
    """One line."""

    segments: tuple[SourceSegment, ...]

    @classmethod
    def parse(cls, line: str, folder: Path) -> Self:
        """Read a line of JSON; paths are relative to ``folder``.

        Raises:
            BadSampleError: with everything that is wrong and can be known without reading audio.
        """
        values = parse_object(line)
        reasons = [f"a document has the unknown field {name}" for name in values if name not in _FIELDS]
        if ("segments" in values) == ("text" in values):
            raise BadSampleError([*reasons, "a document has either segments or a text"])
        parts = values["segments"] if "segments" in values else [{"text": values["text"]}]
        if not isinstance(parts, list) or not parts:
            raise BadSampleError([*reasons, "segments must be a list that is not empty"])
        segments = []
        for number, part in enumerate(parts):
            try:
                segments.append(_segment(part, folder))
            except ValueError as error:
                reasons.append(f"segment {number}: {error}")
        if reasons:
            raise BadSampleError(reasons)
        return cls(tuple(segments))


def _segment(values: Any, folder: Path) -> SourceSegment:
    if not isinstance(values, Mapping):
        raise ValueError(f"a segment must be a dictionary, not {type(values).__name__}")
    unknown = [str(name) for name in values if name not in _SEGMENT_FIELDS]
    if unknown:
        raise ValueError(f"unknown fields {', '.join(unknown)}; there are {', '.join(_SEGMENT_FIELDS)}")
    path, text = values.get("audio"), values.get("text")
    for name, value in (("audio", path), ("text", text)):
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise ValueError(f"its {name} must be a string that is not empty; leave out what there is not")
    if path is None and text is None:
        raise ValueError("it has neither audio nor text")
    start_s, duration_s = values.get("start_s", 0.0), values.get("duration_s")
    if path is None:
        if "start_s" in values or "duration_s" in values:
            raise ValueError("start_s and duration_s are for audio")
        return SourceSegment(None, text)
    if not _is_number(start_s) or start_s < 0:
        raise ValueError(f"start_s must be a number of seconds from 0, not {start_s!r}")
    if duration_s is not None and (not _is_number(duration_s) or duration_s <= 0):
        raise ValueError(f"duration_s must be a positive number of seconds, not {duration_s!r}")
    return SourceSegment(SoundPart(find_recording(path, folder), start_s, duration_s), text)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and value < float("inf")


class DocumentFile(JsonLines, SequenceOf[Document]):
    """The documents of a JSONL file; errors as for ``ConversationFile``."""

    def __init__(self, path: str | Path):
        super().__init__(path)
        refuse_foreign(self)

    def __getitem__(self, index: int) -> Document:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Read one document; errors as for ``ConversationFile``."""
        return Document.parse(self.line(index), self.path.parent)


def holds_documents(path: Path) -> bool:
    """Tell files of documents from files of conversations, by their first line that can be read.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no line, or is in the format of another trainer.
    """
    file = JsonLines(path)
    refuse_foreign(file)
    for index in range(len(file)):
        try:
            return "conversation" not in parse_object(file.line(index))
        except BadSampleError:
            continue
    return False
