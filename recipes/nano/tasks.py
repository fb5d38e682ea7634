"""What nano learns beside speech and talk: sounds, places, styles, Mandarin, other voices, manners of replying.

``python -m recipes.nano.tasks OUT --spoken FOLDER … --replies FOLDER …`` writes the recordings into ``OUT/tasks`` and
the conversations into ``OUT/tasks.jsonl``. What the assistant says in English comes from the recordings of its voice;
a reply that nobody has spoken is asked for in text alone.
"""

import argparse
import logging
import random
import subprocess
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from rich.progress import Progress

from kimi_audio.core.files import write_whole
from kimi_audio.core.units import INPUT_RATE_HZ, OUTPUT_RATE_HZ
from kimi_audio.core.words import normalise
from recipes.nano.closed.colours import colour
from recipes.nano.closed.dialogues import dialogue_examples
from recipes.nano.closed.examples import NEUTRAL, Example, Part, Speech, asked, heard, spoken, written
from recipes.nano.closed.hearing import caption_examples, count_examples, event_examples, order_examples, scene_examples
from recipes.nano.closed.mandarin import cross_examples, question_examples, recognition_examples
from recipes.nano.closed.qa import take_questions
from recipes.nano.closed.soundscape import Clip, render_clip
from recipes.nano.closed.speakers import CONVERT
from recipes.nano.closed.styles import REPLY_REQUESTS, REPLY_STYLES, Style, style_examples
from recipes.nano.closed.synthesis import resample, synthesise_all
from recipes.nano.closed.voices import ASSISTANT, draw_delivery
from recipes.nano.corpora import NAMES, Conversation, message, write_conversations
from recipes.nano.recording import Spoken, recordings

COUNTS: Mapping[Callable[..., list[Example]], int] = {
    event_examples: 1200,
    count_examples: 1600,
    order_examples: 1600,
    caption_examples: 1600,
    scene_examples: 800,
    style_examples: 2000,
    recognition_examples: 3000,
    question_examples: 1200,
    cross_examples: 2000,
    dialogue_examples: 1500,
}
QUESTIONS = 2500  # of the first, closed world
STYLED = 1200  # replies
CONVERTED = 1600
KEPT_VOICE = 0.25  # of the conversions: the voice is the one that was heard
AT_ONCE = 50  # rendered: festival starts slowly


def drawn(seed: int) -> Iterator[Example]:
    """Yield the conversations of all tasks; none of them is reserved."""
    for draw, count in COUNTS.items():
        yield from draw(count, random.Random(f"{seed} {draw.__name__}"), False)  # noqa: S311 (texts, not secrets)
    generator = random.Random(f"{seed} questions")  # noqa: S311
    for item in take_questions(QUESTIONS, generator, reserved=False):
        sound = Speech(item.question, draw_delivery(generator))
        yield Example("qa", item.kind, item.key, (heard(sound), written(item.answer)), (item.essential,))


def styled(replies: Mapping[str, Path], seed: int) -> Iterator[Example]:
    """Yield spoken questions with the request for a manner of replying, of replies that are recorded."""
    generator = random.Random(f"{seed} styled")  # noqa: S311
    known = [item for item in take_questions(4 * STYLED, generator, reserved=False) if item.answer in replies]
    names = (NEUTRAL, *REPLY_STYLES)
    for number, item in enumerate(known[:STYLED]):
        name = names[number % len(names)]
        question = heard(Speech(item.question, draw_delivery(generator)))
        reply = spoken(Speech(item.answer, ASSISTANT, name))
        request = () if name == NEUTRAL else (asked(generator.choice(REPLY_REQUESTS[name])),)
        yield Example("reply-style", name, item.key, (*request, question, reply), (item.essential,))


def converted(aloud: Sequence[Spoken], sounds: "Sounds", seed: int) -> Iterator[Conversation]:
    """Yield what one voice says with the request to say it in another, the voice of a recording."""
    generator = random.Random(f"{seed} converted")  # noqa: S311
    for item in aloud[:CONVERTED]:
        text = item.line.text
        if generator.random() < KEPT_VOICE:
            source = str(item.audio.resolve())
        else:
            source = sounds.name(Speech(text, draw_delivery(generator)))
        yield {
            "task_type": "speech-to-speech",
            "conversation": [
                message("user", generator.choice(CONVERT).format(NAMES[item.line.voices[0]])),
                message("user", source, "audio", transcript=normalise(text)),
                message("assistant", [str(item.audio.resolve()), text.lower()], "audio-text"),
            ],
        }


# ---------------------------------------------------------------------------------------------------------------------
# Sounds


