"""Speech in the synthetic voices of espeak-ng, flite and festival: many, fast to make, and clear.

``python -m recipes.nano.synthetic FOLDER --count 9000`` goes on where it stopped.
"""

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kimi_audio.core.units import INPUT_RATE_HZ
from recipes.nano.closed.synthesis import resample, synthesise
from recipes.nano.closed.voices import SEEN, draw_delivery
from recipes.nano.kokoro import texts
from recipes.nano.recording import Line, record

VOICES = {voice.name: voice for voice in SEEN}


def heard(seed: int = 0) -> Iterator[Line]:
    """Yield lines that nano learns to hear, in voices that are not reserved."""
    generator = random.Random(f"synthetic {seed}")  # noqa: S311 (texts, not secrets)
    for text in texts(generator, examples=0.7, definitions=0.15, verses=0.15):
        delivery = draw_delivery(generator)
        yield Line(text, (delivery.voice.name,), delivery.rate, delivery.pitch)


def speak(line: Line) -> tuple[np.ndarray, int]:
    """Return samples [L] at 16 kHz."""
    samples, rate_hz = synthesise(line.text, VOICES[line.voices[0]], line.speed, line.pitch)
    return resample(samples, rate_hz, INPUT_RATE_HZ), INPUT_RATE_HZ


def main() -> None:
    """Record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the recordings go")
    parser.add_argument("--count", type=int, default=9000, help="recordings in all")
    arguments = parser.parse_args()
    record(heard(), speak, arguments.folder, arguments.count)


if __name__ == "__main__":
    main()
