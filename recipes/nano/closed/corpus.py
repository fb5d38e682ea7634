"""The generated corpora that nano learns from and is judged by."""

import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.progress import Progress

from kimi_audio.core.units import INPUT_RATE_HZ, OUTPUT_RATE_HZ
from kimi_audio.core.words import normalise
from kimi_audio.data.split import COMPLETED, SplitWriter
from recipes.nano.closed.phonemes import pronounce
from recipes.nano.closed.qa import side, take_questions
from recipes.nano.closed.sentences import take_sentences
from recipes.nano.closed.synthesis import resample, synthesise_all
from recipes.nano.closed.voices import ASSISTANT, RESERVED, SEEN, Delivery, Voice, draw_delivery

SHARD = 3000  # utterances of one training split
CHUNK = 64  # utterances per job: long enough that festival's start does not matter
Speak = Callable[[Sequence[tuple[str, Delivery]]], list[tuple[np.ndarray, int]]]
Pronounce = Callable[[str], str]
Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Line:
    """One text to be spoken, and how; ``answer``, ``key`` and ``essential`` where it is a question."""

    text: str
    delivery: Delivery
    kind: str
    answer: str | None = None
    key: str | None = None
    essential: str | None = None


@dataclass(frozen=True)
class Recipe:
    """Number of utterances of every split."""

    assistant_answers: int = 2500
    assistant_sentences: int = 2500
    asr: int = 12_000
    questions: int = 9_000
    evaluation: int = 200
    development: int = 100


def plan(recipe: Recipe, seed: int) -> dict[str, Callable[[], list[Line]]]:
    """Return how the lines of every split are drawn, in the order of building.

    Large sets come in shards (``asr-0``, ``asr-1``), so that training can begin with the first. Each set has its
    own random numbers.
    """

    def generator(name: str) -> random.Random:
        return random.Random(f"{seed}:{name}")  # noqa: S311 (texts, not secrets)

    count = recipe.evaluation
    splits: dict[str, Callable[[], list[Line]]] = {
        "assistant": lambda: assistant_lines(recipe, generator("assistant")),
    }
    training = {
        "asr": (recipe.asr, lambda: sentence_lines(recipe.asr, generator("asr"), SEEN, reserved=False)),
        "questions": (
            recipe.questions,
            lambda: question_lines(recipe.questions, generator("questions"), SEEN, reserved=False),
        ),
    }
    for name, (total, draw) in training.items():
        drawn = cache(draw)
        for shard, start in enumerate(range(0, total, SHARD)):
            splits[f"{name}-{shard}"] = lambda drawn=drawn, start=start: drawn()[start : start + SHARD]
    splits |= {
        "dev-asr": lambda: sentence_lines(recipe.development, generator("dev-asr"), SEEN, reserved=True),
        "eval-asr-seen": lambda: sentence_lines(count, generator("eval-asr-seen"), SEEN, reserved=True),
        "eval-asr-unseen": lambda: sentence_lines(count, generator("eval-asr-unseen"), RESERVED, reserved=True),
        "eval-qa-seen": lambda: question_lines(count, generator("eval-qa-seen"), SEEN, reserved=True),
        "eval-qa-unseen": lambda: question_lines(count, generator("eval-qa-unseen"), RESERVED, reserved=True),
    }
    return splits


def assistant_lines(recipe: Recipe, generator: random.Random) -> list[Line]:
    """Return what the assistant's voice says: replies of the training side and general sentences, mixed."""
    replies = {item.answer: item.kind for item in side(reserved=False)}
    kept = generator.sample(sorted(replies), min(recipe.assistant_answers, len(replies)))
    lines = [Line(answer, ASSISTANT, replies[answer]) for answer in kept]
    texts = take_sentences(recipe.assistant_sentences, generator, reserved=False)
    lines += [Line(text, ASSISTANT, "sentence") for text in texts]
    generator.shuffle(lines)
    return lines


def sentence_lines(count: int, generator: random.Random, voices: tuple[Voice, ...], reserved: bool) -> list[Line]:
    """Return general sentences of one side, each in a random delivery."""
    texts = take_sentences(count, generator, reserved)
    return [Line(text, draw_delivery(generator, voices), "sentence") for text in texts]


def question_lines(count: int, generator: random.Random, voices: tuple[Voice, ...], reserved: bool) -> list[Line]:
    """Return questions of one side, each in a random delivery."""
    items = take_questions(2 * count if reserved else count, generator, reserved)
    if reserved:  # an evaluation asks no question twice
        items = list(dict.fromkeys(items))[:count]
    return [
        Line(item.question, draw_delivery(generator, voices), item.kind, item.answer, item.key, item.essential)
        for item in items
    ]


def build(
    out_folder: Path | str,
    recipe: Recipe | None = None,
    seed: int = 0,
    workers: int = 2,
    speak: Speak = synthesise_all,
    pronounce: Pronounce = pronounce,
) -> None:
    """Build all splits under ``out_folder``; finished ones are kept, a half-made one is continued.

    Raises:
        ValueError: a speech engine is missing.
    """
    with Progress() as progress:
        for name, draw in plan(recipe or Recipe(), seed).items():
            folder = Path(out_folder) / name
            if (folder / COMPLETED).exists():
                continue
            rates_hz = (INPUT_RATE_HZ, OUTPUT_RATE_HZ) if name == "assistant" else (INPUT_RATE_HZ,)
            build_split(folder, draw(), rates_hz, workers, speak, pronounce, progress)


def build_split(
    folder: Path,
    lines: list[Line],
    rates_hz: tuple[int, ...],
    workers: int,
    speak: Speak,
    pronounce: Pronounce,
    progress: Progress,
) -> None:
    """Speak the lines in order and append them to the split."""
    writer = SplitWriter(folder, rates_hz)
    task = progress.add_task(folder.name, total=len(lines), completed=writer.done)
    completed = False
    try:
        for line, phonemes, (samples, rate_hz) in _spoken(lines[writer.done :], workers, speak, pronounce):
            delivery = line.delivery
            writer.add(
                {target: resample(samples, rate_hz, target) for target in rates_hz},
                id=f"{folder.name}-{writer.done:05d}",
                text=line.text,
                transcript=normalise(line.text),
                kind=line.kind,
                voice=delivery.voice.name,
                rate=delivery.rate,
                pitch=delivery.pitch,
                phonemes=phonemes,
                answer=line.answer,
                key=line.key,
                essential=line.essential,
            )
            progress.advance(task)
        completed = True
    finally:
        writer.close(completed)


def _spoken(
    lines: list[Line], workers: int, speak: Speak, pronounce: Pronounce
) -> Iterator[tuple[Line, str, tuple[np.ndarray, int]]]:
    """Speak in chunks, ``workers`` of them at a time; the engines are processes, so threads are enough."""

    def speak_chunk(chunk: Sequence[Line]) -> list[tuple[Line, str, tuple[np.ndarray, int]]]:
        spoken = speak([(line.text, line.delivery) for line in chunk])
        return [(line, pronounce(line.text), sound) for line, sound in zip(chunk, spoken, strict=True)]

    yield from in_order(lines, speak_chunk, workers)


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
