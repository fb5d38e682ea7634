"""The sentences and questions of the closed world that nano is judged by: drawn, spoken, and kept as splits."""

import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.progress import Progress

from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.core.words import normalise
from kimi_audio.data.split import COMPLETED, SplitWriter
from recipes.nano.closed.qa import take_questions
from recipes.nano.closed.sentences import take_sentences
from recipes.nano.closed.synthesis import resample, synthesise_all
from recipes.nano.closed.voices import RESERVED, SEEN, Delivery, Voice, draw_delivery

CHUNK = 64  # utterances per job: long enough that festival's start does not matter
WORKERS = 2  # the engines are processes, so threads are enough
Speak = Callable[[Sequence[tuple[str, Delivery]]], list[tuple[np.ndarray, int]]]
Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Line:
    """One text to be spoken, and how; ``answer`` and ``key`` where it is a question."""

    text: str
    delivery: Delivery
    kind: str
    answer: str | None = None
    key: str | None = None


def plan(count: int, seed: int) -> dict[str, Callable[[], list[Line]]]:
    """Return how the ``count`` lines of every split are drawn; each has its own random numbers."""
    draws = {"asr": sentence_lines, "qa": question_lines}
    voices = {"seen": SEEN, "unseen": RESERVED}
    return {
        f"eval-{name}-{which}": partial(draw, count, f"{seed}:eval-{name}-{which}", voices[which])
        for name, draw in draws.items()
        for which in voices
    }


def sentence_lines(count: int, seed: str, voices: tuple[Voice, ...]) -> list[Line]:
    """Return reserved sentences, each in a random delivery."""
    generator = random.Random(seed)  # noqa: S311 (texts, not secrets)
    texts = take_sentences(count, generator, reserved=True)
    return [Line(text, draw_delivery(generator, voices), "sentence") for text in texts]


def question_lines(count: int, seed: str, voices: tuple[Voice, ...]) -> list[Line]:
    """Return reserved questions, none twice, each in a random delivery."""
    generator = random.Random(seed)  # noqa: S311 (texts, not secrets)
    items = list(dict.fromkeys(take_questions(2 * count, generator, reserved=True)))[:count]
    return [Line(item.question, draw_delivery(generator, voices), item.kind, item.answer, item.key) for item in items]


def build(out_folder: Path, count: int, seed: int, speak: Speak = synthesise_all) -> None:
    """Build all splits under ``out_folder``; finished ones are kept, a half-made one is continued.

    Raises:
        ValueError: a speech engine is missing.
    """
    with Progress() as progress:
        for name, draw in plan(count, seed).items():
            if not (out_folder / name / COMPLETED).exists():
                build_split(out_folder / name, draw(), speak, progress)


def build_split(folder: Path, lines: list[Line], speak: Speak, progress: Progress) -> None:
    """Speak the lines in order and append them to the split."""
    writer = SplitWriter(folder, (INPUT_RATE_HZ,))
    task = progress.add_task(folder.name, total=len(lines), completed=writer.done)
    completed = False

    def job(chunk: Sequence[Line]) -> list[tuple[Line, tuple[np.ndarray, int]]]:
        return list(zip(chunk, speak([(line.text, line.delivery) for line in chunk]), strict=True))

    try:
        for line, (samples, rate_hz) in in_order(lines[writer.done :], job, WORKERS):
            writer.add(
                {INPUT_RATE_HZ: resample(samples, rate_hz, INPUT_RATE_HZ)},
                id=f"{folder.name}-{writer.done:05d}",
                text=line.text,
                transcript=normalise(line.text),
                kind=line.kind,
                voice=line.delivery.voice.name,
                answer=line.answer,
                key=line.key,
            )
            progress.advance(task)
        completed = True
    finally:
        writer.close(completed)


def in_order(items: Sequence[Given], job: Callable[[Sequence[Given]], list[Made]], workers: int) -> Iterator[Made]:
    """Yield what ``job`` makes of the items, in their order, with ``workers`` chunks of them in work."""
    waiting: deque[Future[list[Made]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(items), CHUNK):
            waiting.append(pool.submit(job, items[start : start + CHUNK]))
            if len(waiting) > workers:  # no more ahead: all at once would hold the whole corpus in memory
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
