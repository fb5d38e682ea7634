"""Putting documents of unequal length into rows of fixed length, or into groups of similar length.

Packed rows waste almost nothing, ``sequence.pack`` keeps their documents apart. Groups of similar length are for
what cannot be packed, such as the windows of an encoder.
"""

import bisect
from collections.abc import Iterator, Sequence
from typing import Generic, Literal, NamedTuple, TypeVar

import numpy as np

from kimi_audio.core import sequence

TooLong = Literal["refuse", "cut"]
Document = TypeVar("Document")


class Piece(NamedTuple):
    """A document, or one of the equal parts that a too long one is cut into."""

    document: int
    part: int
    parts: int
    length: int  # positions, at most


def pieces(lengths: Sequence[int] | np.ndarray, limit: int, too_long: TooLong) -> np.ndarray:
    """Return what rows of ``limit`` positions can take, as [pieces, 4]: the fields of a ``Piece`` in every row.

    Args:
        lengths: positions of every document, at most.
        limit: positions of a row.
        too_long: what happens to a document that does not fit. ``refuse`` is an error. ``cut`` makes equal parts of it
            which do not see each other: right for plain text and for audio alone, wrong where a later part needs what
            was heard or asked in an earlier one.

    Raises:
        ValueError: a document is empty, or too long and not to be cut.
    """
    sizes = np.asarray(lengths)
    if (sizes < 1).any():
        raise ValueError(f"document {int(np.argmax(sizes < 1))} is empty")
    number = int((sizes > limit).sum())
    if number and too_long == "refuse":
        worst = int(sizes.argmax())
        raise ValueError(
            f"{number} of {len(sizes)} documents do not fit into a row of {limit} positions, the longest is document "
            f"{worst} with {sizes[worst]}; take longer rows, split the recordings, or have them cut"
        )
    parts = -(-sizes // limit)
    document = np.repeat(np.arange(len(sizes)), parts)
    part = np.arange(len(document)) - np.repeat(parts.cumsum() - parts, parts)
    return np.stack([document, part, parts[document], -(-sizes // parts)[document]], axis=1)


def cut(whole: sequence.Sequence, part: int, parts: int) -> sequence.Sequence:
    """Return one of ``parts`` equal parts of a sequence, with the features that belong to its positions."""
    start, stop = (len(whole) * number // parts for number in (part, part + 1))
    first, last = (int(whole.is_continuous[:end].sum()) for end in (start, stop))
    blocks, transcripts, end = [], [], 0
    for block, transcript in zip(whole.features, whole.transcripts or [None] * len(whole.features), strict=True):
        begin, end = end, end + len(block)
        kept = block[max(first - begin, 0) : max(last - begin, 0)]
        if len(kept):
            blocks.append(kept)
            transcripts.append(transcript if len(kept) == len(block) else None)  # of a part, nobody knows it
    return sequence.Sequence(
        whole.audio_ids[start:stop],
        whole.text_ids[start:stop],
        whole.is_continuous[start:stop],
        tuple(blocks),
        tuple(transcripts),
        audio_loss=None if whole.audio_loss is None else whole.audio_loss[start:stop],
        text_loss=None if whole.text_loss is None else whole.text_loss[start:stop],
    )


class Pool(Generic[Document]):
    """Documents that wait for a row of ``limit`` positions.

    A row begins with the document that has waited longest, so that none waits forever, and goes on with the longest
    that still fits. The same documents added in the same order always give the same rows.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._waiting: dict[int, tuple[int, Document]] = {}  # arrival -> length and document, the oldest first
        self._by_length: list[tuple[int, int]] = []  # length and minus arrival, ascending: of equals the oldest is last
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Document]:
        """Yield what waits, the oldest first."""
        return (document for _, document in self._waiting.values())

    def add(self, length: int, document: Document) -> None:
        """Let a document of at most ``limit`` positions wait."""
        assert 0 < length <= self.limit
        bisect.insort(self._by_length, (length, -self._arrivals))
        self._waiting[self._arrivals] = (length, document)
        self._arrivals += 1

    def take_row(self) -> list[Document]:
        """Remove and return the documents of one row."""
        arrival = next(iter(self._waiting))
        place = bisect.bisect_left(self._by_length, (self._waiting[arrival][0], -arrival))
        row, space = [], self.limit
        while place >= 0:
            length, arrival = self._by_length.pop(place)
            row.append(self._waiting.pop(-arrival)[1])
            space -= length
            place = bisect.bisect(self._by_length, (space, 1)) - 1
        return row


def pack_rows(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """Return the document numbers of every row of ``limit`` positions, all documents being known."""
    pool = Pool[int](limit)
    for document, length in enumerate(lengths):
        pool.add(length, document)
    rows = []
    while pool:
        rows.append(pool.take_row())
    return rows


def bucket(lengths: Sequence[float], limit: float, generator: np.random.Generator, *, ordered: bool) -> list[list[int]]:
    """Group items of similar length so that no group's padded size (items x longest) is above ``limit``.

    Args:
        lengths: size of every item.
        limit: largest padded size of a group; a longer single item stands alone.
        generator: jitters the order of lengths, so that groups differ between epochs, and shuffles the groups.
        ordered: leave the groups in ascending order of length instead.
    """
    jitter = generator.uniform(0.93, 1.07, len(lengths))
    groups: list[list[int]] = []
    longest = 0.0
    for index in np.argsort(np.asarray(lengths) * jitter):
        longest = max(longest, lengths[index])
        if not groups or longest * (len(groups[-1]) + 1) > limit:
            groups.append([])
            longest = lengths[index]
        groups[-1].append(int(index))
    if not ordered:
        generator.shuffle(groups)
    return groups
