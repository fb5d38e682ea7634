"""The masked cross-entropy."""

import pytest
import torch
import torch.nn.functional as F

from kimi_audio.train import losses
from kimi_audio.train.losses import row_loss


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