class Sounds:
    """Gives every sound a file, and renders those that are not there yet."""

    def __init__(self, out: Path, replies: Mapping[str, Path]) -> None:
        self._out, self._replies = out, replies
        self._names: dict[Speech | Clip, str] = {}

    def name(self, sound: Speech | Clip) -> str:
        """Return the name of the file that holds a sound, or will; what was recorded as it is asked for has one."""
        if isinstance(sound, Speech) and self._is_assistants(sound) and sound.style == NEUTRAL:
            return str(self._replies[sound.text].resolve())
        return self._names.setdefault(sound, f"tasks/{zlib.crc32(repr(sound).encode()):08x}.flac")

    def is_recorded(self, sound: Speech | Clip) -> bool:
        """Tell whether a reply is there to be used: all but English replies that nobody has spoken."""
        return not self._is_assistants(sound) or (isinstance(sound, Speech) and sound.text in self._replies)

    def render(self) -> None:
        """Render all that was named and is missing.

        Raises:
            ValueError: two sounds would have one file, or a speech engine is missing.
        """
        if len(set(self._names.values())) < len(self._names):
            raise ValueError("two sounds have one name; widen the checksum")
        (self._out / "tasks").mkdir(parents=True, exist_ok=True)
        missing = [(sound, self._out / name) for sound, name in self._names.items()]
        missing = [(sound, path) for sound, path in missing if not path.exists()]
        with Progress() as progress:
            task = progress.add_task("sounds", total=len(missing))
            for start in range(0, len(missing), AT_ONCE):
                some = missing[start : start + AT_ONCE]
                for (_, path), (samples, rate_hz) in zip(some, self._render([s for s, _ in some]), strict=True):
                    with write_whole(path) as partial:
                        soundfile.write(partial, samples, rate_hz, format="FLAC")
                    progress.advance(task)

    def _is_assistants(self, sound: Speech | Clip) -> bool:
        return isinstance(sound, Speech) and sound.delivery == ASSISTANT

    def _render(self, sounds: Sequence[Speech | Clip]) -> Iterator[tuple[np.ndarray, int]]:
        by_engine = [sound for sound in sounds if isinstance(sound, Speech) and not self._is_assistants(sound)]
        made = iter(synthesise_all([(sound.text, sound.delivery) for sound in by_engine]))
        for sound in sounds:
            if isinstance(sound, Clip):
                yield render_clip(sound), INPUT_RATE_HZ
            elif self._is_assistants(sound):
                yield restyled(self._replies[sound.text], REPLY_STYLES[sound.style]), OUTPUT_RATE_HZ
            else:
                samples, rate_hz = next(made)
                yield resample(samples, rate_hz, OUTPUT_RATE_HZ), OUTPUT_RATE_HZ


def restyled(audio: Path, style: Style) -> np.ndarray:
    """Return a recording in another style: [L] at 24 kHz.

    Raises:
        ValueError: ffmpeg is missing.
    """
    stretch = f"rubberband=tempo={style.rate}:pitch={style.pitch}"
    command = ["ffmpeg", "-v", "error", "-i", str(audio), "-af", stretch, "-ar", str(OUTPUT_RATE_HZ), "-ac", "1"]
    try:
        # No shell, and the file is one of the recipe's own.
        made = subprocess.run([*command, "-f", "f32le", "-"], check=True, capture_output=True, timeout=120)  # noqa: S603
    except FileNotFoundError:
        raise ValueError("ffmpeg is not installed; run `make speech-tools`") from None
    return colour(np.frombuffer(made.stdout, np.float32).copy(), OUTPUT_RATE_HZ, style.colour)


# ---------------------------------------------------------------------------------------------------------------------
# Conversations


def conversation(example: Example, sounds: Sounds) -> Conversation:
    """Return an example as a conversation; it is spoken if all its replies are."""
    replies = [part.sound for part in example.parts if part.role == "assistant"]
    is_spoken = all(sound is not None and sounds.is_recorded(sound) for sound in replies)
    return {
        "task_type": "speech-to-speech" if is_spoken else "understanding",
        "conversation": [_message(part, sounds, is_spoken=is_spoken) for part in example.parts],
        "metadata": {"kind": example.task},
    }


def _message(part: Part, sounds: Sounds, *, is_spoken: bool) -> dict[str, Any]:
    if part.role == "user" and part.sound is not None:
        # A Mandarin transcript has more pieces than the sound has positions, so it cannot be aligned with it.
        is_english = isinstance(part.sound, Speech) and part.sound.delivery.voice.language == "en"
        said = {"transcript": normalise(part.sound.text)} if isinstance(part.sound, Speech) and is_english else {}
        return message("user", sounds.name(part.sound), "audio", **said)
    text = (part.text or "").lower() if part.role == "assistant" else part.text
    if part.sound is not None and is_spoken:
        return message(part.role, [sounds.name(part.sound), text], "audio-text")
    return message(part.role, text)


def main() -> None:
    """Write the conversations and their recordings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the corpora")
    parser.add_argument("--spoken", type=Path, nargs="*", default=[], help="folders of what is read aloud")
    parser.add_argument("--replies", type=Path, nargs="*", default=[], help="folders of what the assistant says")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    replies = {item.line.text: item.audio for folder in arguments.replies for item in recordings(folder)}
    aloud = [item for folder in arguments.spoken for item in recordings(folder)]
    sounds = Sounds(arguments.out, replies)
    examples: Iterable[Example] = [*drawn(arguments.seed), *styled(replies, arguments.seed)]
    conversations = [conversation(example, sounds) for example in examples]
    conversations += converted(aloud, sounds, arguments.seed)
    sounds.render()
    random.Random(arguments.seed).shuffle(conversations)  # noqa: S311
    write_conversations(arguments.out / "tasks.jsonl", conversations)


if __name__ == "__main__":
    main()
