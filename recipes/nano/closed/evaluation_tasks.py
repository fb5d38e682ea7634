"""The tasks beyond English recognition and questions that nano is judged by: what is in them, and how they are kept.

A split is that of ``kimi_audio.data.split``, its utterances being the sounds, with one file more:

eval-events/examples.jsonl    one conversation per line; a sound is named by the id of its utterance
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from rich.progress import Progress

from kimi_audio.core.files import write_whole
from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.core.words import normalise
from kimi_audio.data.split import COMPLETED, Split, SplitWriter
from recipes.nano.closed.dialogues import dialogue_examples
from recipes.nano.closed.evaluation_speech import WORKERS, Speak, in_order
from recipes.nano.closed.examples import NEUTRAL, Example, Speech
from recipes.nano.closed.hearing import (
    caption_examples,
    count_examples,
    event_examples,
    order_examples,
    scene_examples,
)
from recipes.nano.closed.mandarin import cross_examples, question_examples, recognition_examples, transcript
from recipes.nano.closed.soundscape import Clip, render_clip
from recipes.nano.closed.speakers import reading_examples
from recipes.nano.closed.styles import reply_style_examples, style_examples
from recipes.nano.closed.synthesis import resample, synthesise_all

EXAMPLES = "examples.jsonl"
Sound = Speech | Clip
Draw = Callable[..., list[Example]]  # (count, generator, reserved), and unseen where voices are heard
_IN_VOICES: Mapping[str, Draw] = {
    "mandarin": recognition_examples,
    "mandarin-qa": question_examples,
    "cross": cross_examples,
    "dialogues": dialogue_examples,
    "styles": style_examples,
    "replies": reply_style_examples,
}
_OTHERS: Mapping[str, Draw] = {
    "tts": reading_examples,
    "events": event_examples,
    "counts": count_examples,
    "orders": order_examples,
    "captions": caption_examples,
    "scenes": scene_examples,
}


def plan_tasks(counts: Mapping[str, int], seed: int) -> dict[str, Callable[[], list[Example]]]:
    """Return how the reserved examples of the splits are drawn, so many of each; each has its own random numbers.

    Raises:
        ValueError: there is no split of a name.
    """
    draws = {f"eval-{name}": draw for name, draw in _OTHERS.items()}
    for name, draw in _IN_VOICES.items():
        draws |= {f"eval-{name}-{which}": partial(draw, unseen=which == "unseen") for which in ("seen", "unseen")}
    if unknown := sorted(set(counts) - set(draws)):
        raise ValueError(f"there is no split {unknown[0]!r}; there are {', '.join(sorted(draws))}")
    return {
        name: lambda name=name, count=count: draws[name](
            count,
            random.Random(f"{seed}:{name}"),  # noqa: S311 (texts, not secrets)
            True,
        )
        for name, count in counts.items()
    }


# ---------------------------------------------------------------------------------------------------------------------
# Building


def build_tasks(out_folder: Path, counts: Mapping[str, int], seed: int, speak: Speak = synthesise_all) -> None:
    """Build splits under ``out_folder``, so many examples of each; finished ones are kept, a half-made one goes on.

    Raises:
        ValueError: a speech engine is missing, or there is no split of a name.
    """
    with Progress() as progress:
        for name, draw in plan_tasks(counts, seed).items():
            if not (out_folder / name / COMPLETED).exists():
                build_task_split(out_folder / name, draw(), speak, progress)


def build_task_split(folder: Path, examples: list[Example], speak: Speak, progress: Progress) -> None:
    """Render every sound of the examples once, in the order of their first use, and write the examples."""
    sounds = list(dict.fromkeys(part.sound for example in examples for part in example.parts if part.sound))
    writer = SplitWriter(folder, (INPUT_RATE_HZ,))
    task = progress.add_task(folder.name, total=len(sounds), completed=writer.done)
    completed = False
    try:
        _write_examples(folder, examples, {sound: _id(folder, index) for index, sound in enumerate(sounds)})
        for sound, (samples, rate_hz) in in_order(sounds[writer.done :], partial(_render, speak), WORKERS):
            by_rate = {INPUT_RATE_HZ: resample(samples, rate_hz, INPUT_RATE_HZ)}
            writer.add(by_rate, id=_id(folder, writer.done), **_described(sound))
            progress.advance(task)
        completed = True
    finally:
        writer.close(completed)


def _id(folder: Path, index: int) -> str:
    return f"{folder.name}-{index:05d}"


def _render(speak: Speak, sounds: Sequence[Sound]) -> list[tuple[Sound, tuple[np.ndarray, int]]]:
    speeches = [sound for sound in sounds if isinstance(sound, Speech)]
    spoken = iter(speak([(speech.text, speech.delivery) for speech in speeches]))
    return [
        (sound, (render_clip(sound), INPUT_RATE_HZ) if isinstance(sound, Clip) else next(spoken)) for sound in sounds
    ]


def _described(sound: Sound) -> dict[str, object]:
    """Return the fields of an utterance, except its place and id."""
    if isinstance(sound, Clip):
        return {"text": "", "transcript": "", "kind": "sounds", "voice": ""}
    delivery, is_mandarin = sound.delivery, sound.delivery.voice.language == "cmn"
    return {
        "text": sound.text,
        "transcript": transcript(sound.text) if is_mandarin else normalise(sound.text),
        "kind": "speech",
        "voice": delivery.voice.name,
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
    with write_whole(folder / EXAMPLES) as path, path.open("w", encoding="utf-8") as file:
        for example in examples:
            parts = tuple(
                StoredPart(part.role, part.text, ids[part.sound] if part.sound else None) for part in example.parts
            )
            stored = StoredExample(example.task, example.kind, example.key, parts, example.essential)
            file.write(json.dumps(asdict(stored), ensure_ascii=False) + "\n")
