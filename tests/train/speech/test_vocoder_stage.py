import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kimi_audio.core.config import VocoderConfig
from kimi_audio.data.split import Split, SplitWriter
from kimi_audio.detokenizer.discriminators import Discriminators, PeriodDiscriminator, ResolutionDiscriminator
from kimi_audio.train.loop.loop import LoopConfig
from kimi_audio.train.speech.vocoder_stage import (
    ADVERSARIAL_WEIGHT,
    MATCHING_WEIGHT,
    SegmentBatches,
    VocoderStage,
    adversarial_losses,
    spectral_losses,
    train_vocoder,
)

CONFIG = VocoderConfig.tiny(num_mels=80, resblock_dilation_sizes=((1,),))
STAGE = VocoderStage(batch_size=2, segment_frames=8)


def small_discriminators() -> Discriminators:
    resolutions = ((512, 120, 400),)
    return Discriminators(periods=(2, 3), period_channels=(4, 8), resolutions=resolutions, resolution_channels=4)


def tone(pitch_hz: float, rate_hz: int) -> np.ndarray:
    phase = np.arange(rate_hz) / rate_hz * 2 * np.pi * pitch_hz
    return np.sum([0.2 / k * np.sin(k * phase) for k in range(1, 9)], axis=0)


@pytest.fixture
def split(tmp_path: Path) -> Split:
    """Three harmonic tones."""
    writer = SplitWriter(tmp_path / "tones", (16_000, 24_000))
    for number in range(3):
        samples = {rate: tone(150 + 50 * number, rate) for rate in (16_000, 24_000)}
        writer.add(samples, id=str(number), text="", transcript="", kind="tone", voice="")
    writer.close(completed=True)
    return Split(tmp_path / "tones")


def test_segments_depend_on_the_step_alone(split: Split):
    segments = SegmentBatches([split], STAGE, seed=3)
    wav = segments(5).wav
    assert wav.shape == (2, 10 * 480)
    assert torch.equal(wav, SegmentBatches([split], STAGE, seed=3)(5).wav)
    assert not torch.equal(wav, segments(6).wav)
    assert wav.abs().max() <= 1
    assert set(segments(5).ids) <= {"0", "1", "2"}


def test_segments_longer_than_everything_are_refused(split: Split):
    with pytest.raises(ValueError, match="segment_frames"):
        SegmentBatches([split], VocoderStage(segment_frames=100), seed=0)


def test_splits_without_sound_at_the_output_rate_are_named(tmp_path: Path):
    writer = SplitWriter(tmp_path / "asr-0", (16_000,))
    values = {"text": "", "transcript": "", "kind": "tone", "voice": ""}
    writer.add({16_000: tone(200, 16_000)}, id="0", **values)
    writer.close(completed=True)
    with pytest.raises(ValueError, match="asr-0 has no sound at 24000 Hz"):
        SegmentBatches([Split(tmp_path / "asr-0")], STAGE, seed=0)


def test_an_adversarial_phase_needs_discriminators(split: Split, tmp_path: Path):
    loop = LoopConfig(steps=1, peak_lr=0.0)
    with pytest.raises(ValueError, match="needs discriminators"):
        train_vocoder(CONFIG, loop, VocoderStage(adversarial_from_step=0), [split], [], tmp_path)


def test_discriminators_rest_until_their_phase(split: Split, tmp_path: Path):
    loop = LoopConfig(steps=2, peak_lr=1e-3, warmup_steps=0, bf16=False, log_every_steps=1)
    before = small_discriminators().state_dict()
    for first, moved in ((2, False), (1, True)):
        judges = small_discriminators()
        judges.load_state_dict(before)
        stage = VocoderStage(batch_size=1, segment_frames=8, adversarial_from_step=first)
        train_vocoder(CONFIG, loop, stage, [split], [], tmp_path / str(first), judges)
        same = [torch.equal(value, before[name]) for name, value in judges.state_dict().items()]
        assert all(same) != moved


def test_judges_are_those_of_bigvgan():
    """Five periods and three resolutions; feature matching twice as heavy as being taken for a recording."""
    with torch.device("meta"):
        judges = Discriminators()
    periods = [part.period for part in judges.parts if isinstance(part, PeriodDiscriminator)]
    resolutions = {part.resolution for part in judges.parts if isinstance(part, ResolutionDiscriminator)}
    assert periods == [2, 3, 5, 7, 11]
    assert resolutions == {(1024, 120, 600), (2048, 240, 1200), (512, 50, 240)}
    assert MATCHING_WEIGHT == 2 * ADVERSARIAL_WEIGHT


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
