"""Documents as sequences of the seven tasks, each task with its share of the positions.

Of every document, a task takes the rows of consecutive segments that have what it writes of them, as long as fit into a
row of the batch. An interleaved task begins with what is heard or with what is learned, at random.

What is heard is not encoded here but in training, so that the acoustic encoder can be trained along: in the place of
acoustic features stand the samples of every token, [N, 1280] of N tokens.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from kimi_audio.core.sequence import AudioTokens, Sequence
from kimi_audio.core.units import SAMPLES_PER_TOKEN
from kimi_audio.data.documents import DocumentFile, SoundPart, SourceSegment
from kimi_audio.data.mixture import Source
from kimi_audio.data.survey import Size, Survey
from kimi_audio.data.tasks import TASKS, Item, Layout, Task, TaskSegment
from kimi_audio.tokenizer.text import TextTokenizer

logger = logging.getLogger(__name__)

WEIGHTS = {task.name: float(task.weight) for task in TASKS.values()}
_CUT = {"text", "audio"}  # what has nothing before it that a part of it would need
_SOUND = {Item.HEARD, Item.CODES, Item.SPEECH}
_WORDS = {Item.READ, Item.TEXT, Item.SPEECH}


@dataclass(frozen=True)
class Span:
    """A row of segments of a document, from the first to before the last."""

    document: int
    first: int
    last: int
    positions: int  # of its sequence, at most


@dataclass(frozen=True)
class Documents:
    """The good documents of a file.

    Args:
        file: the documents.
        survey: of this file.
        tokenizer: of the text.
        codes_of: gives the codes [N] of a recording.
        layout: of the model's rows.
        chosen: which of the good documents, by number.
    """

    file: DocumentFile
    survey: Survey
    tokenizer: TextTokenizer
    codes_of: Callable[[SoundPart], Tensor]
    layout: Layout
    chosen: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.chosen)

    def split(self, held_out: float, seed: int) -> tuple[Self, Self]:
        """Return two sets, of which the second holds a share of the documents, at least one, drawn from everywhere.

        Raises:
            ValueError: there are too few documents for both.
        """
        count = max(1, round(held_out * len(self)))
        if count >= len(self):
            raise ValueError(f"{len(self)} documents leave nothing to learn when {held_out:.1%} are held out")
        order = np.random.default_rng(seed).permutation(self.chosen).tolist()
        learned, held = (tuple(sorted(part)) for part in (order[count:], order[:count]))
        return replace(self, chosen=learned), replace(self, chosen=held)

    def name(self, document: int) -> str:
        """Return file and line of a document."""
        return f"{self.file.path.name}:{self.survey.lines[document]}"

    def build(self, task: Task, span: Span, generator: np.random.Generator) -> Sequence:
        """Write a span as a sequence of a task.

        Raises:
            ValueError: it cannot be read any more; with file and line.
        """
        try:
            segments = self.file[int(self.survey.lines[span.document]) - 1].segments[span.first : span.last]
            starts = _starts(task, len(segments))
            start = starts[int(generator.integers(len(starts)))]
            written = zip(segments, task.items(len(segments), start), strict=True)
            return task.build([self._segment(segment, items) for segment, items in written], self.layout, start=start)
        except (ValueError, OSError) as error:
            raise ValueError(f"{self.name(span.document)}: {error}") from error

    def _segment(self, segment: SourceSegment, items: SequenceOf[Item]) -> TaskSegment:
        text = audio = None
        if segment.text is not None and _WORDS.intersection(items):
            text = tuple(self.tokenizer.encode(segment.text))
        if segment.audio is not None and _SOUND.intersection(items):
            heard = samples_of_tokens(segment.audio.load()) if Item.HEARD in items else None
            audio = AudioTokens(self.codes_of(segment.audio), heard)
        return TaskSegment(audio, text)


def samples_of_tokens(wav: Tensor) -> Tensor:
    """Put the samples [L] of every token into a row of their own, [N, 1280]; the last row is filled up with silence."""
    return F.pad(wav, (0, -len(wav) % SAMPLES_PER_TOKEN)).view(-1, SAMPLES_PER_TOKEN)


def sources(files: SequenceOf[Documents], weights: Mapping[str, float], row_positions: int) -> list[Source]:
    """Return a source for every task and file; the files share the weight of a task by what they have for it.

    A task for which there is nothing is left out, which is logged: its share goes to the others.

    Raises:
        ValueError: a task is unknown, or there is nothing to learn.
    """
    found = []
    for task in tasks_of(weights):
        spans = [spans_of(file, task, row_positions) for file in files]
        total = sum(span.positions for some in spans for span in some)
        if not total:
            logger.warning("no document has what the task %s needs; the others get its share", task.name)
        for file, some in zip(files, spans, strict=True):
            if some:
                share = weights[task.name] * sum(span.positions for span in some) / total
                found.append(_source(file, task, some, share))
    if not found:
        raise ValueError("there is nothing that any of the tasks could learn from")
    return found


def _source(file: Documents, task: Task, spans: SequenceOf[Span], weight: float) -> Source:
    return Source(
        f"{task.name}:{file.file.path.name}",
        [span.positions for span in spans],
        lambda index, generator: file.build(task, spans[index], generator),
        weight,
        "cut" if task.name in _CUT else "refuse",
        lambda index: file.name(spans[index].document),
    )


def tasks_of(weights: Mapping[str, float]) -> list[Task]:
    """Return the tasks with a weight.

    Raises:
        ValueError: one is unknown.
    """
    unknown = [name for name in weights if name not in TASKS]
    if unknown:
        raise ValueError(f"there is no task {', '.join(unknown)}; there are {', '.join(TASKS)}")
    return [TASKS[name] for name, weight in weights.items() if weight]


def spans_of(file: Documents, task: Task, row_positions: int) -> list[Span]:
    """Return what a task makes of documents, in their order; what does not fit into a row is logged."""
    needs = {item for items in task.cycle for item in items}
    found, lost = [], 0
    for document in file.chosen:
        sizes = file.survey.sizes[document]
        for first, last in _usable(sizes, sound=bool(_SOUND & needs), words=bool(_WORDS & needs)):
            for begin, end in _fitting(task, sizes[first:last], file.layout, row_positions):
                part = sizes[first + begin : first + end]
                positions = _positions(task, part, file.layout)
                if not _starts(task, len(part)) or (positions > row_positions and task.name not in _CUT):
                    lost += 1
                else:
                    found.append(Span(document, first + begin, first + end, positions))
    if lost:
        logger.warning(
            "%s: task %s leaves out %d rows of segments, which are too long or have nothing to learn",
            *(file.file.path, task.name, lost),
        )
    return found


def _usable(sizes: SequenceOf[Size], *, sound: bool, words: bool) -> Iterable[tuple[int, int]]:
    """Yield where consecutive segments have what is needed."""
    first = None
    for number, (codes, ids) in enumerate((*sizes, (0, 0))):
        is_usable = number < len(sizes) and (codes > 0 or not sound) and (ids > 0 or not words)
        if is_usable and first is None:
            first = number
        if not is_usable and first is not None:
            yield first, number
            first = None


def _fitting(task: Task, sizes: SequenceOf[Size], layout: Layout, limit: int) -> Iterable[tuple[int, int]]:
    """Yield the longest stretches that fit; a segment that does not fit alone is one of its own."""
    first = 0
    for last in range(1, len(sizes) + 1):
        if last == len(sizes) or _positions(task, sizes[first : last + 1], layout) > limit:
            yield first, last
            first = last


def _positions(task: Task, sizes: SequenceOf[Size], layout: Layout) -> int:
    starts = _starts(task, len(sizes))
    return max((task.positions(list(sizes), layout, start=start) for start in starts), default=0)


def _starts(task: Task, segments: int) -> list[int]:
    """Return where in its cycle a task may begin so that something is learned."""
    return [
        start
        for start in range(len(task.cycle))
        if any(item.is_learned for items in task.items(segments, start) for item in items)
    ]
