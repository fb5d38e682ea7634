"""A transcript under way, kept beside the file that it will become, so that nothing is lost when it is interrupted."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kimi_audio.core.files import write_whole
from kimi_audio.core.lines import BadSampleError, read_objects
from kimi_audio.transcript.listening import Heard
from kimi_audio.transcript.timed_text import Segment


class PartialTranscript:
    """What was heard so far; a line of the file for every stretch.

    Args:
        path: of the file. What it holds is taken up if it was made of the same recording in the same way.
        facts: all that the transcript follows from.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        self.path = path
        self.until_samples = 0
        self.segments: list[Segment] = []
        kept = [json.dumps(facts, sort_keys=True)]
        for values in _lines_of(path, json.loads(kept[0])):
            self._take(Heard(tuple(map(Segment.from_dict, values["segments"])), int(values["until_samples"])))
            kept.append(json.dumps(values))
        with write_whole(path) as file:  # without a line that was torn
            file.write_text("\n".join(kept) + "\n", "utf-8")

    def add(self, heard: Heard) -> None:
        """Keep a stretch."""
        self._take(heard)
        values = {"until_samples": heard.until_samples, "segments": [segment.as_dict() for segment in heard.segments]}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def _take(self, heard: Heard) -> None:
        self.segments += heard.segments
        self.until_samples = heard.until_samples


def _lines_of(path: Path, facts: Any) -> list[dict[str, Any]]:
    """Return the whole lines of a file behind its first one, if that holds these facts."""
    try:
        rows, problems = read_objects(path)
    except (FileNotFoundError, BadSampleError, ValueError):
        return []
    torn = min((problem.line for problem in problems), default=len(rows) + 1)
    lines = [values for number, values in rows.items() if number < torn]
    return lines[1:] if lines and lines[0] == facts else []
