"""Augmentation changes what it says and nothing else."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_audio.audio.augment import (
    NOISES,
    Augmentation,
    add_noise,
    augment,
    change_speed,
    equalise,
    make_noise,
    reverberate,
)
from kimi_audio.core.units import INPUT_RATE_HZ

NOTHING = Augmentation(speed_probability=0.0, reverb_probability=0.0, noise_probability=0.0, gain_db=(0.0, 0.0))


def tone(seconds=0.5, hz=440.0):
    return 0.1 * torch.sin(2 * math.pi * hz * torch.arange(round(seconds * INPUT_RATE_HZ)) / INPUT_RATE_HZ)


def random_numbers(seed=0):
    return torch.Generator().manual_seed(seed)


def level_db(samples):
    return 10 * math.log10(samples.square().mean().item())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(400, 20_000))
def test_any_draw_gives_bounded_finite_sound_of_the_expected_length(seed, length):
    samples = 0.3 * torch.randn(length, generator=random_numbers(seed))
    often = Augmentation(equaliser_probability=0.5)
    changed = augment(samples, random_numbers(seed), [tone(0.1), tone(0.3)], often)
    assert changed.isfinite().all()
    assert changed.abs().max() <= 1
    low, high = Augmentation().speeds
    assert math.floor(length / high) <= len(changed) <= math.ceil(length / low)
    assert torch.equal(changed, augment(samples, random_numbers(seed), [tone(0.1), tone(0.3)], often))


def test_without_any_change_the_sound_stays():
    assert torch.equal(augment(tone(), random_numbers(), settings=NOTHING), tone())


def test_the_input_is_left_alone():
    samples = tone()
    for seed in range(20):
        augment(samples, random_numbers(seed), [tone()])
    assert torch.equal(samples, tone())


@pytest.mark.parametrize("speed", [0.88, 1.0, 1.14])
def test_speed_moves_duration_and_pitch_together(speed):
    changed = change_speed(tone(1.0), speed)
    assert len(changed) == round(INPUT_RATE_HZ / speed)
    spectrum = torch.fft.rfft(changed * torch.hann_window(len(changed)), INPUT_RATE_HZ).abs()
    assert spectrum.argmax().item() == pytest.approx(440 * speed, abs=2)


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("snr_db", [5.0, 40.0])
def test_noise_has_the_stated_level(kind, snr_db):
    noise = make_noise(kind, 8000, random_numbers(), [tone(0.2, 300), tone(0.1, 900)])
    assert noise.shape == (8000,)
    added = add_noise(tone(), noise, snr_db) - tone()
    assert level_db(tone()) - level_db(added) == pytest.approx(snr_db, abs=0.1)


def test_coloured_noise_falls_with_frequency():
    def tilt_db(kind):
        power = torch.fft.rfft(make_noise(kind, INPUT_RATE_HZ, random_numbers())).abs().square()
        return 10 * math.log10(power[200:400].mean() / power[3200:6400].mean())  # four octaves apart

    assert tilt_db("white") == pytest.approx(0, abs=1)
    assert tilt_db("pink") == pytest.approx(12, abs=1.5)
    assert tilt_db("brown") == pytest.approx(24, abs=2.5)


def test_a_room_rings_on_and_then_decays():
    click = torch.zeros(8000)
    click[1000] = 1.0
    wet = reverberate(click, 0.2, 0.0, random_numbers())
    assert wet[:1000].abs().max() < 1e-5  # no sound before its cause
    assert wet[1001:1400].abs().max() > 10 * wet[4000:4200].abs().max()
    assert wet[4300:].abs().max() < 1e-5


def test_an_equaliser_moves_the_bands_and_keeps_the_level():
    white = 0.1 * torch.randn(INPUT_RATE_HZ, generator=random_numbers())
    coloured = equalise(white, 12.0, random_numbers(1))
    assert len(coloured) == len(white)
    assert level_db(coloured) == pytest.approx(level_db(white), abs=0.1)
    gains_db = 20 * (torch.fft.rfft(coloured).abs() / torch.fft.rfft(white).abs()).log10()
    bands = gains_db.split(500)  # of 500 Hz
    assert max(band.median() for band in bands) - min(band.median() for band in bands) > 6
    torch.testing.assert_close(equalise(tone(), 0.0, random_numbers()), tone(), atol=1e-5, rtol=0.0)


def test_gain_is_drawn_from_its_range():
    quiet = Augmentation(speed_probability=0.0, reverb_probability=0.0, noise_probability=0.0, gain_db=(-12.0, 3.0))
    gains = [level_db(augment(tone(), random_numbers(seed), settings=quiet)) - level_db(tone()) for seed in range(200)]
    assert -12 <= min(gains) < -10
    assert 1 < max(gains) <= 3


def test_silence_stays_finite():
    assert augment(torch.zeros(4000), random_numbers(3), [torch.zeros(100)]).isfinite().all()
