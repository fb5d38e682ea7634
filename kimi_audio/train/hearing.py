"""The audio LLM with the acoustic encoder in front of it, so that both are trained together.

Shapes: L samples at 16 kHz, N tokens, M continuous positions of a batch, D acoustic feature size.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from kimi_audio.audio.io import AudioSource, load_audio
from kimi_audio.core.sequence import AudioTokens, Batch
from kimi_audio.core.units import INPUT_RATE_HZ, SAMPLES_PER_TOKEN
from kimi_audio.data.encoding import AudioEncoder, StoredEncoder
from kimi_audio.lm.model import AudioLM
from kimi_audio.tokenizer.acoustic import AcousticEncoder
from kimi_audio.tokenizer.windows import cut_windows
from kimi_audio.train.losses import LMLoss, lm_loss


class HearingLM(nn.Module):
    """Learns from batches that hold sound in the place of acoustic features: the samples of every token, [M, 1280]."""

    def __init__(self, lm: AudioLM, acoustic: AcousticEncoder):
        super().__init__()
        self.lm, self.acoustic = lm, acoustic

    def loss(
        self, batch: Batch, seen: Batch | None = None, *, text_smoothing: float = 0.0, blank_id: int | None = None
    ) -> LMLoss:
        """Return the losses of a batch of sound; arguments as for ``lm_loss``."""
        seen = batch if seen is None else seen
        if seen.features is not None:
            seen = replace(seen, features=self.features(seen.features, heard_lengths(seen)))
            return lm_loss(self.lm, batch, seen, text_smoothing=text_smoothing, blank_id=blank_id)
        found = lm_loss(self.lm, batch, seen, text_smoothing=text_smoothing, blank_id=blank_id)
        # The encoder is in every graph: it may be all that learns.
        silence = torch.zeros(1, SAMPLES_PER_TOKEN, device=batch.text_ids.device)
        unheard = 0.0 * self.features(silence, [1]).sum()
        return replace(found, text=replace(found.text, total=found.text.total + unheard))

    def features_of(self, wav: Tensor) -> Tensor:
        """Return the features [N, D] of samples [L] as they are now, on the CPU."""
        return self.acoustic.features(wav.to(self.acoustic.conv1.weight.device)).float().cpu()

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


@dataclass(frozen=True)
class RecordingReader:
    """Knows the codes of recordings, and reads them for what stands in the place of features that change.

    Args:
        known: has the codes.
        heard: gives rows [N, ·] for samples [L].
    """

    known: AudioEncoder | StoredEncoder
    heard: Callable[[Tensor], Tensor]

    def __call__(self, source: AudioSource) -> AudioTokens:
        """Return codes [N] and rows [N, ·]; errors as for ``load_audio``."""
        wav = load_audio(source, INPUT_RATE_HZ, damage="refuse")
        if isinstance(self.known, AudioEncoder):  # which would decode it again
            known = self.known.encode_wav(wav, features=False)
        else:
            known = self.known.codes(source)
        return AudioTokens(known.codes, self.heard(wav))

    def codes(self, source: AudioSource) -> AudioTokens:
        """Return codes [N] alone."""
        return self.known.codes(source)


Encoder = AudioEncoder | StoredEncoder | RecordingReader
