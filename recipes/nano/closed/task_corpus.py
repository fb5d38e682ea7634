"""The corpora of all tasks beyond English recognition and questions: what is in them, and how they are built.

A split is that of ``manifest.py``, its utterances being the sounds, with one file more:

tasks-sounds-0/examples.jsonl    one conversation per line; a sound is named by the id of its utterance
"""

import json
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
from rich.progress import Progress

from kimi_audio.core.units import INPUT_RATE_HZ, OUTPUT_RATE_HZ
from kimi_audio.core.words import normalise
from kimi_audio.data.split import COMPLETED, Split, SplitWriter
from recipes.nano.closed.corpus import Speak, in_order
from recipes.nano.closed.dialogues import dialogue_examples
from recipes.nano.closed.examples import NEUTRAL, Example, Speech
from recipes.nano.closed.hearing import (
    caption_examples,
    count_examples,
    event_examples,
    order_examples,
    scene_examples,
)
from recipes.nano.closed.mandarin import cross_examples, question_examples, recognition_examples, transcript
from recipes.nano.closed.phonemes import SOUND_MARK, pronounce_in
from recipes.nano.closed.soundscape import Clip, render_clip
from recipes.nano.closed.speakers import (
    assistant_examples,
    conversion_examples,
    reading_examples,
    spread_reading_examples,
)
from recipes.nano.closed.styles import reply_style_examples, style_examples
from recipes.nano.closed.synthesis import resample, synthesise_all
from recipes.nano.closed.voices import Language

EXAMPLES = "examples.jsonl"
SHARD = 2000  # examples of one training split
Sound = Speech | Clip
PronounceIn = Callable[[Language, str], str]


@dataclass(frozen=True)
class TaskSizes:
    """Examples of every task; ``evaluation`` is that of each evaluation split."""

    assistant: int = 1400
    mandarin: int = 4000
    mandarin_questions: int = 1500
    cross_language: int = 3000
    dialogues: int = 3000
    voices: int = 1000  # read aloud, and as many converted
    reading: int = 12_000  # sentences of the recognition corpus, each in one voice
    reply_styles: int = 1000
    # Sets of their own, drawn anew: more of what is learned last.
    manners: int = 3000  # reply styles
    answers_abroad: int = 3000  # cross-language
    memories: int = 1500  # dialogues
    counts_again: int = 1800
    styles: int = 3000
    events: int = 1600
    counts: int = 1800
    orders: int = 2000
    captions: int = 2000
    scenes: int = 1200
    evaluation: int = 200


@dataclass(frozen=True)
class TaskSplit:
    """How the examples of a split are drawn, and at which rates its sounds are kept."""

    draw: Callable[[], list[Example]]
    rates_hz: tuple[int, ...] = (INPUT_RATE_HZ,)


SPOKEN = (INPUT_RATE_HZ, OUTPUT_RATE_HZ)  # of what the detokenizer learns to say
Draw = Callable[[int, random.Random, bool], list[Example]]
DrawUnseen = Callable[[int, random.Random, bool, bool], list[Example]]


def plan_tasks(sizes: TaskSizes, seed: int) -> dict[str, TaskSplit]:
    """Return the splits in the order of building: training (``tasks-``), then evaluation (``eval-``).

    Every set has its own random numbers: the examples of one do not depend on the sizes of the others.
    """
    splits: dict[str, TaskSplit] = {}
    for name, (rates_hz, draws) in _training(sizes, seed).items():
        drawn = cache(partial(_draw_mixed, draws, f"{seed}:tasks-{name}"))
        total = sum(count for count, _ in draws)
        for shard, start in enumerate(range(0, total, SHARD)):
            draw = partial(_shard, drawn, start)
            splits[f"tasks-{name}-{shard}"] = TaskSplit(draw, rates_hz)
    for name, draw in _evaluation(sizes.evaluation, seed).items():
        splits[name] = TaskSplit(draw)
    return splits


def _generator(seed: str) -> random.Random:
    return random.Random(seed)  # noqa: S311 (texts, not secrets)


def _shard(drawn: Callable[[], list[Example]], start: int) -> list[Example]:
    return drawn()[start : start + SHARD]


