"""The masked cross-entropy."""

import pytest
import torch
import torch.nn.functional as F

from kimi_audio.core.sequence import SequenceBuilder, pack
from kimi_audio.train import losses
from kimi_audio.train.losses import heard_loss, row_loss

BLANK = 10


@pytest.fixture
def case():
    draw = torch.Generator().manual_seed(0)
    head = torch.nn.Linear(6, 11, bias=False)
    hidden = torch.randn(2, 7, 6, generator=draw, requires_grad=True)
    ids = torch.randint(0, 11, (2, 7), generator=draw)
    mask = torch.rand(2, 7, generator=draw) < 0.6
    return hidden, head, ids, mask


def test_every_masked_id_is_predicted_from_the_position_before(case):
    hidden, head, ids, mask = case
    loss = row_loss(hidden, head, ids, mask)
    expected = [F.cross_entropy(head(hidden[b, t - 1]), ids[b, t]) for b in range(2) for t in range(1, 7) if mask[b, t]]
    assert loss.count == len(expected)
    torch.testing.assert_close(loss.total, torch.stack(expected).sum())
    torch.testing.assert_close(loss.mean, torch.stack(expected).sum() / (len(expected) + 1e-4))


def test_chunks_change_nothing(case, monkeypatch):
    hidden, head, ids, mask = case
    whole = row_loss(hidden, head, ids, mask).mean
    (expected,) = torch.autograd.grad(whole, hidden)
    monkeypatch.setattr(losses, "_CHUNK_POSITIONS", 3)
    chunked = row_loss(hidden, head, ids, mask).mean
    torch.testing.assert_close(chunked, whole)
    torch.testing.assert_close(torch.autograd.grad(chunked, hidden)[0], expected)


def test_no_loss_is_zero_and_reaches_the_head(case):
    hidden, head, ids, mask = case
    loss = row_loss(hidden, head, ids, torch.zeros_like(mask)).mean
    assert loss == 0
    assert (torch.autograd.grad(loss, head.weight)[0] == 0).all()


def heard_batch(transcripts):
    rows = []
    for sizes in ((7, 4), (9,)):
        row = []
        for size in sizes:
            features = torch.ones(size, 3)
            builder = SequenceBuilder(BLANK).add([8])
            row.append(builder.add([9] * size, features=features, transcript=next(transcripts)).add([8]).build())
        rows.append(row)
    return pack(rows, pad_id=0)


def test_what_is_heard_is_written_along(case):
    _, head, _, _ = case
    batch = heard_batch(iter(([1, 2, 3], None, [4])))
    hidden = torch.randn(*batch.audio_ids.shape, 6, generator=torch.Generator().manual_seed(1), requires_grad=True)
    loss = heard_loss(hidden, head, batch, BLANK)
    scores = head(hidden).log_softmax(-1)
    expected = [
        F.ctc_loss(scores[row, first : first + size, None], torch.tensor([ids]), (size,), (len(ids),), BLANK, "sum")
        for row, first, size, ids in ((0, 1, 7, [1, 2, 3]), (1, 1, 9, [4]))
    ]
    assert loss.count == 4
    torch.testing.assert_close(loss.total, torch.stack(expected).sum())
    (gradient,) = torch.autograd.grad(loss.total, hidden)
    learned = gradient.abs().sum(-1) > 0
    assert torch.equal(learned[1], batch.is_continuous[1])
    assert not learned[0, 9:].any()  # the audio without a transcript teaches nothing


def test_without_transcripts_there_is_no_loss_on_what_is_heard(case):
    _, head, _, _ = case
    batch = heard_batch(iter((None, None, None)))
    hidden = torch.randn(*batch.audio_ids.shape, 6, requires_grad=True)
    loss = heard_loss(hidden, head, batch, BLANK)
    assert (loss.total, loss.count) == (0, 0)
    assert (torch.autograd.grad(loss.total, hidden)[0] == 0).all()
