"""Documents in rows: none is lost, no row is too long, and little is left empty."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kimi_audio.core.sequence import Sequence, SequenceBuilder, concatenate
from kimi_audio.data.packing import Piece, Pool, bucket, cut, pack_rows, pieces

LIMIT = 40
lengths_that_fit = st.lists(st.integers(1, LIMIT), min_size=1, max_size=60)


def heard(codes: int, first: int) -> Sequence:
    """Sound with features that tell its codes, then a learned text of two ids."""
    ids = list(range(first, first + codes))
    features = torch.tensor(ids, dtype=torch.float32)[:, None].expand(codes, 3)
    return SequenceBuilder(9).add(ids, features=features).add(text=[1, 2], text_loss=True).build()


# ---------------------------------------------------------------------------------------------------------------------
# Rows


@given(lengths_that_fit)
def test_every_document_is_in_one_row_and_no_row_is_too_long(lengths: list[int]):
    rows = pack_rows(lengths, LIMIT)
    assert sorted(document for row in rows for document in row) == list(range(len(lengths)))
    assert all(sum(lengths[document] for document in row) <= LIMIT for row in rows)


@given(lengths_that_fit)
def test_what_is_left_of_a_row_is_too_short_for_every_later_document(lengths: list[int]):
    rows = pack_rows(lengths, LIMIT)
    for number, row in enumerate(rows):
        empty = LIMIT - sum(lengths[document] for document in row)
        assert all(lengths[document] > empty for later in rows[number + 1 :] for document in later)


def test_the_longest_document_that_fits_goes_next_and_of_equals_the_oldest():
    assert pack_rows([10, 30, 7, 30, 3], LIMIT) == [[0, 1], [2, 3, 4]]
    assert pack_rows([LIMIT, LIMIT], LIMIT) == [[0], [1]]


def test_little_is_left_empty():
    lengths = np.random.default_rng(0).integers(25, 106, 2000).tolist()
    assert sum(lengths) / (512 * len(pack_rows(lengths, 512))) > 0.98


@given(st.lists(st.integers(1, LIMIT), min_size=30, max_size=120))
def test_a_document_waits_for_no_more_rows_than_documents_wait(lengths: list[int]):
    pool, waiting, stream = Pool[int](LIMIT), 8, iter(enumerate(lengths))
    for document, length in (next(stream) for _ in range(waiting)):
        pool.add(length, document)
    arrived = dict.fromkeys(range(waiting), 0)
    rows = 0
    while pool:
        row = pool.take_row()
        assert all(rows - arrived[document] < waiting for document in row)
        rows += 1
        for document, length in (item for _, item in zip(row, stream, strict=False)):
            pool.add(length, document)
            arrived[document] = rows


@given(lengths_that_fit, st.integers(0, 5))
def test_a_pool_can_be_made_again_from_what_waits_in_it(lengths: list[int], taken: int):
    pool = Pool[int](LIMIT)
    for document, length in enumerate(lengths):
        pool.add(length, document)
    for _ in range(taken):
        if pool:
            pool.take_row()
    again = Pool[int](LIMIT)
    for document in pool:
        again.add(lengths[document], document)
    assert len(again) == len(pool)
    while pool:
        assert again.take_row() == pool.take_row()


# ---------------------------------------------------------------------------------------------------------------------
# Documents that are too long


@given(st.lists(st.integers(1, 5 * LIMIT), min_size=1, max_size=20))
def test_parts_are_equal_fit_and_cover_their_document(lengths: list[int]):
    found = [Piece(*row) for row in pieces(lengths, LIMIT, "cut").tolist()]
    assert [piece.document for piece in found] == sorted(piece.document for piece in found)
    for document, length in enumerate(lengths):
        parts = [piece for piece in found if piece.document == document]
        assert [piece.part for piece in parts] == list(range(len(parts)))
        assert {piece.parts for piece in parts} == {len(parts)}
        assert len(parts) == -(-length // LIMIT)
        assert all(piece.length <= LIMIT for piece in parts)
        assert length <= sum(piece.length for piece in parts) < length + len(parts)


def test_too_long_documents_are_refused_by_name():
    assert pieces([3, LIMIT], LIMIT, "refuse").tolist() == [[0, 0, 1, 3], [1, 0, 1, LIMIT]]
    with pytest.raises(ValueError, match=r"2 of 3 documents do not fit.*40.*document 2 with 50"):
        pieces([41, 3, 50], LIMIT, "refuse")
    with pytest.raises(ValueError, match="document 1 is empty"):
        pieces([1, 0], LIMIT, "cut")


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(1, 5))
def test_the_parts_of_a_sequence_are_the_sequence(counts: list[int], parts: int):
    whole = concatenate(heard(codes, 20 * (number + 1)) for number, codes in enumerate(counts))
    cuts = [cut(whole, part, parts) for part in range(parts)]
    assert max(map(len, cuts)) <= -(-len(whole) // parts)
    joined = concatenate(cuts)
    for name in ("audio_ids", "text_ids", "is_continuous", "audio_loss", "text_loss"):
        assert torch.equal(getattr(joined, name), getattr(whole, name)), name
    for part in cuts:  # every part has the features of its own positions
        features = torch.cat([torch.zeros(0, 3), *part.features])
        assert features[:, 0].tolist() == part.audio_ids[part.is_continuous].tolist()


def test_a_part_without_losses_stays_without():
    ids = torch.arange(4)
    assert cut(Sequence(ids, ids, ids < 0), 1, 2).audio_loss is None


# ---------------------------------------------------------------------------------------------------------------------
# Groups of similar length


@given(st.lists(st.floats(0.5, 12), min_size=1, max_size=40), st.floats(1, 40), st.integers(0, 9), st.booleans())
def test_groups_fit_when_filled_up_and_hold_every_item_once(
    lengths: list[float], limit: float, seed: int, ordered: bool
):
    groups = bucket(lengths, limit, np.random.default_rng(seed), ordered=ordered)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or max(lengths[index] for index in group) * len(group) <= limit


def test_a_transcript_goes_with_an_audio_that_stays_whole():
    rows = SequenceBuilder(0)
    for size, transcript in ((3, [7]), (4, [8, 9]), (2, None)):
        rows.add([5]).add([1] * size, features=torch.ones(size, 2), transcript=transcript)
    parts = [cut(rows.build(), part, 2).transcripts for part in range(2)]  # [5 111 5 1 | 111 5 11]
    assert [[None if ids is None else ids.tolist() for ids in part] for part in parts] == [[[7], None], [None, None]]
