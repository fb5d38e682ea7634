import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kimi_audio.config import VocoderConfig
from kimi_audio.data.manifest import Split, SplitWriter
from kimi_audio.detokenizer.discriminators import Discriminators
from kimi_audio.train.loop import LoopConfig
from kimi_audio.train.vocoder import Segments, VocoderStage, adversarial_losses, spectral_losses, train_vocoder

CONFIG = VocoderConfig(
    num_mels=80,
    n_fft=1024,
    win_size=1024,
    fmin=0,
    fmax=None,
    upsample_initial_channel=32,
    upsample_rates=(8, 6, 5, 2),
    upsample_kernel_sizes=(16, 12, 9, 4),
    resblock_kernel_sizes=(3,),
    resblock_dilation_sizes=((1,),),
)
STAGE = VocoderStage(batch_size=2, segment_frames=8)


def small_discriminators() -> Discriminators:
    return Discriminators(periods=(2, 3), period_channels=(4, 8), resolutions=((512, 120),), resolution_channels=4)


def tone(pitch_hz: float, rate_hz: int) -> np.ndarray:
    phase = np.arange(rate_hz) / rate_hz * 2 * np.pi * pitch_hz
    return np.sum([0.2 / k * np.sin(k * phase) for k in range(1, 9)], axis=0)


@pytest.fixture
def split(tmp_path: Path) -> Split:
    """Three harmonic tones."""
    writer = SplitWriter(tmp_path / "tones", (16_000, 24_000))
    for number in range(3):
        samples = {rate: tone(150 + 50 * number, rate) for rate in (16_000, 24_000)}
        writer.add(samples, id=str(number), text="", transcript="", kind="tone", voice="", rate=1.0, pitch=0.0)
    writer.close(completed=True)
    return Split(tmp_path / "tones")


def test_segments_depend_on_the_step_alone(split: Split):
    segments = Segments([split], STAGE, seed=3)
    assert segments(5).shape == (2, 10 * 480)
    assert torch.equal(segments(5), Segments([split], STAGE, seed=3)(5))
    assert not torch.equal(segments(5), segments(6))
    assert segments(5).abs().max() <= 1


def test_segments_longer_than_everything_are_refused(split: Split):
    with pytest.raises(ValueError, match="segment_frames"):
        Segments([split], VocoderStage(segment_frames=100), seed=0)


def test_spectral_losses_are_zero_for_equals_and_grow_with_distance():
    wav = 0.1 * torch.randn(2, 9600, generator=torch.Generator().manual_seed(0))
    near, far = 1.1 * wav, 4 * wav
    assert all(value == 0 for value in spectral_losses(wav, wav).values())
    for name, value in spectral_losses(near, wav).items():
        assert 0 < value < spectral_losses(far, wav)[name]


def test_adversarial_losses_reach_the_right_side_only():
    discriminators = small_discriminators()
    rendered = torch.randn(1, 4800, requires_grad=True)
    losses = adversarial_losses(discriminators, rendered, torch.randn(1, 4800))
    losses["discriminator"].backward(retain_graph=True)
    assert rendered.grad is None
    judges = [parameter.grad.clone() for parameter in discriminators.parameters()]  # pyright: ignore
    (losses["adversarial"] + losses["matching"]).backward()
    assert rendered.grad is not None
    assert rendered.grad.any()
    assert all(torch.equal(p.grad, old) for p, old in zip(discriminators.parameters(), judges, strict=True))  # pyright: ignore


def test_stage_learns_and_goes_through_both_phases(split: Split, tmp_path: Path):
    loop = LoopConfig(steps=12, peak_lr=3e-3, warmup_steps=1, bf16=False, log_every_steps=1)
    stage = VocoderStage(batch_size=2, segment_frames=8, adversarial_from_step=10)
    train_vocoder(CONFIG, loop, stage, [split], [split], tmp_path / "run", small_discriminators())
    rows = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    values = [json.loads(row) for row in rows]
    assert values[-1]["mel"] < values[0]["mel"]
    assert "matching" in values[-1]
    assert "matching" not in values[0]
    assert "mel_tones" in values[-1]