def _draw_mixed(draws: Sequence[tuple[int, Draw]], seed: str) -> list[Example]:
    # Equal generators: reading and conversion then hold the same sentences, which are spoken once.
    examples = [example for count, draw in draws for example in draw(count, _generator(seed), False)]
    _generator(seed).shuffle(examples)
    return examples


def _training(sizes: TaskSizes, seed: int) -> dict[str, tuple[tuple[int, ...], list[tuple[int, Draw]]]]:
    heard = (INPUT_RATE_HZ,)

    def reading(count: int, generator: random.Random, reserved: bool) -> list[Example]:
        return spread_reading_examples(count, generator, reserved, _generator(f"{seed}:asr"))

    sounds: list[tuple[int, Draw]] = [
        (sizes.events, event_examples),
        (sizes.counts, count_examples),
        (sizes.orders, order_examples),
        (sizes.captions, caption_examples),
    ]
    questions: list[tuple[int, Draw]] = [
        (sizes.mandarin_questions, question_examples),
        (sizes.cross_language, cross_examples),
    ]
    return {
        "assistant": (SPOKEN, [(sizes.assistant, assistant_examples)]),
        "mandarin": (heard, [(sizes.mandarin, recognition_examples)]),
        "questions": (heard, questions),
        "dialogues": (heard, [(sizes.dialogues, dialogue_examples)]),
        "sounds": (heard, sounds),
        "scenes": (heard, [(sizes.scenes, scene_examples)]),
        "styles": (heard, [(sizes.styles, style_examples)]),
        "voices": (SPOKEN, [(sizes.voices, reading_examples), (sizes.voices, conversion_examples)]),
        "replies": (SPOKEN, [(sizes.reply_styles, reply_style_examples)]),
        "manners": (SPOKEN, [(sizes.manners, reply_style_examples)]),
        "reading": (SPOKEN, [(sizes.reading, reading)]),
        "abroad": (heard, [(sizes.answers_abroad, cross_examples)]),
        "memories": (heard, [(sizes.memories, dialogue_examples)]),
        "counts": (heard, [(sizes.counts_again, count_examples)]),
    }


def _evaluation(count: int, seed: int) -> dict[str, Callable[[], list[Example]]]:
    speech: dict[str, DrawUnseen] = {
        "mandarin": recognition_examples,
        "mandarin-qa": question_examples,
        "cross": cross_examples,
        "dialogues": dialogue_examples,
        "styles": style_examples,
        "replies": reply_style_examples,
    }
    others: dict[str, Draw] = {
        "tts": reading_examples,
        "conversion": conversion_examples,
        "events": event_examples,
        "counts": count_examples,
        "orders": order_examples,
        "captions": caption_examples,
        "scenes": scene_examples,
    }
    splits: dict[str, Callable[[], list[Example]]] = {}
    for name, draw in speech.items():
        for voices in ("seen", "unseen"):
            full, unseen = f"eval-{name}-{voices}", voices == "unseen"
            splits[full] = lambda full=full, draw=draw, unseen=unseen: draw(
                count, _generator(f"{seed}:{full}"), True, unseen
            )
    for name, draw in others.items():
        full = f"eval-{name}"
        splits[full] = lambda full=full, draw=draw: draw(count, _generator(f"{seed}:{full}"), True)
    return splits


# ---------------------------------------------------------------------------------------------------------------------
# Building


def build_tasks(
    out_folder: Path | str,
    sizes: TaskSizes | None = None,
    seed: int = 0,
    workers: int = 2,
    speak: Speak = synthesise_all,
    pronounce: PronounceIn = pronounce_in,
    names: Collection[str] | None = None,
) -> None:
    """Build all splits, or those named, under ``out_folder``; finished ones are kept, a half-made one is continued.

    Raises:
        ValueError: a speech engine is missing, or there is no split of a name.
    """
    splits = plan_tasks(sizes or TaskSizes(), seed)
    if unknown := sorted(set(names or ()) - set(splits)):
        raise ValueError(f"there is no split {unknown[0]!r}; there are {', '.join(splits)}")
    with Progress() as progress:
        for name, split in splits.items():
            folder = Path(out_folder) / name
            if (names is None or name in names) and not (folder / COMPLETED).exists():
                build_task_split(folder, split, workers, speak, pronounce, progress)


