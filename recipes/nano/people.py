"""Recordings of people that nano learns to hear: speechocean762, and the coffee orders of an open benchmark.

Users download both (OpenSLR 101; a public repository under Apache-2.0) as folders with a ``manifest.jsonl``. The first
has transcripts; those of the second are written by Whisper base, ``python -m recipes.nano.people ORDERS --whisper
FOLDER --out orders.json``, and kept where they hold every slot value.
"""

import argparse
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kimi_audio.core.files import read_json, write_json
from kimi_audio.core.lines import read_objects
from kimi_audio.core.words import normalise
from recipes.nano.stock import learned


@dataclass(frozen=True)
class Heard:
    """A recording of a person and what is said in it, in transcript form."""

    audio: Path
    text: str


def readers(folder: Path) -> list[Heard]:
    """Return the training speakers of speechocean762, without the texts that are reserved."""
    found = [
        Heard(folder / line["audio"], normalise(line["text"])) for line in _lines(folder) if line["split"] == "train"
    ]
    allowed = set(learned(item.text for item in found))
    return [item for item in found if item.text and item.text in allowed]


def dev_readers(folder: Path, count: int) -> list[Heard]:
    """Return recordings of adults of speechocean762 whose speakers are never trained on."""
    chosen = [row for row in _lines(folder) if row["split"] == "dev" and row.get("age", 99) >= 16]
    return [Heard(folder / row["audio"], normalise(row["text"])) for row in chosen[:: max(1, len(chosen) // count)]]


def is_held_out(audio: str) -> bool:
    """Tell whether a coffee command belongs to the third that is never trained on."""
    return hashlib.sha256(audio.encode()).digest()[0] % 3 == 0


def orders(folder: Path, transcripts: Path) -> list[Heard]:
    """Return the coffee commands to train on whose transcripts hold every slot value.

    Args:
        folder: of the recordings.
        transcripts: what ``transcribe_orders`` wrote.
    """
    texts = read_json(transcripts)
    found = []
    for line in _lines(folder):
        text = normalise(texts.get(line["audio"], ""))
        if not is_held_out(line["audio"]) and all(normalise(value) in text for value in line["slots"].values()):
            found.append(Heard(folder / line["audio"], text))
    return found


def transcribe_orders(folder: Path, whisper: Path, out: Path) -> None:
    """Write what a Whisper (a CTranslate2 folder, for faster-whisper) hears in the commands to be trained on."""
    from faster_whisper import WhisperModel  # pyright: ignore[reportMissingImports]

    model = WhisperModel(str(whisper), device="cpu", cpu_threads=1, compute_type="int8")
    texts = {}
    for line in _lines(folder):
        if not is_held_out(line["audio"]):
            segments, _ = model.transcribe(str(folder / line["audio"]), language="en", beam_size=5)
            texts[line["audio"]] = " ".join(segment.text.strip() for segment in segments)
    write_json(out, texts)


def _lines(folder: Path) -> Iterator[dict[str, Any]]:
    rows, problems = read_objects(folder / "manifest.jsonl")
    if problems:
        raise ValueError(f"{folder / 'manifest.jsonl'}, line {problems[0].line}: {problems[0].reason}")
    yield from rows.values()


def main() -> None:
    """Write down the coffee commands."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("orders", type=Path, help="coffee commands")
    parser.add_argument("--whisper", type=Path, required=True, help="Whisper base as CTranslate2 has it")
    parser.add_argument("--out", type=Path, required=True, help="what it heard, for recipes.nano.corpora --transcripts")
    arguments = parser.parse_args()
    transcribe_orders(arguments.orders, arguments.whisper, arguments.out)


if __name__ == "__main__":
    main()
