"""What the LLM remembers: keys and values of one request each, and the new positions of several of them as one row.

Shapes: T new positions, S positions kept, H query heads, K key-value heads, C channels per head.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from kimi_audio.core.config import LMConfig
from kimi_audio.nn.attention import attend_to_past

BLOCK_TOKENS = 256  # memory grows by so many positions: a copy now and then, which costs less than one step's reading


class KVCache:
    """Keys and values [K, S, C] of every layer that one request has used; a token's place is its position.

    What lies behind the positions written so far is never read, so nothing has to be cleared, and writing a position
    again is allowed.
    """

    def __init__(self) -> None:
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def update(self, layer: int, start: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write keys and values [K, T, C] of the positions from ``start`` on; return those of all up to them."""
        stop = start + keys.shape[1]
        held = self._layers.get(layer)
        if held is None or held[0].shape[1] < stop:
            old_keys, old_values = held or (None, None)
            held = self._layers[layer] = _grown(old_keys, keys, start), _grown(old_values, values, start)
        for memory, new in zip(held, (keys, values), strict=True):
            memory[:, start:stop] = new
        return held[0][:, :stop], held[1][:, :stop]

    def copy_to(self, other: "KVCache", num_tokens: int, num_layers: int | None = None) -> None:
        """Write the first positions of the first layers, by default all, into a cache, as far as they have them."""
        for layer, (keys, values) in self._layers.items():
            if num_layers is None or layer < num_layers:
                other.update(layer, 0, keys[:, :num_tokens], values[:, :num_tokens])

    def close(self) -> None:
        """Give the memory back."""
        self._layers.clear()

    @property
    def num_bytes(self) -> int:
        """Memory held."""
        return sum(keys.nbytes + values.nbytes for keys, values in self._layers.values())


def _grown(old: Tensor | None, new: Tensor, start: int) -> Tensor:
    """Return memory for ``start`` old positions and those of ``new`` [K, T, C], in which the old ones are written."""
    heads, length, size = new.shape
    memory = new.new_empty(heads, num_blocks(start + length) * BLOCK_TOKENS, size)
    if old is not None:
        memory[:, :start] = old[:, :start]
    return memory


def token_bytes(config: LMConfig, num_layers: int, dtype: torch.dtype) -> int:
    """Return how much memory the keys and values of one position take in so many layers."""
    return num_layers * 2 * config.num_kv_heads * config.head_size * dtype.itemsize


def num_blocks(num_tokens: int) -> int:
    """Return how many blocks so many positions need."""
    return -(-num_tokens // BLOCK_TOKENS)


@dataclass(frozen=True)
class Stretch:
    """The new positions of one request in one forward pass, and what is wanted of them."""

    cache: KVCache
    start: int  # position of the first one; the cache holds all before it
    length: int
    text: bool = True  # run the layers that serve text alone
    audio: bool = True  # run the audio branch
    text_scores: bool = True  # of the id after the last position
    audio_scores: bool = True


@dataclass(frozen=True)
class Stretches:
    """Stretches behind one another in one row; each sees its own cache only. A ``Memory`` of attention."""

    stretches: tuple[Stretch, ...]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See ``Memory``; B is 1, T the length of all stretches."""
        lengths = [stretch.length for stretch in self.stretches]
        parts = []
        for stretch, *new in zip(self.stretches, *(x.split(lengths, 2) for x in (q, k, v)), strict=True):
            query, key, value = new
            keys, values = stretch.cache.update(layer, stretch.start, key[0], value[0])
            parts.append(attend_to_past(query, keys[None], values[None]))
        return parts[0] if len(parts) == 1 else torch.cat(parts, 2)

    def part(self, wanted: list[bool], scored: list[bool], device: torch.device) -> "RowPart":
        """Return the stretches that are wanted, and where they are: indices on a device, which are copied there now."""
        chosen, places, ends, begin = [], [], [], 0
        for stretch, is_wanted, is_scored in zip(self.stretches, wanted, scored, strict=True):
            if is_wanted:
                chosen.append(stretch)
                places += range(begin, begin + stretch.length)
                ends += [len(places) - 1] if is_scored else []
            begin += stretch.length
        is_whole = len(places) == begin
        return RowPart(
            Stretches(tuple(chosen)),
            None if is_whole else torch.tensor(places, device=device),
            torch.tensor(ends, device=device) if ends else None,
        )


@dataclass(frozen=True)
class RowPart:
    """Some of the stretches of a row."""

    memory: Stretches
    places: Tensor | None  # [N] of their positions in the row; None if it is the whole row
    ends: Tensor | None  # [N] of the stretches to be scored, among those places; None if none is
