"""Folders of generated speech: one FLAC file per line, beside a manifest that tells what was said, and how."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
from rich.progress import track

from kimi_audio.core.files import write_whole

MANIFEST = "manifest.jsonl"
Speak = Callable[["Line"], tuple[np.ndarray, int]]  # samples [L] and their rate in Hz


@dataclass(frozen=True)
class Line:
    """What is said, by which voice or blend of two, how fast and how high."""

    text: str
    voices: tuple[str, ...]
    speed: float = 1.0
    pitch: float = 1.0


@dataclass(frozen=True)
class Spoken:
    """A line with its recording."""

    line: Line
    audio: Path
    duration_s: float


def record(lines: Iterator[Line], speak: Speak, folder: Path, count: int) -> None:
    """Speak the first ``count`` lines into a folder; those that are there are kept, so it goes on where it stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    done = _whole_notes(folder / MANIFEST)
    with (folder / MANIFEST).open("a", encoding="utf-8") as notes:
        wanted = islice(lines, done, count)
        for number, line in enumerate(track(wanted, f"speech in {folder.name}", total=count - done), done):
            samples, rate_hz = speak(line)
            peak = float(np.abs(samples).max(initial=0))
            if not math.isfinite(peak):
                raise ValueError(f"the voice {line.voices} made no sound for {line.text!r}")
            name = f"{number:06d}.flac"
            with write_whole(folder / name) as partial:
                soundfile.write(partial, samples / max(1.0, peak), rate_hz, format="FLAC")
            note = {"audio": name, **asdict(line), "duration_s": round(len(samples) / rate_hz, 3)}
            notes.write(json.dumps(note) + "\n")
            notes.flush()


def recordings(folder: Path) -> list[Spoken]:
    """Return what was recorded into a folder so far."""
    found = []
    for text in (folder / MANIFEST).read_text("utf-8").split("\n")[:-1]:
        note = json.loads(text)
        audio, duration_s, voices = folder / note.pop("audio"), note.pop("duration_s"), tuple(note.pop("voices"))
        found.append(Spoken(Line(voices=voices, **note), audio, duration_s))
    return found


def _whole_notes(manifest: Path) -> int:
    """Cut off the half line that a killed run may have left; return how many lines there are."""
    if not manifest.exists():
        return 0
    whole = manifest.read_bytes().split(b"\n")[:-1]
    with write_whole(manifest) as partial:
        partial.write_bytes(b"".join(line + b"\n" for line in whole))
    return len(whole)
