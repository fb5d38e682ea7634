"""What ``transcribe`` writes to files, and how it tells how far it is."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.status import Status
from rich.text import Text

from kimi_audio.cli.options import STANDARD_INPUT
from kimi_audio.cli.report import visible, warn

if TYPE_CHECKING:
    from kimi_audio.transcript.listening import Heard
    from kimi_audio.transcript.timed_text import Segment

PLAIN_LINE_S = 30.0  # between two lines on progress where there is no terminal


def targets_of(file: Path, folder: Path | None, suffixes: Iterable[str]) -> list[Path]:
    """Return where the transcript of a recording goes: into a folder, or beside the recording."""
    name = "stdin" if file == STANDARD_INPUT else file.stem
    return [(folder or file.parent) / f"{name}{suffix}" for suffix in suffixes]


def check_apart(targets: Iterable[Path]) -> None:
    """Check that no two recordings have their transcripts in one file, by whatever names.

    Raises:
        ValueError: two have.
    """
    seen: set[str] = set()
    for target in targets:
        place = os.path.normcase(os.path.realpath(target))
        if place in seen:
            raise ValueError(f"two recordings would have their subtitles in {target}; write down one after the other")
        seen.add(place)


def is_written(file: Path, targets: list[Path]) -> bool:
    """Return whether a recording has its transcripts already, as the files before the one in which a command ended."""
    if file == STANDARD_INPUT or not targets or not all(target.is_file() for target in targets):
        return False
    return min(target.stat().st_mtime_ns for target in targets) >= file.stat().st_mtime_ns


def write_transcript(targets: Iterable[Path], segments: "list[Segment]") -> None:
    """Write subtitles in the format of each target."""
    from kimi_audio.core.files import write_whole
    from kimi_audio.transcript.subtitles import to_srt, to_vtt

    for target in targets:
        with write_whole(target) as partial:
            partial.write_text((to_srt if target.suffix == ".srt" else to_vtt)(segments), "utf-8")


def kept(
    listen: "Callable[[int], Iterator[Heard]]", target: Path, file: Path, facts: dict[str, Any]
) -> "Iterator[Heard]":
    """Yield what is heard; each stretch is kept beside the target at once, and what an earlier run kept comes first.

    Args:
        listen: yields what is heard from a sample on.
        target: what is to be written, see ``partial_of``.
        file: the recording.
        facts: all else that the transcript follows from.
    """
    from kimi_audio.core.files import alone
    from kimi_audio.core.units import INPUT_RATE_HZ
    from kimi_audio.transcript.listening import Heard
    from kimi_audio.transcript.partial import PartialTranscript

    about = file.stat()
    facts = {"file": str(file.resolve()), "bytes": about.st_size, "changed_ns": about.st_mtime_ns} | facts
    with alone(target):
        partial = PartialTranscript(partial_of(target), facts)
        if partial.until_samples:
            warn(f"{file}: going on from {clock(partial.until_samples / INPUT_RATE_HZ)}")
            yield Heard(tuple(partial.segments), partial.until_samples)
        for heard in listen(partial.until_samples):
            partial.add(heard)
            yield heard


def partial_of(target: Path) -> Path:
    """Return where what is heard is kept until the target is written."""
    return target.with_name(target.name + ".partial")


@dataclass
class Watch:
    """Tells how far a recording is heard: on a sign of the terminal, or now and then in a line."""

    name: str
    sign: Status
    total_s: float | None
    _start_s: float = field(default_factory=time.monotonic)
    _told_s: float = field(default_factory=time.monotonic)
    _begin_s: float | None = None

    def __call__(self, heard_s: float) -> None:
        """Take note that the recording is heard up to a time."""
        now_s = time.monotonic()
        if self._begin_s is None:  # an earlier run may have heard the beginning
            self._begin_s, self._start_s = heard_s, now_s
        text = f"{self.name}: {clock(heard_s)}"
        if self.total_s is not None and self.total_s >= heard_s:
            text += f" of {clock(self.total_s)}"
            if heard_s > self._begin_s:
                left_s = (now_s - self._start_s) * (self.total_s - heard_s) / (heard_s - self._begin_s)
                text += f", {clock(left_s)} left"
        self.sign.update(Text(visible(text)))
        if not self.sign.console.is_terminal and now_s - self._told_s > PLAIN_LINE_S:
            self._told_s = now_s
            warn(text)


def clock(time_s: float) -> str:
    """Return hours, minutes and seconds."""
    minutes, seconds = divmod(round(time_s), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
