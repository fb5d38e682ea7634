"""How long a listener waits, ``python -m benchmarks.first_sound``: the table of README.md.

Every recorded question of the model is transcribed and answered in speech; the medians are printed. Times are those of
a clock, so run it on a machine that does nothing else.
"""

import argparse
import statistics
import time
from pathlib import Path

from rich.console import Console

from kimi_audio import KimiAudio, Message, load_audio
from kimi_audio.audio.io import AudioSource
from kimi_audio.cli.replies import bundled_questions
from kimi_audio.core.units import INPUT_RATE_HZ, OUTPUT_RATE_HZ


def transcribing_factor(model: KimiAudio, question: Path) -> float:
    """Return the seconds that it takes to transcribe a second of sound."""
    sound_s = len(load_audio(question, INPUT_RATE_HZ)) / INPUT_RATE_HZ
    start = time.perf_counter()
    model.transcribe(question)
    return (time.perf_counter() - start) / sound_s


def answering(model: KimiAudio, question: AudioSource) -> tuple[float, float, float]:
    """Return the seconds until the first text and the first sound, and those that a second of speech takes."""
    start = time.perf_counter()
    first_text_s = first_sound_s = 0.0
    samples = 0
    for chunk in model.stream([Message("user", "audio", question)], seed=0):
        now_s = time.perf_counter() - start
        first_text_s = first_text_s or (now_s if chunk.text else 0.0)
        first_sound_s = first_sound_s or (now_s if len(chunk.audio) else 0.0)
        samples += len(chunk.audio)
    return first_text_s, first_sound_s, (time.perf_counter() - start) * OUTPUT_RATE_HZ / max(samples, 1)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--device")
    options = parser.parse_args()
    start = time.perf_counter()
    model = KimiAudio(options.model, device=options.device)
    load_s = time.perf_counter() - start
    questions = bundled_questions(model.folder)
    # The first reply of a process is slower. A recording that a model has heard, it need not write down again.
    answering(model, (load_audio(questions[0], INPUT_RATE_HZ) / 2, INPUT_RATE_HZ))
    transcribing = statistics.median(transcribing_factor(model, question) for question in questions)
    first_text_s, first_sound_s, speaking = map(
        statistics.median, zip(*(answering(model, question) for question in questions), strict=True)
    )
    print_line = Console(width=120).print
    for name, value in (
        ("loading the model", f"{load_s:.1f} s"),
        ("transcribing a second of sound", f"{transcribing:.2f} s"),
        ("first word of a spoken reply", f"{1000 * first_text_s:.0f} ms"),
        ("first sound of a spoken reply", f"{1000 * first_sound_s:.0f} ms"),
        ("a second of speech, whole reply", f"{speaking:.2f} s"),
    ):
        print_line(f"| {name} | {value} |", markup=False, highlight=False)


if __name__ == "__main__":
    main()
