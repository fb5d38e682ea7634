"""Batches of speech as a function of the step: bucketed by length, shuffled by epoch, augmented by step."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from kimi_audio.core.random import generator_of
from kimi_audio.data.split import Split, Utterance
from kimi_audio.tokenizer.windows import stack_padded, whole_tokens
from kimi_audio.train.loop.epochs import EpochPlan
from recipes.nano.closed.phonemes import labels_of
from recipes.nano.stages.recognition import SpeechBatch, phoneme_numbers

Augment = Callable[[Tensor, torch.Generator, Sequence[Tensor]], Tensor]  # samples, randomness, other utterances
BABBLE_POOL = 4  # utterances of the same batch that babble noise is made of


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
