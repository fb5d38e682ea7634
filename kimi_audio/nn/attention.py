"""Causal grouped-query attention with rotary positions, and its key-value cache.

Shapes: B batch, T new positions, S slots of the cache, H query heads, K key-value heads, C channels per head.
"""

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kimi_audio.nn.rope import rotate


@dataclass(frozen=True)
class KVCache:
    """Keys and values of all layers in memory of fixed shape, [layers, B, K, S, C] each.

    The slot of a token is its position. What a slot holds beyond the positions fed so far is never attended,
    so rows of unequal length live side by side and nothing has to be cleared.
    """

    keys: Tensor
    values: Tensor

    @classmethod
    def allocate(
        cls,
        num_layers: int,
        batch_size: int,
        num_heads: int,
        num_slots: int,
        head_size: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """Reserve zeroed memory."""
        shape = (num_layers, batch_size, num_heads, num_slots, head_size)
        return cls(*(torch.zeros(shape, device=device, dtype=dtype) for _ in range(2)))

    @property
    def num_slots(self) -> int:
        """Positions that fit."""
        return self.keys.shape[3]

    def write(self, layer: int, positions: Tensor, keys: Tensor, values: Tensor) -> None:
        """Store keys and values [B, K, T, C] of one layer at ``positions`` [B, T]."""
        rows = torch.arange(len(positions), device=positions.device)[:, None]
        self.keys[layer][rows, :, positions] = keys.transpose(1, 2).to(self.keys.dtype)
        self.values[layer][rows, :, positions] = values.transpose(1, 2).to(self.values.dtype)


@dataclass(frozen=True)
class Context:
    """What all layers of one forward pass share."""

    cos: Tensor  # [B, 1, T, C]
    sin: Tensor
    mask: Tensor | None  # [B, 1, T, T or slots] bool, True = may attend; None = causal over the T positions
    positions: Tensor  # [B, T]
    cache: KVCache | None = None
    num_slots: int = 0  # leading slots of the cache that any position may attend


class Attention(nn.Module):
    """Grouped-query attention with biases on queries, keys and values, as in Qwen2."""

    def __init__(self, hidden_size: int, num_heads: int, num_kv_heads: int, head_size: int) -> None:
        super().__init__()
        self.head_size = head_size
        self.q_proj = nn.Linear(hidden_size, num_heads * head_size)
        self.k_proj = nn.Linear(hidden_size, num_kv_heads * head_size)
        self.v_proj = nn.Linear(hidden_size, num_kv_heads * head_size)
        self.o_proj = nn.Linear(num_heads * head_size, hidden_size, bias=False)

    def forward(self, x: Tensor, context: Context, layer: int) -> Tensor:
        """[B, T, hidden] -> [B, T, hidden]; ``layer`` is the layer's place in the cache."""
        q, k, v = (
            proj(x).unflatten(-1, (-1, self.head_size)).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, context.cos, context.sin), rotate(k, context.cos, context.sin)
        if context.cache is not None:
            context.cache.write(layer, context.positions, k, v)
            k = context.cache.keys[layer, :, :, : context.num_slots].to(q.dtype)
            v = context.cache.values[layer, :, :, : context.num_slots].to(q.dtype)
        y = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=context.mask,
            is_causal=context.mask is None,
            enable_gqa=k.shape[1] != q.shape[1],
        )
        return self.o_proj(y.transpose(1, 2).flatten(2))
