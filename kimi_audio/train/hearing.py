"""The audio LLM with the acoustic encoder in front of it, so that both are trained together.

Shapes: M continuous positions of a batch, D acoustic feature size.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from kimi_audio.core.sequence import Batch
from kimi_audio.lm.model import AudioLM
from kimi_audio.tokenizer.acoustic import AcousticEncoder
from kimi_audio.tokenizer.windows import cut_windows
from kimi_audio.train.losses import LMLoss, lm_loss


class HearingLM(nn.Module):
    """Learns from batches that hold sound in the place of acoustic features: the samples of every token, [M, 1280]."""

    def __init__(self, lm: AudioLM, acoustic: AcousticEncoder):
        super().__init__()
        self.lm, self.acoustic = lm, acoustic

    def loss(self, batch: Batch) -> LMLoss:
        """Return the losses of a batch of sound."""
        if batch.features is not None:
            batch = replace(batch, features=self.features(batch.features, heard_lengths(batch)))
        return lm_loss(self.lm, batch)

    def features(self, samples: Tensor, lengths: list[int]) -> Tensor:
        """Return the features [M, D] of recordings of so many tokens, as ``AcousticEncoder.features`` makes them."""
        windows = [window for part in samples.split(lengths) for window in cut_windows(part.flatten())]
        return torch.cat(self.acoustic.window_features(windows))


def heard_lengths(batch: Batch) -> list[int]:
    """Return how many continuous positions each recording of a batch has.

    In a sequence, two recordings that are heard never follow each other without anything between them.
    """
    heard = batch.is_continuous
    before = torch.nn.functional.pad(heard[:, :-1], (1, 0))
    begins = heard & (~before | (batch.positions == 0))
    numbers = begins.flatten().cumsum(0)[heard.flatten()]  # of the recording at every continuous position
    return torch.bincount(numbers)[1:].tolist() if len(numbers) else []
