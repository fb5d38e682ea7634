"""Muon in the precision that the device computes in."""

import copy

import pytest
import torch

from kimi_audio.train.loop import muon
from kimi_audio.train.loop.muon import Muon, orthogonalised

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


@pytest.mark.parametrize("shape", [(12, 40), (40, 12), (16, 16)])
def test_an_update_has_singular_values_near_one_and_the_directions_of_the_matrix(shape):
    matrices = (
        torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
        * torch.tensor([1.0, 9.0, 0.1])[:, None, None]
    )
    updates = orthogonalised(matrices, COEFFICIENTS).float()
    for matrix, update in zip(matrices, updates, strict=True):
        check_update(matrix, update)


def check_update(matrix, update):
    assert torch.linalg.svdvals(update).sub(1).abs().max() < 0.4
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    torch.testing.assert_close((u.mT @ update @ v.mT).diag(), torch.ones(min(matrix.shape)), atol=0.4, rtol=0)


@pytest.mark.parametrize("bf16", [False, True])
def test_steps_are_those_of_torch(bf16, monkeypatch):
    monkeypatch.setattr(muon, "computes_bf16", lambda _: bf16)
    generator = torch.Generator().manual_seed(1)
    ours = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((8, 24), (24, 8), (8, 24))]
    theirs = copy.deepcopy(ours)
    left = Muon([{"params": ours}], 0.1, 0.3)
    right = torch.optim.Muon(theirs, lr=0.1, weight_decay=0.3, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        left.step()
        right.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6 if bf16 else 0.01, rtol=0)
    state = left.state_dict()["state"]
    assert {name for values in state.values() for name in values} == {"momentum_buffer"}
