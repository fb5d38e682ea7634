"""What is hidden from the LLM while it learns."""

import pytest
import torch

from kimi_audio.core.config import LMConfig
from kimi_audio.core.sequence import Sequence, SequenceBuilder, heard_spans, pack
from kimi_audio.train.hiding import Hiding, hidden

CONFIG = LMConfig.tiny()
BLANK, MARK = 70, 71
SIZE = CONFIG.adaptor_input_size


def sample(heard: int, said: int) -> Sequence:
    rows = SequenceBuilder(BLANK).add([MARK])
    rows.add([CONFIG.audio_offset] * heard, features=torch.ones(heard, SIZE)).add([MARK])
    return rows.add([CONFIG.audio_offset + 1] * said, [5] * said, audio_loss=True, text_loss=True).build()


@pytest.fixture(scope="module")
def batch():
    return pack([[sample(10, 12), sample(3, 5)], [sample(25, 4)]], CONFIG.pad_id)


def changed(batch, hiding, seed=0):
    return hidden(batch, hiding, CONFIG, BLANK, torch.Generator().manual_seed(seed))


def test_recordings_are_found_in_packed_rows(batch):
    assert heard_spans(batch) == [(0, 10), (10, 3), (13, 25)]


def test_nothing_is_hidden_unless_asked_for(batch):
    seen = changed(batch, Hiding())
    for name in ("audio_ids", "text_ids", "features"):
        assert torch.equal(getattr(seen, name), getattr(batch, name))
    assert Hiding().is_nothing
    assert not Hiding(codes=0.1).is_nothing


def test_spans_of_recordings_fall_silent_in_features_and_codes(batch):
    hiding = Hiding(heard=1.0, span_tokens=4)
    for seed in range(20):
        seen = changed(batch, hiding, seed)
        silent = (seen.features == 0).all(1)
        for start, length in heard_spans(batch):
            assert 1 <= int(silent[start : start + length].sum()) <= 8
        assert (seen.features[~silent] == 1).all()
        assert torch.equal(seen.audio_ids[batch.is_continuous] == BLANK, silent)
        assert torch.equal(seen.audio_ids[~batch.is_continuous], batch.audio_ids[~batch.is_continuous])
        assert torch.equal(seen.text_ids, batch.text_ids)


def test_only_what_is_learned_is_hidden_and_what_is_to_be_predicted_stays(batch):
    seen = changed(batch, Hiding(text=1.0, codes=1.0))
    assert (seen.text_ids[batch.text_loss] == BLANK).all()
    assert torch.equal(seen.text_ids[~batch.text_loss], batch.text_ids[~batch.text_loss])
    assert (seen.audio_ids[batch.audio_loss] >= CONFIG.audio_offset).all()
    assert (seen.audio_ids[batch.audio_loss] != batch.audio_ids[batch.audio_loss]).any()
    assert torch.equal(seen.audio_ids[~batch.audio_loss], batch.audio_ids[~batch.audio_loss])
    assert torch.equal(seen.features, batch.features)


def test_shares_are_met_and_follow_from_the_seed():
    batch = pack([[sample(2, 400)]], CONFIG.pad_id)
    seen = changed(batch, Hiding(text=0.1))
    assert 20 < int((seen.text_ids == BLANK)[batch.text_loss].sum()) < 60
    assert torch.equal(seen.text_ids, changed(batch, Hiding(text=0.1)).text_ids)
    assert not torch.equal(seen.text_ids, changed(batch, Hiding(text=0.1), seed=1).text_ids)


@pytest.mark.parametrize("wrong", [{"heard": 1.5}, {"text": -0.1}, {"span_tokens": 0}])
def test_shares_outside_their_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"hiding\.\w+"):
        Hiding(**wrong)
