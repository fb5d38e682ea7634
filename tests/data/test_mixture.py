"""Weighted mixtures: shares by positions, whole epochs, and batches that follow from the step alone."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_audio.core.sequence import AudioTokens, Sequence, SequenceBuilder
from kimi_audio.data.mixture import POOL_DOCUMENTS, Draw, Mixture, Source
from kimi_audio.data.tasks import TASKS, Layout, TaskSegment

LIMIT = 40
BLANK, PAD = 9, 0
lengths_of_documents = st.lists(st.integers(1, LIMIT), min_size=1, max_size=30)
sources_of_mixtures = st.lists(st.tuples(lengths_of_documents, st.floats(0.1, 8)), min_size=1, max_size=4)


def text(length: int) -> Callable[[int, np.random.Generator], Sequence]:
    """Return documents of one length: their number + 100, then random ids."""

    def build(document: int, generator: np.random.Generator) -> Sequence:
        ids = [100 + document, *generator.integers(1000, 9000, length - 1).tolist()]
        return SequenceBuilder(BLANK).add(text=ids, text_loss=True).build()

    return build


def mixture(sources: list[tuple[list[int], float]], seed: int = 0, rows: int = 2) -> Mixture:
    """Return a mixture of which only the plan is wanted."""
    named = [
        Source(str(number), lengths, text(1), weight, "refuse") for number, (lengths, weight) in enumerate(sources)
    ]
    return Mixture(named, row_positions=LIMIT, rows=rows, pad_id=PAD, seed=seed)


def corpus(documents: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(1, LIMIT + 1, documents).tolist()


def numbers(draws: list[Draw]) -> list[tuple[int, int]]:
    return [(draw.source, draw.number) for draw in draws]


def planned(mixture: Mixture, steps: int) -> list[Draw]:
    return [draw for step in range(steps) for row in mixture.plan(step) for draw in row]


# ---------------------------------------------------------------------------------------------------------------------
# The plan


@settings(max_examples=10)
@given(sources_of_mixtures, st.integers(0, 99))
def test_nothing_is_lost_and_nothing_comes_twice(sources: list[tuple[list[int], float]], seed: int):
    mixed = mixture(sources, seed)
    seen = planned(mixed, 40)
    # What was drawn is in a row or still waits, once.
    waiting = numbers(list(mixed._pool))
    drawn = [(source, number) for source, count in enumerate(mixed._drawn) for number in range(count)]
    assert sorted(numbers(seen) + waiting) == drawn
    assert len(waiting) < POOL_DOCUMENTS
    # The documents of an epoch are those of the source: none more often than the others of the epochs gone through.
    counts = Counter((draw.source, draw.epoch, draw.piece.document) for draw in seen)
    assert set(counts.values()) == {1}
    for source, (lengths, _) in enumerate(sources):
        missing = {number // len(lengths) for kind, number in waiting if kind == source}
        for epoch in set(range(mixed._drawn[source] // len(lengths))) - missing:
            assert {d for s, e, d in counts if (s, e) == (source, epoch)} == set(range(len(lengths)))


@settings(max_examples=15)
@given(sources_of_mixtures, st.integers(0, 99))
def test_no_row_is_over_its_limit_and_every_step_has_all_rows(sources: list[tuple[list[int], float]], seed: int):
    mixed = mixture(sources, seed, rows=3)
    for step in range(5):
        rows = mixed.plan(step)
        assert len(rows) == 3
        assert all(0 < sum(draw.piece.length for draw in row) <= LIMIT for row in rows)


@settings(max_examples=15)
@given(sources_of_mixtures, st.integers(1, 60))
def test_shares_of_positions_follow_the_weights_from_the_start(sources: list[tuple[list[int], float]], steps: int):
    mixed = mixture(sources)
    mixed.plan(steps - 1)
    drawn = mixed._positions  # with what still waits
    total, weights = sum(drawn), sum(weight for _, weight in sources)
    for positions, (_, weight) in zip(drawn, sources, strict=True):
        assert abs(positions - total * weight / weights) <= LIMIT * len(sources)


def test_shares_of_what_is_trained_on_converge_too():
    mixed = mixture([(corpus(300, 1), 7.0), ([3] * 50, 1.0), (corpus(40, 2), 2.0)])
    positions = Counter()
    for draw in planned(mixed, 800):
        positions[draw.source] += draw.piece.length
    shares = np.array([positions[source] for source in range(3)]) / positions.total()
    assert np.abs(shares - [0.7, 0.1, 0.2]).max() < 0.01


def test_weights_can_say_how_often_a_source_is_seen():
    lengths, epochs = [corpus(200, 1), corpus(90, 2)], [2, 4]
    sources = [(size, float(count * sum(size))) for size, count in zip(lengths, epochs, strict=True)]
    mixed = mixture(sources)
    total = sum(weight for _, weight in sources)
    steps = round(total / (mixed.num_rows * mixed.row_positions))
    seen = mixed.epochs(steps)
    assert seen["0"] == pytest.approx(2, abs=0.2)
    assert seen["1"] == pytest.approx(4, abs=0.2)
    drawn = Counter(draw.source for step in range(steps) for row in mixed.plan(step) for draw in row)
    assert seen == {"0": drawn[0] / 200, "1": drawn[1] / 90}  # without what only waits
    assert mixed.epochs(0) == {"0": 0, "1": 0}


def test_little_is_left_empty():
    lengths = np.random.default_rng(0).integers(3, 10, 500).tolist()
    used = sum(draw.piece.length for draw in planned(mixture([(lengths, 1.0)]), 200))
    assert used > 0.97 * 200 * 2 * LIMIT


def test_epochs_sources_and_seeds_have_orders_of_their_own():
    sizes = [5] * 60

    def order(mixed: Mixture, source: int, epoch: int) -> list[int]:
        mixed.plan(60)
        return [mixed._draw(source, epoch * 60 + place).piece.document for place in range(60)]

    mixed = mixture([(sizes, 1.0), (sizes, 1.0)])
    orders = [order(mixed, 0, 0), order(mixed, 0, 1), order(mixed, 1, 0), order(mixture([(sizes, 1.0)], seed=1), 0, 0)]
    assert all(sorted(one) == list(range(60)) for one in orders)
    assert len({tuple(one) for one in orders}) == 4


# ---------------------------------------------------------------------------------------------------------------------
# Resuming


def test_a_step_depends_on_no_earlier_question():
    sources = [(corpus(50), 2.0), (corpus(20, 1), 1.0)]
    mixed = mixture(sources, rows=1)
    in_order = [mixed.plan(step) for step in range(600)]
    again = mixture(sources, rows=1)
    for step in (300, 299, 599, 599, 256, 255, 0, 512, 511, 20):
        assert again.plan(step) == in_order[step]
    assert mixture(sources, rows=1, seed=1).plan(0) != in_order[0]


# ---------------------------------------------------------------------------------------------------------------------
# What is built


def test_a_batch_holds_the_documents_of_the_plan():
    mixed = Mixture([Source("a", [7] * 50, text(7), 1.0)], row_positions=LIMIT, rows=2, pad_id=PAD, seed=0)
    batch, rows = mixed(3), mixed.plan(3)
    assert batch.text_ids.shape == (2, LIMIT)
    assert batch.lengths.tolist() == [35, 35]
    assert batch.attention_mask is not None
    for ids, row in zip(batch.text_ids, rows, strict=True):
        assert ids[:35:7].tolist() == [100 + draw.piece.document for draw in row]


def test_what_is_drawn_in_a_document_changes_with_the_epoch_and_with_nothing_else():
    mixed = Mixture([Source("a", [LIMIT] * 3, text(LIMIT), 1.0)], row_positions=LIMIT, rows=1, pad_id=PAD, seed=0)
    built = [mixed(step).text_ids[0].tolist() for step in range(9)]
    again = Mixture(mixed.sources, row_positions=LIMIT, rows=1, pad_id=PAD, seed=0)
    assert [again(step).text_ids[0].tolist() for step in reversed(range(9))] == built[::-1]
    assert len({tuple(ids[1:]) for ids in built}) == 9
    assert Counter(ids[0] for ids in built) == {100: 3, 101: 3, 102: 3}
    other = Mixture(mixed.sources, row_positions=LIMIT, rows=1, pad_id=PAD, seed=1)
    assert not {tuple(ids[1:]) for ids in built} & {tuple(other(step).text_ids[0].tolist()[1:]) for step in range(9)}


def test_documents_may_be_shorter_than_announced_and_not_longer():
    source = Source("stories", [8] * 5, text(5), 1.0)
    batch = Mixture([source], row_positions=LIMIT, rows=1, pad_id=PAD, seed=0)(0)
    assert batch.lengths.tolist() == [25]
    source = Source("stories", [8] * 5, text(9), 1.0)
    with pytest.raises(ValueError, match=r"of stories has 9 positions .* where at most 8 were announced"):
        Mixture([source], row_positions=LIMIT, rows=1, pad_id=PAD, seed=0)(0)


def test_too_long_documents_are_cut_when_asked():
    source = Source("stories", [100], text(100), 1.0, too_long="cut")
    mixed = Mixture([source], row_positions=LIMIT, rows=3, pad_id=PAD, seed=0)
    parts = {draw.piece.part: ids for (draw,), ids in zip(mixed.plan(0), mixed(0).text_ids, strict=True)}
    joined = torch.cat([parts[0][:33], parts[1][:33], parts[2][:34]])
    whole = text(100)(0, np.random.default_rng((0, 0, 0, 1)))
    assert torch.equal(joined, whole.text_ids)
    with pytest.raises(ValueError, match="source stories: 1 of 1 documents do not fit"):
        Mixture([Source("stories", [100], text(100), 1.0)], row_positions=LIMIT, rows=3, pad_id=PAD, seed=0)


def test_sources_without_documents_or_weight_are_refused():
    with pytest.raises(ValueError, match="source 1 has no documents"):
        mixture([([1], 1.0), ([], 1.0)])
    with pytest.raises(ValueError, match="source 1 has weight 0"):
        mixture([([1], 1.0), ([1], 0.0)])


def test_the_seven_tasks_get_their_shares_of_the_same_recordings():
    layout, generator = Layout(BLANK, 100, 2), np.random.default_rng(0)
    recordings = [
        [
            TaskSegment(AudioTokens(torch.zeros(int(codes), dtype=torch.long), torch.zeros(int(codes), 1)), (11,) * 3)
            for codes in generator.integers(1, 5, 4)
        ]
        for _ in range(60)
    ]
    sizes = [[(len(s.audio.codes), 3) for s in recording if s.audio] for recording in recordings]
    sources = [
        Source(
            task.name,
            [task.positions(size, layout) for size in sizes],
            lambda document, _generator, task=task: task.build(recordings[document], layout),
            task.weight,
        )
        for task in TASKS.values()
    ]
    mixed = Mixture(sources, row_positions=LIMIT, rows=2, pad_id=PAD, seed=0)
    assert mixed(0).features is not None
    mixed.plan(199)
    drawn = mixed._positions
    assert [14 * positions / sum(drawn) for positions in drawn] == pytest.approx([7, 1, 1, 1, 1, 1, 2], abs=0.05)
