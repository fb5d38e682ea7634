"""The seven tasks of pre-training, as one table (technical report, section 4.1 and table 3).

A recording is a row of segments in their order, segment i with its audio a_i and its text t_i. An audio is written as
a: its codes with acoustic features, which are heard; or as a^d: the codes alone, which can be predicted. ``a^d/t`` is
speech beside its text, as it is generated: the text from the first position, the codes behind the delay. In the
notation of ``Task.form`` a star marks what is learned.

The report names no marks between segments and no end of an item, so none are written. It does not say whether blanks
are learned; here they are not, neither those of the delay nor those that fill up the shorter row.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Self

from torch import Tensor

from kimi_audio.core.config import LMConfig
from kimi_audio.core.numbers import counted
from kimi_audio.core.sequence import AudioTokens, Sequence, SequenceBuilder
from kimi_audio.core.tokens import SpecialIds


@dataclass(frozen=True)
class TaskSegment:
    """One piece of a recording: its sound, its text, or both."""

    audio: AudioTokens | None = None
    text: tuple[int, ...] | None = None  # ids


@dataclass(frozen=True)
class Layout:
    """What the rows of a model need: the id of a blank, the id of audio code 0, and the blanks before speech."""

    blank_id: int
    audio_offset: int
    delay_tokens: int

    @classmethod
    def of(cls, config: LMConfig, special: SpecialIds) -> Self:
        """Take offset and delay from the model's config."""
        return cls(special.blank, config.audio_offset, config.delay_tokens)


class Item(Enum):
    """How a segment is written, in the report's notation; a star marks what is learned."""

    HEARD = "a"
    READ = "t"
    TEXT = "t*"
    CODES = "a^d*"
    SPEECH = "a^d*/t*"

    @property
    def is_learned(self) -> bool:
        """Whether there is a loss on it."""
        return self.value.endswith("*")


@dataclass(frozen=True)
class Task:
    """One row of the table.

    Args:
        name: of the task.
        cycle: what is written of the first segment, of the second, and so on; it starts over at its end.
        weight: share of the positions of all training data, not a factor of the loss: half of them are text, as the
            report's 585 billion text and audio tokens each are.
    """

    name: str
    cycle: tuple[tuple[Item, ...], ...]
    weight: int

    @property
    def form(self) -> str:
        """The sequence of four segments in the report's notation, such as ``a1 a2^d* a3 a4^d*``."""
        return " ".join(
            "/".join(part[0] + str(number) + part[1:] for part in item.value.split("/"))
            for number, items in enumerate(self.items(4, 0), 1)
            for item in items
        )

    def build(self, segments: list[TaskSegment], layout: Layout, *, start: int = 0) -> Sequence:
        """Write the segments of one document, with losses where the task has them.

        Args:
            segments: of one recording or text, in their order.
            layout: of the model.
            start: where in the cycle the first segment stands. 1 begins an interleaved task with what is learned, which
                the report allows, as it allows to end with audio that is only heard.

        Raises:
            ValueError: a segment lacks what the task writes of it, or nothing of the document would be learned.
        """
        self._check_learned(len(segments), start)
        rows = SequenceBuilder(layout.blank_id)
        for number, (segment, items) in enumerate(zip(segments, self.items(len(segments), start), strict=True), 1):
            for item in items:
                try:
                    _write(rows, item, segment, layout)
                except ValueError as error:
                    raise ValueError(f"task {self.name}, segment {number} of {len(segments)}: {error}") from None
        return rows.build()

    def positions(self, sizes: list[tuple[int, int]], layout: Layout, *, start: int = 0) -> int:
        """Return the length of the sequence from (codes, text ids) of every segment, before anything is loaded."""
        self._check_learned(len(sizes), start)
        return sum(
            _length(item, codes, ids, layout)
            for (codes, ids), items in zip(sizes, self.items(len(sizes), start), strict=True)
            for item in items
        )

    def items(self, segments: int, start: int) -> Iterable[tuple[Item, ...]]:
        """Yield what is written of each of so many segments."""
        return (self.cycle[(start + number) % len(self.cycle)] for number in range(segments))

    def _check_learned(self, segments: int, start: int) -> None:
        if not any(item.is_learned for items in self.items(segments, start) for item in items):
            known = counted(segments, "segment")
            raise ValueError(f"task {self.name} learns nothing from {known}; give it longer recordings")


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("text", ((Item.TEXT,),), weight=7),
        Task("audio", ((Item.CODES,),), weight=1),
        Task("asr", ((Item.HEARD, Item.TEXT),), weight=1),
        Task("tts", ((Item.READ, Item.CODES),), weight=1),
        # The interleaved ones go on with the content of the next segment.
        Task("audio-to-semantic", ((Item.HEARD,), (Item.CODES,)), weight=1),
        Task("audio-to-text", ((Item.HEARD,), (Item.TEXT,)), weight=1),
        Task("audio-to-semantic-and-text", ((Item.HEARD,), (Item.SPEECH,)), weight=2),
    )
}


def _write(rows: SequenceBuilder, item: Item, segment: TaskSegment, layout: Layout) -> None:
    match item:
        case Item.HEARD:
            rows.add(_codes(segment, layout), features=_features(segment))
        case Item.CODES:
            # No features: they see the future of their audio and would give the codes away.
            rows.add(_codes(segment, layout), audio_loss=True)
        case Item.READ | Item.TEXT:
            rows.add(text=_text(segment), text_loss=item.is_learned)
        case Item.SPEECH:
            text, delay = _text(segment), layout.delay_tokens
            rows.add([layout.blank_id] * delay, text[:delay], text_loss=True)
            rows.add(_codes(segment, layout), text[delay:], audio_loss=True, text_loss=True)


def _length(item: Item, codes: int, text_ids: int, layout: Layout) -> int:
    match item:
        case Item.HEARD | Item.CODES:
            return codes
        case Item.READ | Item.TEXT:
            return text_ids
        case Item.SPEECH:
            return max(layout.delay_tokens + codes, text_ids)


def _codes(segment: TaskSegment, layout: Layout) -> list[int]:
    if segment.audio is None or not len(segment.audio.codes):
        raise ValueError("it has no audio")
    return (segment.audio.codes + layout.audio_offset).tolist()


def _features(segment: TaskSegment) -> Tensor:
    if segment.audio is None or segment.audio.features is None:
        raise ValueError("its audio is heard and has no acoustic features")
    return segment.audio.features


def _text(segment: TaskSegment) -> tuple[int, ...]:
    if not segment.text:
        raise ValueError("it has no text; leave it out or transcribe it")
    return segment.text
