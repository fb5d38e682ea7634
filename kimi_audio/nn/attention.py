"""Causal grouped-query attention with rotary positions, and what it asks of a memory of earlier positions.

Shapes: B batch, T new positions, S positions that are seen, H query heads, K key-value heads, C channels per head.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kimi_audio.nn.rope import rotate
from kimi_audio.nn.row_product import Linear


class Memory(Protocol):
    """Keys and values of earlier positions, wherever and however they are kept."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Keep new keys and values [B, K, T, C] of a layer; return what the queries [B, H, T, C] read: [B, H, T, C]."""
        ...


@dataclass(frozen=True)
class Context:
    """What all layers of one forward pass share."""

    cos: Tensor  # [B, 1, T, C]
    sin: Tensor
    mask: Tensor | None = None  # [B, 1, T, T] bool, True = may attend; None = causal. Not with a memory
    memory: Memory | None = None  # of the positions before these T; None if there are none

    def rows(self, numbers: Tensor) -> "Context":
        """Return the same for some rows [R] of the batch, without a memory."""
        assert self.memory is None
        return Context(self.cos[numbers], self.sin[numbers], None if self.mask is None else self.mask[numbers])


class Attention(nn.Module):
    """Grouped-query attention with biases on queries, keys and values, as in Qwen2.

    Where weights are joined for inference, one layer takes the place of three: ``JOINED`` names it, and those.
    """

    JOINED: ClassVar = {"qkv_proj": ("q_proj", "k_proj", "v_proj")}

    def __init__(self, hidden_size: int, num_heads: int, num_kv_heads: int, head_size: int) -> None:
        super().__init__()
        self.head_size, self.num_heads, self.num_kv_heads = head_size, num_heads, num_kv_heads
        self.q_proj = Linear(hidden_size, num_heads * head_size)
        self.k_proj = Linear(hidden_size, num_kv_heads * head_size)
        self.v_proj = Linear(hidden_size, num_kv_heads * head_size)
        self.o_proj = Linear(num_heads * head_size, hidden_size, bias=False)
        self.qkv_proj: nn.Module | None = None

    def forward(self, x: Tensor, context: Context, layer: int) -> Tensor:
        """[B, T, hidden] -> [B, T, hidden]; ``layer`` is the layer's place in the memory."""
        heads = self._project(x).unflatten(-1, (-1, self.head_size)).transpose(1, 2)
        turned, v = heads.split((self.num_heads + self.num_kv_heads, self.num_kv_heads), 1)
        q, k = rotate(turned, context.cos, context.sin).split((self.num_heads, self.num_kv_heads), 1)
        memory = context.memory
        y = plain_attention(q, k, v, context.mask) if memory is None else memory.attend(layer, q, k, v)
        return self.o_proj(y.transpose(1, 2).flatten(2))

    def _project(self, x: Tensor) -> Tensor:
        """Return queries, keys and values of all heads, [B, T, (H + 2 K) C]."""
        if self.qkv_proj is not None:
            return self.qkv_proj(x)
        return torch.cat([self.q_proj(x), self.k_proj(x), self.v_proj(x)], -1)


def plain_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return [B, H, T, C] for queries of that shape, and keys and values [B, K, S, C].

    Args:
        q: queries.
        k: keys.
        v: values.
        mask: [B, 1, T, S] bool, True = may attend; None = causal, and T = S.
    """
    heads, kv_heads = q.shape[1], k.shape[1]
    if mask is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=heads != kv_heads)
    # With groups beside a mask, CUDA takes the kernel that keeps the scores of all pairs of positions.
    k, v = (x.repeat_interleave(heads // kv_heads, dim=1) for x in (k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def attend_to_past(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return [B, H, T, C] for queries of that shape at the last T of the S positions of keys and values [B, K, S, C].

    The heads that share a key stand as rows of one matrix: every key is read once for all of them, and no kernel has
    to know about groups. A single position sees all there is, so decoding needs no mask, unless one is given:
    [B, 1, 1, S], True = may attend, for single positions.
    """
    (heads, new), (kv_heads, seen) = q.shape[1:3], k.shape[1:3]
    if new == seen and mask is None:
        return plain_attention(q, k, v)
    if new > 1:
        mask = torch.ones(new, seen, dtype=torch.bool, device=q.device).tril(seen - new).repeat(heads // kv_heads, 1)
    rows = q.unflatten(1, (kv_heads, -1)).flatten(2, 3)
    y = F.scaled_dot_product_attention(rows, k, v, attn_mask=mask)
    return y.unflatten(2, (-1, new)).flatten(1, 2)
