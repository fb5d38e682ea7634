"""Which items make up the batch of every step: bucketed by length, in another order in every epoch."""

import bisect
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from kimi_audio.data.packing import bucket


class EpochPlan:
    """The groups of every step: epoch by epoch, each with its own grouping.

    Args:
        lengths: size of every item.
        limit: largest padded size of a group.
        seed: of the groupings.
        short_first: the first epoch goes from short to long, which lets alignment be learnt on easy items.

    Raises:
        ValueError: there are no items.
    """

    def __init__(self, lengths: Sequence[float], limit: float, seed: int, *, short_first: bool = False):
        if not lengths:
            raise ValueError("there is nothing to train on; check the names of the corpus splits")
        self.lengths, self.limit, self.seed, self.short_first = lengths, limit, seed, short_first
        self._starts = [0]
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)

    def _make_epoch(self, epoch: int) -> list[list[int]]:
        generator = np.random.default_rng((self.seed, epoch))
        ordered = self.short_first and epoch == 0
        return bucket(self.lengths, self.limit, generator, ordered=ordered)

    def __call__(self, step: int) -> list[int]:
        """Return the item numbers of one step."""
        while self._starts[-1] <= step:
            self._starts.append(self._starts[-1] + len(self._epoch(len(self._starts) - 1)))
        epoch = bisect.bisect_right(self._starts, step) - 1
        return self._epoch(epoch)[step - self._starts[epoch]]
