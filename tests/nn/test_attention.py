"""Attention with fewer heads of keys than of queries, against its formula."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kimi_audio.nn.attention import plain_attention


def by_formula(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Query head h reads key head h // (H / K)."""
    group = q.shape[1] // k.shape[1]
    heads = []
    for head in range(q.shape[1]):
        keys, values = k[:, head // group], v[:, head // group]
        scores = q[:, head] @ keys.mT / q.shape[-1] ** 0.5
        heads.append(scores.masked_fill(~mask[:, 0], float("-inf")).softmax(-1) @ values)
    return torch.stack(heads, 1)


def random_heads(kv_heads: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, heads, 7, 16, generator=generator, requires_grad=True) for heads in (6, kv_heads, kv_heads)]


@pytest.mark.parametrize("kv_heads", [1, 2, 6])
@pytest.mark.parametrize("is_packed", [False, True])
def test_heads_read_the_keys_of_their_group(kv_heads: int, is_packed: bool):
    inputs = random_heads(kv_heads)
    causal = torch.ones(7, 7, dtype=torch.bool).tril()
    numbers = torch.tensor([[0, 0, 0, 1, 1, 1, 1], [0, 1, 1, 1, 1, 2, 2]])
    packed = (causal & (numbers[:, :, None] == numbers[:, None]))[:, None]
    mask = packed if is_packed else causal.expand(2, 1, 7, 7)
    found = plain_attention(*inputs, mask if is_packed else None)
    wanted = by_formula(inputs[0], inputs[1], inputs[2], mask)
    torch.testing.assert_close(found, wanted)
    for one, other in zip(
        torch.autograd.grad(found.square().sum(), inputs),
        torch.autograd.grad(wanted.square().sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_beside_a_mask_no_kernel_has_to_know_groups(monkeypatch: pytest.MonkeyPatch):
    plain, asked = F.scaled_dot_product_attention, []

    def spy(q: Tensor, k: Tensor, v: Tensor, **options: object) -> Tensor:
        asked.append((q.shape[1], k.shape[1], v.shape[1], options.get("enable_gqa", False)))
        return plain(q, k, v, **options)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    plain_attention(*random_heads(2), torch.ones(2, 1, 7, 7, dtype=torch.bool))
    assert asked == [(6, 6, 6, False)]
