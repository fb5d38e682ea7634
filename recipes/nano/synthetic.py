"""Speech in the synthetic voices of espeak-ng, flite and festival: many, fast to make, and clear.

``python -m recipes.nano.synthetic FOLDER --kind heard --count 9000`` goes on where it stopped.
"""

import argparse
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from kimi_audio.core.units import INPUT_RATE_HZ
from recipes.nano.closed.synthesis import resample, synthesise
from recipes.nano.closed.voices import SEEN, draw_delivery
from recipes.nano.kokoro import texts
from recipes.nano.recording import Line, record
from recipes.nano.talks import learned_facts, learned_talks, said
from recipes.nano.world.commands import commands as learned_commands
from recipes.nano.world.sentences import development_sentences, evaluation_sentences

READER = "flite-slt"
VOICES = {voice.name: voice for voice in SEEN}


def heard(seed: int = 0) -> Iterator[Line]:
    """Yield lines that nano learns to hear, in voices that are not reserved."""
    generator = random.Random(f"synthetic {seed}")  # noqa: S311 (texts, not secrets)
    return (_anyhow(text, generator) for text in texts(generator, examples=0.7, definitions=0.15, verses=0.15))


def questions(seed: int = 0) -> Iterator[Line]:
    """Yield what users say in conversations, in voices that are not reserved."""
    generator = random.Random(f"synthetic questions {seed}")  # noqa: S311
    return (_anyhow(text, generator) for text in said(learned_talks(), generator))


def facts(seed: int = 0) -> Iterator[Line]:
    """Yield questions about what has to be known by heart, in voices that are not reserved."""
    generator = random.Random(f"synthetic facts {seed}")  # noqa: S311
    return (_anyhow(text, generator) for text in said(learned_facts(), generator))


def commands(seed: int = 0) -> Iterator[Line]:
    """Yield numbers, dates, names, spellings and short commands, in voices that are not reserved."""
    generator = random.Random(f"synthetic commands {seed}")  # noqa: S311
    return (_anyhow(text, generator) for text in learned_commands(generator, reserved=False))


def clear(seed: int = 0) -> Iterator[Line]:
    """Yield lines in the one voice from which nano learns to read: quick to make, and always the same."""
    generator = random.Random(f"clear {seed}")  # noqa: S311
    return (Line(text, (READER,)) for text in texts(generator, examples=0.65, definitions=0.35, verses=0.0))


def _anyhow(text: str, generator: random.Random) -> Line:
    delivery = draw_delivery(generator)
    return Line(text, (delivery.voice.name,), delivery.rate, delivery.pitch)


def speak(line: Line) -> tuple[np.ndarray, int]:
    """Return samples [L] at 16 kHz."""
    samples, rate_hz = synthesise(line.text, VOICES[line.voices[0]], line.speed, line.pitch)
    return resample(samples, rate_hz, INPUT_RATE_HZ), INPUT_RATE_HZ


def everyday(sentences: Sequence[str]) -> Iterator[Line]:
    """Yield the sentences of the scores in voices that are trained on."""
    generator = random.Random("everyday")  # noqa: S311
    return (_anyhow(text, generator) for text in sentences)


KINDS: Mapping[str, Callable[[int], Iterator[Line]]] = {  # by a seed, where anything is drawn
    "heard": heard,
    "questions": questions,
    "facts": facts,
    "commands": commands,
    "clear": clear,
    "development": lambda _: everyday(development_sentences()),
    "evaluation": lambda _: everyday(evaluation_sentences()),
}


def main() -> None:
    """Record one kind of speech."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the recordings go")
    parser.add_argument("--kind", choices=KINDS, default="heard")
    parser.add_argument("--seed", type=int, default=0, help="another one draws other texts and voices")
    parser.add_argument("--count", type=int, default=9000, help="recordings in all")
    arguments = parser.parse_args()
    record(KINDS[arguments.kind](arguments.seed), speak, arguments.folder, arguments.count)


if __name__ == "__main__":
    main()
