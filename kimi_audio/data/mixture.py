"""Batches of packed rows from a weighted mixture of sources, as a function of the step.

A source is asked for its next document whenever it is furthest behind its share of positions. It gives its documents
epoch by epoch, each epoch in an order of its own. Documents wait in a pool, from which rows are filled.

The plan needs lengths only, so a resumed run makes it again from the first step (a million documents in about six
seconds).
"""

from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from kimi_audio.core import sequence
from kimi_audio.core.sequence import Batch, pack
from kimi_audio.data.packing import Piece, Pool, TooLong, cut, pieces

Broken = Callable[[str, Exception], None]  # is told the name of a document that cannot be built, and why
POOL_DOCUMENTS = 256  # wait to be packed; enough to leave about one position in a hundred empty
_SNAPSHOT_STEPS = 256  # a question about an earlier step repeats the plan of at most so many


@dataclass(frozen=True)
class Source:
    """Documents of one kind.

    Args:
        name: for messages and logs.
        lengths: positions of every document; where the length is drawn with the document, the largest possible one.
        build: the sequence of a document; called with its number and the randomness of this epoch's copy of it.
        weight: share of all positions, relative to the other weights. With the positions of ``n`` epochs as its weight,
            a source is seen ``n`` times in a run over as many positions as all weights together.
        too_long: see ``packing.pieces``.
        name_of: what a document is called in messages.
    """

    name: str
    lengths: Sequence[int] | np.ndarray
    build: Callable[[int, np.random.Generator], sequence.Sequence]
    weight: float
    too_long: TooLong = "refuse"
    name_of: Callable[[int], str] = str


@dataclass(frozen=True)
class Draw:
    """One document of the mixture: which one it is, and for the how manyth time."""

    source: int
    number: int  # counts the documents drawn from the source
    epoch: int
    piece: Piece


@dataclass(frozen=True)
class _State:
    """Where the plan stands before a step."""

    step: int
    drawn: Sequence[int]  # documents drawn from every source
    positions: Sequence[int]  # and their positions
    waiting: Sequence[Sequence[int]]  # (source, number) of the pool, the oldest first


