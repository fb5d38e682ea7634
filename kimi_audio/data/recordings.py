"""Recordings of one speaker with their transcripts, as a user brings them.

Either a JSONL file, one recording per line, with paths relative to the file:

    {"audio": "wavs/001.wav", "text": "The birch canoe slid on the smooth planks."}

or a folder of sound files, each beside a text file of the same name (001.wav, 001.txt).
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from kimi_audio.audio.formats import SUFFIXES
from kimi_audio.audio.io import decode_audio, load_audio
from kimi_audio.core.lines import read_objects
from kimi_audio.core.units import INPUT_RATE_HZ, OUTPUT_RATE_HZ
from kimi_audio.core.words import words_in_any_script
from kimi_audio.data.split import Split, SplitWriter

MIN_RATE_HZ = INPUT_RATE_HZ  # below, consonants are lost that a voice is known by
MIN_S, MAX_S = 0.5, 30.0  # of one recording
SILENT = 1e-3  # of full scale
SHOWN = 5  # problems named in one message


@dataclass(frozen=True)
class Recording:
    """A sound file and what is said in it; ``place`` names it in messages."""

    path: Path
    text: str
    place: str


def read_recordings(source: Path) -> list[Recording]:
    """List the recordings of a JSONL file or a folder, in order; sound is not read yet.

    Raises:
        ValueError: there are none, or some lack their sound file's name or their transcript; all such are counted, the
            first ones named.
    """
    if not source.exists():
        raise ValueError(f"there is no {source}; give a JSONL file or a folder of recordings")
    found = list(_of_folder(source) if source.is_dir() else _of_lines(source))
    if not found:
        raise ValueError(f"{source} holds no recordings; sound files with their transcripts are wanted")
    raise_problems([item for item in found if isinstance(item, str)], len(found))
    return [item for item in found if isinstance(item, Recording)]


def raise_problems(problems: Sequence[str], total: int) -> None:
    """Raise one ValueError about all problems, if there are any."""
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        listed = "; ".join(problems[:SHOWN])
        raise ValueError(f"{len(problems)} of {total} recordings cannot be used: {listed}{more}")


def _of_folder(folder: Path) -> Iterator[Recording | str]:
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES:
            transcript = path.with_suffix(".txt")
            if not transcript.exists():
                yield f"{path.name} has no transcript {transcript.name}"
                continue
            try:
                text = transcript.read_text("utf-8").strip()
            except UnicodeDecodeError:
                yield f"{transcript.name} is not text in UTF-8"
                continue
            yield Recording(path, text, path.name) if text else f"{transcript.name} is empty"


def _of_lines(source: Path) -> Iterator[Recording | str]:
    rows, problems = read_objects(source)
    if not rows:
        raise ValueError(f"{source} is neither a folder nor a JSONL file of recordings")
    yield from (f"line {problem.line}: {problem.reason}" for problem in problems)
    for number, values in rows.items():
        place = f"line {number}"
        missing = [
            name for name in ("audio", "text") if not isinstance(values.get(name), str) or not values[name].strip()
        ]
        if missing:
            yield f"{place} lacks {' and '.join(missing)}"
        else:
            yield Recording(source.parent / values["audio"], values["text"].strip(), place)


def load_speech(recording: Recording) -> dict[int, np.ndarray]:
    """Return the samples at 16 kHz and 24 kHz.

    Raises:
        ValueError: the file cannot be read, or its rate, duration or level is not that of a usable recording.
    """
    try:
        sound = decode_audio(recording.path, damage="refuse")
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"{recording.place}: {error}") from None
    if sound.rate_hz < MIN_RATE_HZ:
        raise ValueError(f"{recording.place} has {sound.rate_hz} Hz; at least {MIN_RATE_HZ} Hz are needed")
    speech = {rate_hz: load_audio(sound, rate_hz).numpy() for rate_hz in (INPUT_RATE_HZ, OUTPUT_RATE_HZ)}
    duration_s = len(speech[INPUT_RATE_HZ]) / INPUT_RATE_HZ
    if not MIN_S <= duration_s <= MAX_S:
        raise ValueError(f"{recording.place} lasts {duration_s:.2f} s; between {MIN_S:g} and {MAX_S:g} s are wanted")
    if np.abs(speech[INPUT_RATE_HZ]).max() < SILENT:
        raise ValueError(f"{recording.place} is silent")
    return speech


def words_of(text: str) -> list[str]:
    """Return the words by which sentences are compared, or, where there are none, what is written."""
    return words_in_any_script(text) or text.casefold().split()


def store_speech(recordings: Sequence[Recording], folder: Path) -> Split:
    """Write recordings as a split with sound at both rates, in place of what the folder held.

    Raises:
        ValueError: recordings cannot be used; all are counted, the first ones named.
    """
    if folder.exists():
        shutil.rmtree(folder)
    writer = SplitWriter(folder, (INPUT_RATE_HZ, OUTPUT_RATE_HZ))
    problems, completed = [], False
    try:
        for recording in track(recordings, f"reading {folder.name}"):
            try:
                speech = load_speech(recording)
            except ValueError as error:
                problems.append(str(error))
                continue
            values = {"kind": "sentence", "voice": "own"}
            transcript = " ".join(words_of(recording.text))
            writer.add(speech, id=recording.path.name, text=recording.text, transcript=transcript, **values)
        completed = not problems
    finally:
        writer.close(completed)
    raise_problems(problems, len(recordings))
    return Split(folder)
