"""A transcript under way, kept beside the file that it will become, so that nothing is lost when it is interrupted."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kimi_audio.core.files import write_whole
from kimi_audio.core.lines import BadSampleError, read_objects
from kimi_audio.transcript.listening import Heard
from kimi_audio.transcript.timed_text import Segment

_FORMAT = "transcript under way"  # the first line of a file tells it from files of users


class PartialTranscript:
    """What was heard so far; a line of the file for every stretch. The file appears with the first one.

    Args:
        path: of the file. What it holds is taken up if it was made of the same recording in the same way.
        facts: all that the transcript follows from.

    Raises:
        ValueError: a file of that name is something else.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        self.path = path
        self.until_samples = 0
        self.segments: list[Segment] = []
        first = json.dumps({"format": _FORMAT} | dict(facts), sort_keys=True)
        self._kept: list[str] | None = [first]  # what the file is to begin with, until it is written
        for values in _lines_of(path, json.loads(first)):
            self._take(Heard(tuple(map(Segment.from_dict, values["segments"])), int(values["until_samples"])))
            self._kept.append(json.dumps(values))

    def add(self, heard: Heard) -> None:
        """Keep a stretch."""
        self._take(heard)
        values = {"until_samples": heard.until_samples, "segments": [segment.as_dict() for segment in heard.segments]}
        line = json.dumps(values)
        if self._kept is None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
            return
        with write_whole(self.path) as file:  # without a line that was torn
            file.write_text("\n".join([*self._kept, line]) + "\n", "utf-8")
        self._kept = None

    def _take(self, heard: Heard) -> None:
        self.segments += heard.segments
        self.until_samples = heard.until_samples


def _lines_of(path: Path, first: Any) -> list[dict[str, Any]]:
    """Return the whole lines of a file behind its first one, if that is this one."""
    try:
        rows, problems = read_objects(path)
    except FileNotFoundError:
        return []
    except (BadSampleError, ValueError):
        rows, problems = {}, []
    torn = min((problem.line for problem in problems), default=len(rows) + 1)
    lines = [values for number, values in rows.items() if number < torn]
    if not lines or lines[0].get("format") != _FORMAT:
        raise ValueError(f"{path} is no transcript under way; move it away")
    return lines[1:] if lines[0] == first else []
