"""Building, joining and collating the two rows."""

from dataclasses import replace

import pytest
import torch

from kimi_audio.core.sequence import AudioTokens, SequenceBuilder, collate, concatenate, pack


def heard(size: int, value: float = 1.0):
    return (
        SequenceBuilder(blank_id=9)
        .add(range(20, 20 + size), features=torch.full((size, 2), value))
        .add(text=[1, 2], text_loss=True)
        .build()
    )


def test_the_shorter_side_of_a_piece_is_filled_with_blanks():
    sequence = SequenceBuilder(9).add([5], [1, 2, 3], audio_loss=True).add([6, 7], text_loss=True).build()
    assert sequence.audio_ids.tolist() == [5, 9, 9, 6, 7]
    assert sequence.text_ids.tolist() == [1, 2, 3, 9, 9]
    assert sequence.audio_loss is not None
    assert sequence.text_loss is not None
    assert sequence.audio_loss.tolist() == [True, False, False, False, False]
    assert not sequence.text_loss.any()  # no text was given there


def test_features_must_match():
    with pytest.raises(ValueError, match="2 rows of features for 3 positions"):
        SequenceBuilder(9).add([1, 2, 3], features=torch.zeros(2, 4))
    with pytest.raises(ValueError, match="3 codes come with 2 rows"):
        AudioTokens(torch.tensor([1, 2, 3]), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="one row of integers"):
        AudioTokens(torch.zeros(3))


def test_concatenate():
    joined = concatenate([heard(2), replace(heard(3), audio_loss=None, text_loss=None)])
    assert len(joined) == 9
    assert [len(block) for block in joined.features] == [2, 3]
    assert joined.text_loss is not None
    assert joined.text_loss.tolist() == [False, False, True, True, *[False] * 5]


def test_collate_fills_on_the_right_and_keeps_features_in_order():
    batch = collate([heard(1, 1.0), heard(3, 2.0)], pad_id=0)
    assert batch.audio_ids.tolist() == [[20, 9, 9, 0, 0], [20, 21, 22, 9, 9]]
    assert batch.lengths.tolist() == [3, 5]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 4]] * 2
    assert batch.attention_mask is None
    assert batch.features is not None
    assert batch.features[:, 0].tolist() == [1.0, 2.0, 2.0, 2.0]
    assert batch.is_continuous.sum() == 4
    assert collate([replace(heard(1), audio_loss=None, text_loss=None)], 0).text_loss.sum() == 0


def test_packed_sequences_do_not_see_each_other():
    batch = pack([[heard(1), heard(2)], [heard(2)]], pad_id=0, length=8)
    assert batch.positions.tolist() == [[0, 1, 2, 0, 1, 2, 3, 4], list(range(8))]
    assert batch.attention_mask is not None
    mask = batch.attention_mask[0, 0]
    assert mask[4].tolist() == [False, False, False, True, True, False, False, False]
    assert batch.lengths.tolist() == [7, 4]
    with pytest.raises(ValueError, match="does not fit"):
        pack([[heard(9)]], pad_id=0, length=8)


def test_no_loss_on_the_first_id_of_a_sequence():
    first = SequenceBuilder(9).add([5, 6], audio_loss=True).build()
    assert pack([[first, first]], pad_id=0).audio_loss.tolist() == [[False, True, False, True]]
