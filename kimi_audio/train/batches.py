"""Batches of speech as a function of the step: bucketed by length, shuffled by epoch, augmented by step."""

import bisect
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kimi_audio.core.random import generator_of
from kimi_audio.data.manifest import Split, Utterance
from kimi_audio.data.packing import bucket
from kimi_audio.data.phonemes import labels_of
from kimi_audio.tokenizer.windows import stack_padded, whole_tokens
from kimi_audio.train.recognition import SpeechBatch, phoneme_numbers

Augment = Callable[[Tensor, torch.Generator, Sequence[Tensor]], Tensor]  # samples, randomness, other utterances
BABBLE_POOL = 4  # utterances of the same batch that babble noise is made of


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


class SpeechBatches:
    """Batches for the encoders' recognition training.

    Args:
        splits: where the speech is.
        seconds: largest padded duration of one batch.
        seed: of order and augmentation.
        augment: changes each utterance, also in length, or None.
        short_first: go from short to long utterances in the first epoch.
    """

    def __init__(
        self,
        splits: Sequence[Split],
        seconds: float,
        seed: int,
        augment: Augment | None = None,
        *,
        short_first: bool = False,
    ):
        self.items = [(split, utterance) for split in splits for utterance in split.utterances]
        self.plan = EpochPlan([u.duration_s for _, u in self.items], seconds, seed, short_first=short_first)
        self.seed, self.augment = seed, augment

    def __call__(self, step: int) -> SpeechBatch:
        """Return the batch of one step."""
        generator = generator_of(self.seed, step)
        chosen = [self.items[index] for index in self.plan(step)]
        waves = [torch.from_numpy(split.samples(utterance)) for split, utterance in chosen]
        if self.augment is not None:
            waves = [self.augment(wave, generator, waves[:BABBLE_POOL]) for wave in waves]
        return speech_batch(waves, [utterance for _, utterance in chosen])


def speech_batch(waves: Sequence[Tensor], utterances: Sequence[Utterance]) -> SpeechBatch:
    """Pad samples at 16 kHz to whole tokens and collect the pronunciations.

    Raises:
        ValueError: an utterance has none.
    """
    wav = stack_padded(waves, whole_tokens(max(map(len, waves))))
    labels = [phoneme_numbers(labels_of(utterance)) for utterance in utterances]
    return SpeechBatch(
        wav=wav,
        samples=torch.tensor([len(wave) for wave in waves]),
        labels=torch.cat(labels),
        label_lengths=torch.tensor([len(label) for label in labels]),
        ids=tuple(utterance.id for utterance in utterances),
    )


def load_splits(folder: Path, names: Sequence[str]) -> list[Split]:
    """Open the finished splits whose names start with one of ``names``."""
    return [Split(path) for path in sorted(folder.iterdir()) if path.name.startswith(tuple(names))]