class Mixture:
    """The batch of every step.

    Args:
        sources: at least one.
        row_positions: length of a row.
        rows: of a step.
        pad_id: fills up the rows.
        seed: of the orders of the documents and of what is drawn in them.
        broken: is told the name of a document that cannot be built, and why; it then leaves its place in the row empty.
            By default that is an error.

    Raises:
        ValueError: a source is empty, has no positive weight, or holds a document that is too long.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        row_positions: int,
        rows: int,
        pad_id: int,
        seed: int,
        broken: Broken | None = None,
    ) -> None:
        self.sources, self.row_positions, self.num_rows = sources, row_positions, rows
        self.pad_id, self.seed, self.broken = pad_id, seed, broken
        self._pieces = [_pieces(source, row_positions) for source in sources]
        self._order = lru_cache(maxsize=2 * len(sources))(self._make_order)
        nothing = [0] * len(sources)
        self._snapshots = [_State(0, nothing, nothing, [])]
        self._latest: tuple[int, list[list[Draw]]] | None = None  # step and rows
        self._load(self._snapshots[0])

    def __call__(self, step: int, broken: Broken | None = None) -> Batch:
        """Return the rows of one step; ``broken`` is told in the place of the one that the mixture has."""
        broken = self.broken if broken is None else broken
        return pack([self._build_row(row, broken) for row in self.plan(step)], self.pad_id, self.row_positions)

    def plan(self, step: int) -> list[list[Draw]]:
        """Return the documents of all rows of one step."""
        if self._latest is None or self._latest[0] != step:
            self._go_to(step)
            self._latest = step, self._next_rows()
        return self._latest[1]

    def names(self, step: int) -> tuple[str, ...]:
        """Return what the documents of one step are called."""
        drawn = (draw for row in self.plan(step) for draw in row)
        return tuple(map(self._name, drawn))

    def named(self, names: Container[str]) -> Iterator[tuple[str, Callable[[], sequence.Sequence]]]:
        """Yield the documents of these names, each with what builds it."""
        for source in self.sources:
            for document in range(len(source.lengths)):
                if (name := source.name_of(document)) in names:
                    yield name, partial(source.build, document, np.random.default_rng(0))

    def epochs(self, step: int) -> dict[str, float]:
        """Return how often each source has been gone through before a step."""
        self._go_to(step)
        waiting = Counter(draw.source for draw in self._pool)
        return {
            source.name: (self._drawn[number] - waiting[number]) / len(self._pieces[number])
            for number, source in enumerate(self.sources)
        }

    def _go_to(self, step: int) -> None:
        """Bring the plan to where it stands before ``step``."""
        if step < self._step:
            self._load(max((state for state in self._snapshots if state.step <= step), key=lambda state: state.step))
        while self._step < step:
            self._next_rows()

    def _next_rows(self) -> list[list[Draw]]:
        if self._step % _SNAPSHOT_STEPS == 0 and self._step > max(state.step for state in self._snapshots):
            self._snapshots.append(self._save())
        self._step += 1
        return [self._next_row() for _ in range(self.num_rows)]

    def _next_row(self) -> list[Draw]:
        while len(self._pool) < POOL_DOCUMENTS:
            behind = min(range(len(self.sources)), key=lambda i: self._positions[i] / self.sources[i].weight)
            draw = self._draw(behind, self._drawn[behind])
            self._pool.add(draw.piece.length, draw)
            self._drawn[behind] += 1
            self._positions[behind] += draw.piece.length
        return self._pool.take_row()

    def _draw(self, source: int, number: int) -> Draw:
        epoch, place = divmod(number, len(self._pieces[source]))
        piece = self._pieces[source][self._order(source, epoch)[place]]
        return Draw(source, number, epoch, Piece(*piece.tolist()))

    def _make_order(self, source: int, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, source, epoch)).permutation(len(self._pieces[source]))

    def _name(self, draw: Draw) -> str:
        return self.sources[draw.source].name_of(draw.piece.document)

    def _build_row(self, row: list[Draw], broken: Broken | None) -> list[sequence.Sequence]:
        built = []
        for draw in row:
            try:
                built.append(self._build(draw))
            except (ValueError, OSError) as error:
                if broken is None:
                    raise
                broken(self._name(draw), error)
        return built or [sequence.SequenceBuilder(self.pad_id).add([self.pad_id]).build()]  # a row needs a document

    def _build(self, draw: Draw) -> sequence.Sequence:
        source, piece = self.sources[draw.source], draw.piece
        # Trailing zeros do not change what numpy seeds with, hence + 1: not the generator of the order.
        generator = np.random.default_rng((self.seed, draw.source, draw.epoch, piece.document + 1))
        built = cut(source.build(piece.document, generator), piece.part, piece.parts)
        if len(built) > piece.length:
            raise ValueError(
                f"document {piece.document} of {source.name} has {len(built)} positions (part {piece.part + 1} of "
                f"{piece.parts}) where at most {piece.length} were announced; correct its length"
            )
        return built

    def _save(self) -> _State:
        waiting = [(draw.source, draw.number) for draw in self._pool]
        return _State(self._step, list(self._drawn), list(self._positions), waiting)

    def _load(self, state: _State) -> None:
        self._step, self._drawn, self._positions = state.step, list(state.drawn), list(state.positions)
        self._pool = Pool[Draw](self.row_positions)
        for source, number in state.waiting:
            draw = self._draw(source, number)
            self._pool.add(draw.piece.length, draw)


def _pieces(source: Source, row_positions: int) -> np.ndarray:
    if not len(source.lengths):
        raise ValueError(f"source {source.name} has no documents")
    if not source.weight > 0:
        raise ValueError(f"source {source.name} has weight {source.weight}; leave it out")
    try:
        return pieces(source.lengths, row_positions, source.too_long)
    except ValueError as error:
        raise ValueError(f"source {source.name}: {error}") from None