def build_task_split(
    folder: Path, split: TaskSplit, workers: int, speak: Speak, pronounce: PronounceIn, progress: Progress
) -> None:
    """Render every sound of the examples once, in the order of their first use, and write the examples."""
    examples = split.draw()
    sounds = list(dict.fromkeys(part.sound for example in examples for part in example.parts if part.sound))
    writer = SplitWriter(folder, split.rates_hz)
    task = progress.add_task(folder.name, total=len(sounds), completed=writer.done)
    completed = False
    try:
        _write_examples(folder, examples, {sound: _id(folder, index) for index, sound in enumerate(sounds)})

        def job(chunk: Sequence[Sound]) -> list[tuple[Sound, tuple[np.ndarray, int], str]]:
            return _render(chunk, speak, pronounce)

        for sound, (samples, rate_hz), phonemes in in_order(sounds[writer.done :], job, workers):
            by_rate = {target: resample(samples, rate_hz, target) for target in split.rates_hz}
            writer.add(by_rate, id=_id(folder, writer.done), phonemes=phonemes, **_described(sound))
            progress.advance(task)
        completed = True
    finally:
        writer.close(completed)


def _id(folder: Path, index: int) -> str:
    return f"{folder.name}-{index:05d}"


def _render(
    sounds: Sequence[Sound], speak: Speak, pronounce: PronounceIn
) -> list[tuple[Sound, tuple[np.ndarray, int], str]]:
    speeches = [sound for sound in sounds if isinstance(sound, Speech)]
    spoken = iter(speak([(speech.text, speech.delivery) for speech in speeches]))
    rendered = []
    for sound in sounds:
        if isinstance(sound, Clip):
            labels = " ".join(SOUND_MARK + label for label in sound.labels)
            rendered.append((sound, (render_clip(sound), INPUT_RATE_HZ), labels))
        else:
            phonemes = pronounce(sound.delivery.voice.language, sound.text)
            rendered.append((sound, next(spoken), phonemes))
    return rendered


def _described(sound: Sound) -> dict[str, object]:
    """Return the fields of an utterance, except its place, id and phonemes."""
    if isinstance(sound, Clip):
        return {"text": "", "transcript": "", "kind": "sounds", "voice": "", "rate": 1.0, "pitch": 1.0}
    delivery, is_mandarin = sound.delivery, sound.delivery.voice.language == "cmn"
    return {
        "text": sound.text,
        "transcript": transcript(sound.text) if is_mandarin else normalise(sound.text),
        "kind": "speech",
        "voice": delivery.voice.name,
        "rate": delivery.rate,
        "pitch": delivery.pitch,
        "language": "cmn" if is_mandarin else None,
        "style": None if sound.style == NEUTRAL else sound.style,
    }


# ---------------------------------------------------------------------------------------------------------------------
# Examples on disk


@dataclass(frozen=True)
class StoredPart:
    """One message; ``sound`` is the id of an utterance of the split."""

    role: Literal["user", "assistant"]
    text: str | None = None
    sound: str | None = None


@dataclass(frozen=True)
class StoredExample:
    """An ``Example`` whose sounds are utterances."""

    task: str
    kind: str
    key: str
    parts: tuple[StoredPart, ...]
    essential: tuple[str, ...] = ()


def read_examples(split: Split) -> Iterator[StoredExample]:
    """Yield the examples of a finished split.

    Raises:
        ValueError: the split has none, or a line is not an example.
    """
    path = split.folder / EXAMPLES
    if not path.exists():
        raise ValueError(f"{split.folder} has no {EXAMPLES}; only the splits of build_tasks have")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                values = json.loads(line)
                parts = tuple(StoredPart(**part) for part in values.pop("parts"))
                example = StoredExample(parts=parts, essential=tuple(values.pop("essential")), **values)
            except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
                raise ValueError(f"{path}, line {number}: not an example with parts and essential") from None
            yield example


def _write_examples(folder: Path, examples: Sequence[Example], ids: dict[Sound, str]) -> None:
    temporary = folder / (EXAMPLES + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        for example in examples:
            parts = tuple(
                StoredPart(part.role, part.text, ids[part.sound] if part.sound else None) for part in example.parts
            )
            stored = StoredExample(example.task, example.kind, example.key, parts, example.essential)
            file.write(json.dumps(asdict(stored), ensure_ascii=False) + "\n")
    temporary.rename(folder / EXAMPLES)
