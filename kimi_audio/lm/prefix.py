"""The memory of earlier turns, found again by content: what a new prompt begins with is not computed twice.

Shapes: T positions, D acoustic feature size.
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from kimi_audio.core.sequence import Sequence
from kimi_audio.lm.cache import KVCache


def fingerprints(sequence: Sequence) -> Tensor:
    """Return [T, 4] int64: both ids of every position, and 16 bytes that stand for what is heard there (else 0)."""
    heard = torch.zeros(len(sequence), 2, dtype=torch.int64)
    rows = [_digest(row) for block in sequence.features for row in block.cpu().contiguous()]
    if rows:
        heard[sequence.is_continuous.cpu()] = torch.tensor(rows)
    ids = torch.stack((sequence.audio_ids.cpu(), sequence.text_ids.cpu()), -1)
    return torch.cat((ids, heard), -1)


def _digest(features: Tensor) -> list[int]:
    digest = hashlib.blake2b(features.view(torch.uint8).numpy().tobytes(), digest_size=16).digest()
    return [int.from_bytes(half, "little", signed=True) for half in (digest[:8], digest[8:])]


@dataclass(frozen=True, eq=False)
class Prefix:
    """The beginning of a conversation as it was computed once."""

    fingerprints: Tensor  # [T, 4], see above
    cache: KVCache  # of these positions in the shared and the text layers
    has_audio: bool  # and in the audio layers

    def shared(self, other: Tensor) -> int:
        """Return how many leading positions are equal."""
        length = min(len(self.fingerprints), len(other))
        differs = (self.fingerprints[:length] != other[:length]).any(-1)
        return int(differs.int().argmax()) if differs.any() else length


class PrefixStore:
    """Prefixes within a budget of memory; those that were not used for longest go first."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._prefixes: list[Prefix] = []  # the latest used last

    def __len__(self) -> int:
        return len(self._prefixes)

    @property
    def num_bytes(self) -> int:
        """Memory held."""
        return sum(prefix.cache.num_bytes for prefix in self._prefixes)

    def find(self, wanted: Tensor, cache: KVCache, *, with_audio: bool) -> int:
        """Copy the longest known beginning of ``wanted`` [T, 4]; return its length, 0 if none is.

        Args:
            wanted: fingerprints of a prompt.
            cache: an empty one, to copy it to.
            with_audio: the audio layers are needed, too.
        """
        usable = [prefix for prefix in self._prefixes if prefix.has_audio or not with_audio]
        best = max(usable, key=lambda prefix: prefix.shared(wanted), default=None)
        length = 0 if best is None else best.shared(wanted)
        if best is None or length == 0:
            return 0
        self._prefixes.remove(best)
        self._prefixes.append(best)
        best.cache.copy_to(cache, length)
        return length

    def add(self, new: Prefix) -> None:
        """Keep a prefix, in the place of those that it continues."""
        self._prefixes = [old for old in self._prefixes if not _replaces(new, old)] + [new]
        while self._prefixes and self.num_bytes > self.budget_bytes:
            del self._prefixes[0]

    def clear(self) -> None:
        """Forget everything."""
        self._prefixes.clear()


def _replaces(new: Prefix, old: Prefix) -> bool:
    return new.shared(old.fingerprints) == len(old.fingerprints) and new.has_audio >= old.has_audio
