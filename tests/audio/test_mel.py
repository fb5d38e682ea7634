"""The two log-mel front-ends."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kimi_audio.audio.mel import LOG_MEL_FLOOR, mel_filters, vocoder_log_mel, whisper_log_mel
from kimi_audio.core.config import VocoderConfig


@pytest.fixture(scope="module")
def config(reference: Path) -> VocoderConfig:
    return VocoderConfig.from_dict(json.loads((reference / "checkpoint/vocoder/config.json").read_text()))


def tone(frequency_hz: float, rate_hz: int, samples: int) -> Tensor:
    return 0.5 * torch.sin(2 * math.pi * frequency_hz * torch.arange(samples) / rate_hz)


@pytest.mark.reference
def test_vocoder_mel_equals_official(reference: Path, config: VocoderConfig):
    expected = load_file(reference / "expected" / "detokenizer.safetensors")
    log_mel = vocoder_log_mel(expected["mel.wav_24k"], config)
    torch.testing.assert_close(log_mel, expected["mel.log_mel"], atol=1e-3, rtol=0)


def test_filters_have_unit_area_and_slaney_edges():
    filters = mel_filters(16_000, 400, 128)
    assert filters.shape == (128, 201)
    width_hz = 16_000 / 400
    wide = filters[100:]  # narrow bands are sampled too coarsely to add up
    torch.testing.assert_close(wide.sum(1) * width_hz, torch.ones(len(wide)), atol=0.05, rtol=0)
    # Slaney's scale: 0..8000 Hz is 0..45.25 mel; the band in the middle is centred at 22.6 mel, above the linear part.
    top_mel = 15 + 27 * math.log(8) / math.log(6.4)
    centre_hz = 1000 * 6.4 ** ((64 * top_mel / 129 - 15) / 27)
    assert filters[63].argmax() * width_hz == pytest.approx(centre_hz, abs=width_hz)


def test_range_of_the_filters():
    filters = mel_filters(24_000, 1024, 80, 100.0, 8000.0)
    used_hz = filters.sum(0).nonzero().flatten() * 24_000 / 1024
    assert used_hz.min() >= 100
    assert used_hz.max() <= 8000
    full = mel_filters(24_000, 1024, 80)
    assert torch.equal(full, mel_filters(24_000, 1024, 80, 0.0, 12_000.0))


@pytest.mark.parametrize("samples", [1280, 16_000, 480_000])
def test_whisper_frames(samples: int):
    assert whisper_log_mel(torch.randn(2, samples), 80).shape == (2, 80, samples // 160)


def test_whisper_levels_span_two_per_recording():
    """The floor lies 8 decades below the maximum of its own recording, and 4 decades are one unit."""
    wav = torch.stack([tone(1000, 16_000, 16_000), torch.zeros(16_000)])
    wav[1, :400] = 1e-3
    mel = whisper_log_mel(wav, 128)
    for row in mel:
        assert row.max() - row.min() <= 2 + 1e-6
    assert torch.equal(whisper_log_mel(wav[:1], 128), mel[:1])
    silence = whisper_log_mel(torch.zeros(1, 1280), 128)
    assert torch.equal(silence, torch.full_like(silence, (-10 + 4) / 4))


@pytest.mark.parametrize("frequency_hz", [200.0, 1000.0, 5000.0])
def test_a_tone_is_loudest_in_its_band(config: VocoderConfig, frequency_hz: float):
    whisper = whisper_log_mel(tone(frequency_hz, 16_000, 16_000)[None], 128)[0, :, 50]
    filters = mel_filters(16_000, 400, 128)
    assert whisper.argmax() == filters[:, round(frequency_hz / 40)].argmax()
    vocoder = vocoder_log_mel(tone(frequency_hz, 24_000, 24_000), config)[25]
    filters = mel_filters(24_000, config.n_fft, config.num_mels, config.fmin, config.fmax)
    assert vocoder.argmax() == filters[:, round(frequency_hz * config.n_fft / 24_000)].argmax()


def test_vocoder_frames_and_floor(config: VocoderConfig):
    assert vocoder_log_mel(torch.randn(24_000), config).shape == (50, config.num_mels)
    assert vocoder_log_mel(torch.randn(3, 24_479), config).shape == (3, 50, config.num_mels)
    silence = vocoder_log_mel(torch.zeros(4800), config)
    torch.testing.assert_close(silence, torch.full_like(silence, LOG_MEL_FLOOR))
    single = torch.randn(9600)
    assert torch.equal(vocoder_log_mel(single, config), vocoder_log_mel(single[None], config)[0])


@pytest.mark.parametrize("front_end", ["whisper", "vocoder"])
def test_what_inference_computed_first_is_usable_in_training(config, front_end):
    def loss(wav: torch.Tensor) -> torch.Tensor:
        mel = vocoder_log_mel(wav, config) if front_end == "vocoder" else whisper_log_mel(wav[None], 80)
        return mel.square().mean()

    mel_filters.cache_clear()
    with torch.inference_mode():
        loss(torch.randn(16_000))
    wav = torch.randn(16_000, requires_grad=True)
    loss(wav).backward()
    assert wav.grad is not None
    assert wav.grad.isfinite().all()
