"""From channels to mono: cancelled channels, levels that are none, what is not finite."""

import logging

import numpy as np
import pytest
import torch
from encoded import RATE_HZ, by_libsndfile, speechlike

from kimi_audio.audio.io import load_audio


@pytest.mark.parametrize("gain", [-1.0, -0.9, -1.05])
@pytest.mark.parametrize("seconds", [0.05, 0.5, 12.0])
def test_channels_that_cancel_each_other_are_heard(gain: float, seconds: float, caplog):
    left = speechlike(seconds)
    content = by_libsndfile(np.stack([left, gain * left], axis=1), "FLAC")
    louder = max(1.0, -gain) * (1 if -gain <= 1 else -1) * left
    with caplog.at_level(logging.WARNING):
        wav = load_audio(content, RATE_HZ)
    torch.testing.assert_close(wav, torch.from_numpy(louder).float(), atol=1e-4, rtol=0)
    assert len(caplog.records) == 1
    assert "channels that cancel each other" in caplog.text


def test_a_few_last_samples_do_not_decide(caplog):
    channels = np.stack([speechlike(9.0)] * 2, axis=1)[: (1 << 17) + 3]
    channels[-3:, 1] *= -1
    for array in (channels, np.repeat(channels, 2, axis=0)):
        assert torch.equal(load_audio((array, RATE_HZ), RATE_HZ), torch.from_numpy(array.mean(axis=1)))
    assert not caplog.records


def test_other_channels_are_averaged(caplog):
    chance = np.random.default_rng(0)
    left, right = 0.1 * chance.standard_normal((2, 4 * RATE_HZ)).astype(np.float32)
    silence = np.zeros_like(left)
    for channels in (
        [left, right],
        [left, silence],
        [left, -0.3 * left],
        [left, *[silence] * 7],
        [silence, silence],
        [left, left, -left],
    ):
        wav = load_audio((np.stack(channels, axis=1), RATE_HZ), RATE_HZ)
        torch.testing.assert_close(wav, torch.from_numpy(np.stack(channels, axis=1).mean(axis=1)))
    assert not caplog.records


@pytest.mark.parametrize("scale", [100.0, 32768.0, 1e30, 3e38])
def test_floats_in_another_scale_are_refused_with_the_remedy(scale: float):
    samples = scale * speechlike(0.5)
    for source in ((samples, 44_100), by_libsndfile(samples, "WAV", "FLOAT"), (torch.from_numpy(samples), RATE_HZ)):
        with pytest.raises(ValueError, match=r"samples of up to .* but full scale is 1; divide .* by 32768"):
            load_audio(source, RATE_HZ)


def test_floats_a_little_above_full_scale_are_sound():
    samples = 8 * speechlike(0.5)
    assert torch.equal(load_audio((samples, RATE_HZ), RATE_HZ), torch.from_numpy(samples))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, -1])
def test_what_is_not_finite_is_refused_wherever_it_is(value: float, place: int):
    samples = np.stack([speechlike(20.0)] * 2, axis=1)
    samples[place, 1] = value
    for rate_hz in (RATE_HZ, 44_100):
        with pytest.raises(ValueError, match="not finite"):
            load_audio((samples, rate_hz), RATE_HZ)
