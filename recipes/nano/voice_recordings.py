"""Recordings of a voice that nano has never heard: ``python -m recipes.nano.voice_recordings --out recordings``.

A speech engine stands in for the speaker. The folder receives ``recordings.jsonl``, ten minutes of sentences of the
training side, and ``held-back.jsonl``, sentences of the reserved tenth, which judge the result; see docs/own-voice.md.
Needs the engines of ``make speech-tools``.
"""

import argparse
import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import soundfile
from rich.console import Console
from rich.progress import track

from recipes.nano.closed.evaluation_speech import Speak
from recipes.nano.closed.sentences import take_sentences
from recipes.nano.closed.synthesis import synthesise_all
from recipes.nano.closed.voices import RESERVED, Delivery, Voice

SENTENCES_PER_MINUTE = 40  # more than anybody says
AT_ONCE = 20  # sentences given to the speech engine


def record_voice(
    folder: Path, voice: Voice, minutes: float, held_back: int, seed: int = 0, speak: Speak = synthesise_all
) -> tuple[float, int]:
    """Write recordings of a voice with their transcripts.

    Args:
        folder: receives two JSONL files, see above, and the sound beside them.
        voice: who speaks.
        minutes: of recordings to learn from, at least.
        held_back: number of sentences that judge.
        seed: of the sentences.
        speak: the speech engine.

    Returns:
        The minutes to learn from, and the number of sentences in them.

    Raises:
        ValueError: the speech engine is missing.
    """
    learnt = take_sentences(round(minutes * SENTENCES_PER_MINUTE), random.Random(f"{seed}:learnt"), reserved=False)  # noqa: S311
    judging = take_sentences(held_back, random.Random(f"{seed}:held-back"), reserved=True)  # noqa: S311 (no secrets)
    (folder / "wavs").mkdir(parents=True, exist_ok=True)
    recorded = _recorded(folder, "learnt", learnt, voice, speak, minutes)
    _write(folder / "recordings.jsonl", (line for line, _ in recorded))
    _write(folder / "held-back.jsonl", (line for line, _ in _recorded(folder, "held", judging, voice, speak)))
    return sum(seconds for _, seconds in recorded) / 60, len(recorded)


def _recorded(
    folder: Path, name: str, texts: list[str], voice: Voice, speak: Speak, minutes: float = float("inf")
) -> list[tuple[dict[str, str], float]]:
    """Record texts until there are so many minutes; return the lines of the JSONL file, and the seconds of each."""
    found: list[tuple[dict[str, str], float]] = []
    for number, (text, samples, rate_hz) in enumerate(_spoken(texts, voice, speak)):
        if sum(seconds for _, seconds in found) >= 60 * minutes:
            break
        path = folder / "wavs" / f"{name}-{number:03d}.wav"
        soundfile.write(path, samples, rate_hz)
        found.append(({"audio": f"wavs/{path.name}", "text": text}, len(samples) / rate_hz))
    return found


def _spoken(texts: list[str], voice: Voice, speak: Speak) -> Iterator[tuple]:
    for start in track(range(0, len(texts), AT_ONCE), voice.name):
        chunk = texts[start : start + AT_ONCE]
        for text, (samples, rate_hz) in zip(chunk, speak([(text, Delivery(voice)) for text in chunk]), strict=True):
            yield text, samples, rate_hz


def _write(path: Path, lines: Iterable[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def main() -> None:
    """Record."""
    voices = {voice.name: voice for voice in RESERVED}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--voice", choices=voices, default="flite-awb", help="one that is reserved for evaluation")
    parser.add_argument("--minutes", type=float, default=10.0, help="to learn from")
    parser.add_argument("--held-back", type=int, default=24, help="sentences that judge")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        minutes, count = record_voice(
            options.out, voices[options.voice], options.minutes, options.held_back, options.seed
        )
    except ValueError as error:
        parser.error(str(error))
    Console().print(f"{options.out}: {count} sentences, {minutes:.1f} minutes; {options.held_back} sentences held back")


if __name__ == "__main__":
    main()
