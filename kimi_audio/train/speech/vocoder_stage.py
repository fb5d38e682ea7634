"""Training the vocoder: spectral distances at several resolutions first, discriminators later.

The losses are BigVGAN's: least-squares GAN with multi-period and multi-resolution discriminators, feature matching
twice as heavy, and the distance of mels at seven resolutions. All are scaled so that the mel distance weighs 1; what
BigVGAN clips the gradient at, 500, is then 11. Its other settings: AdamW at 1e-4 with betas 0.8 and 0.99, segments of
65,536 samples (136 frames).

Shapes: B segments, L samples at 24 kHz, T mel frames, M mel bins.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from kimi_audio.audio.mel import mel_filters, vocoder_log_mel
from kimi_audio.core.config import VocoderConfig
from kimi_audio.core.units import OUTPUT_RATE_HZ, OUTPUT_SAMPLES_PER_MEL_FRAME
from kimi_audio.data.split import Split, audio_name
from kimi_audio.detokenizer.discriminators import (
    Discriminators,
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
)
from kimi_audio.detokenizer.vocoder import BigVGAN
from kimi_audio.train.loop.loop import LoopConfig, train
from kimi_audio.train.loop.prefetch import Prefetch

# Window and number of mel bands of each scale, as in BigVGAN v2.
SCALES = ((32, 5), (64, 10), (128, 20), (256, 40), (512, 80), (1024, 160), (2048, 320))
LINEAR_WINDOWS = (512, 1024, 2048)  # compared by frequency bin as well
# BigVGAN v2 weighs the sum over seven scales of decimal logarithms by 15: 46 times the mean of natural ones; v1 weighs
# its single scale by 45.
ADVERSARIAL_WEIGHT = 1 / 45
MATCHING_WEIGHT = 2 / 45


@dataclass(frozen=True, kw_only=True)
class VocoderStage:
    """What a step sees, and from when on it is judged by discriminators as well.

    Args:
        batch_size: segments.
        segment_frames: length of each, 20 ms a frame.
        adversarial_from_step: until then discriminators neither judge nor learn; None leaves them out.
        gain_db: segments are made louder or softer by up to this much.
    """

    batch_size: int = 16
    segment_frames: int = 24
    adversarial_from_step: int | None = None
    gain_db: float = 6.0


@dataclass(frozen=True)
class SegmentBatch:
    """SegmentBatches with a frame of margin at both ends.

    Attributes:
        wav: [B, L + 960].
        ids: names of their utterances, for messages.
    """

    wav: Tensor
    ids: tuple[str, ...]


class VocoderTrainer(nn.Module):
    """The vocoder and, where there is an adversarial phase, its discriminators: what a checkpoint keeps."""

    def __init__(self, vocoder: BigVGAN, discriminators: Discriminators | None = None) -> None:
        super().__init__()
        self.vocoder = vocoder
        self.discriminators = discriminators


class SegmentBatches:
    """Random segments of recordings as a function of the step, longer utterances more often.

    Args:
        splits: with sound at 24 kHz.
        stage: number and length of the segments.
        seed: of the choice.

    Raises:
        ValueError: no utterance is as long as a segment, or a split has no sound at 24 kHz.
    """

    def __init__(self, splits: Sequence[Split], stage: VocoderStage, seed: int) -> None:
        self.stage, self.seed = stage, seed
        self.samples = (stage.segment_frames + 2) * OUTPUT_SAMPLES_PER_MEL_FRAME  # a frame of margin at each end
        self.items = [
            (split, utterance)
            for split in splits
            for utterance in split.utterances
            if utterance.duration_s * OUTPUT_RATE_HZ > self.samples
        ]
        if not self.items:
            raise ValueError("no utterance is as long as a segment; lower segment_frames")
        silent = [split.folder for split in splits if not (split.folder / audio_name(OUTPUT_RATE_HZ)).exists()]
        if silent:
            raise ValueError(f"{silent[0]} has no sound at {OUTPUT_RATE_HZ} Hz, which the vocoder learns from")
        durations = np.array([utterance.duration_s for _, utterance in self.items])
        self.shares = durations / durations.sum()

    def __call__(self, step: int) -> SegmentBatch:
        """Return the segments of one step."""
        generator = np.random.default_rng((self.seed, step))
        rows, ids = [], []
        for index in generator.choice(len(self.items), self.stage.batch_size, p=self.shares):
            split, utterance = self.items[index]
            wav = split.samples(utterance, OUTPUT_RATE_HZ)
            start = generator.integers(len(wav) - self.samples)
            gain = 10 ** (generator.uniform(-self.stage.gain_db, self.stage.gain_db) / 20)
            segment = wav[start : start + self.samples]
            rows.append(segment * min(gain, 1 / max(1e-3, float(np.abs(segment).max()))))
            ids.append(utterance.id)
        return SegmentBatch(torch.from_numpy(np.stack(rows)).float(), tuple(ids))


def magnitudes(wav: Tensor, window_samples: int) -> Tensor:
    """Return STFT magnitudes [B, F, T'] of wav [B, L]."""
    window = torch.hann_window(window_samples, device=wav.device)
    spectrum = torch.stft(wav, window_samples, window_samples // 4, window=window, return_complex=True)
    return (spectrum.real**2 + spectrum.imag**2 + 1e-9).sqrt()


def spectral_losses(rendered: Tensor, recorded: Tensor) -> dict[str, Tensor]:
    """Return distances of rendered from recorded waveforms [B, L], averaged over scales.

    "mel" is the mean difference of natural-log mel bands; "stft" adds that of all frequency bins and their spectral
    convergence, which weighs the loud ones.
    """
    mel, linear = [], []
    with torch.autocast(rendered.device.type, enabled=False):
        for window, bands in SCALES:
            ours, theirs = magnitudes(rendered.float(), window), magnitudes(recorded, window)
            filters = mel_filters(OUTPUT_RATE_HZ, window, bands).to(ours)
            logs = [(filters @ x).clamp(min=1e-5).log() for x in (ours, theirs)]
            mel.append((logs[0] - logs[1]).abs().mean())
            if window in LINEAR_WINDOWS:
                linear.append((ours.clamp(min=1e-3).log() - theirs.clamp(min=1e-3).log()).abs().mean())
                linear.append((ours - theirs).norm() / theirs.norm())
    return {"mel": torch.stack(mel).mean(), "stft": torch.stack(linear).sum() / len(LINEAR_WINDOWS)}


def render(vocoder: BigVGAN, padded: Tensor) -> tuple[Tensor, Tensor]:
    """Return (rendered, recorded) [B, L] of segments with margins [B, L + 960]."""
    margin = OUTPUT_SAMPLES_PER_MEL_FRAME
    with torch.autocast(padded.device.type, enabled=False):
        mel = vocoder_log_mel(padded, vocoder.config)[:, 1:-1]
    return vocoder(mel), padded[:, margin:-margin]


def adversarial_losses(discriminators: Discriminators, rendered: Tensor, recorded: Tensor) -> dict[str, Tensor]:
    """Return the losses of both sides at once, each without gradient for the other.

    The vocoder is judged by the discriminators as they are: with detached weights, so that one backward pass and one
    optimiser serve both sides.
    """
    fixed = {name: parameter.detach() for name, parameter in discriminators.named_parameters()}
    real = discriminators(recorded)
    fake = functional_call(discriminators, fixed, (rendered,))
    return {
        "discriminator": discriminator_loss(real, discriminators(rendered.detach())),
        "adversarial": generator_loss(fake),
        "matching": feature_matching_loss(real, fake),
    }


def vocoder_losses(trainer: VocoderTrainer, padded: Tensor, *, adversarial: bool) -> dict[str, Tensor]:
    """Return the named losses of segments with margins [B, L + 960]; "loss" is the one to minimise."""
    rendered, recorded = render(trainer.vocoder, padded)
    losses = spectral_losses(rendered, recorded)
    if not adversarial:
        return {"loss": losses["mel"] + losses["stft"], **losses}
    assert trainer.discriminators is not None
    losses |= adversarial_losses(trainer.discriminators, rendered, recorded)
    judged = ADVERSARIAL_WEIGHT * (losses["adversarial"] + losses["discriminator"])
    # Without the distance of all frequency bins: who minimises it blurs what cannot be foretold.
    return {"loss": losses["mel"] + judged + MATCHING_WEIGHT * losses["matching"], **losses}


def train_vocoder(
    config: VocoderConfig,
    loop: LoopConfig,
    stage: VocoderStage,
    splits: Sequence[Split],
    held_out: Sequence[Split],
    folder: Path,
    discriminators: Discriminators | None = None,
    start: BigVGAN | None = None,
    device: torch.device | str = "cpu",
) -> BigVGAN:
    """Train a vocoder, or go on with what ``folder`` holds.

    Args:
        config: sizes.
        loop: schedule; see the head of this file for BigVGAN's. The gradients of vocoder and discriminators are
            clipped together.
        stage: batches and phases.
        splits: what it learns from, at 24 kHz.
        held_out: what its mel distance is measured on.
        folder: checkpoints and log.
        discriminators: for the adversarial phase.
        start: weights to start from instead of random ones.
        device: where it is trained.

    Raises:
        ValueError: there are no discriminators for the adversarial phase, or the splits do not fit, see
            ``SegmentBatches``.
    """
    if stage.adversarial_from_step is not None and discriminators is None:
        raise ValueError("an adversarial phase needs discriminators")
    torch.manual_seed(loop.seed)
    trainer = VocoderTrainer(BigVGAN(config), discriminators)
    if start is not None:
        trainer.vocoder.load_state_dict(start.state_dict())
    trainer.to(device)

    def loss_of(batch: SegmentBatch, step: int) -> dict[str, Tensor]:
        first = stage.adversarial_from_step
        return vocoder_losses(trainer, batch.wav, adversarial=first is not None and step >= first)

    def evaluate() -> dict[str, float]:
        return {f"mel_{split.folder.name}": held_out_mel(trainer.vocoder, stage, split) for split in held_out}

    batches = SegmentBatches(splits, stage, loop.seed)
    with Prefetch(batches, end=loop.steps, device=device, processes=loop.loading_processes) as coming:
        train(trainer, loss_of, coming, loop, folder, evaluate, 200)
    return trainer.vocoder.cpu()


@torch.no_grad()
def held_out_mel(vocoder: BigVGAN, stage: VocoderStage, split: Split) -> float:
    """Return the mel distance of rendered from recorded segments, the same segments every time."""
    vocoder.eval()
    wav = SegmentBatches([split], stage, seed=0)(0).wav.to(next(vocoder.parameters()).device)
    return float(spectral_losses(*render(vocoder, wav))["mel"])
