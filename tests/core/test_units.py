import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_audio.core import units


def test_grids_fit_into_each_other():
    token_s = units.SAMPLES_PER_TOKEN / units.INPUT_RATE_HZ
    assert token_s == 0.08
    assert token_s == units.OUTPUT_SAMPLES_PER_TOKEN / units.OUTPUT_RATE_HZ
    assert units.SAMPLES_PER_TOKEN == 8 * units.SAMPLES_PER_WHISPER_FRAME
    assert units.TOKENS_PER_WINDOW == 375


def test_exact_division():
    assert units.exact_div(12, 4) == 3
    with pytest.raises(ValueError, match="13 is not a multiple of 4"):
        units.exact_div(13, 4)


@given(st.integers(0, 10 * units.SAMPLES_PER_WINDOW))
def test_tokens_cover_the_recording(samples):
    """Windows are whole tokens long, so cutting into windows first changes nothing."""
    assert units.tokens_in_audio(samples) == math.ceil(samples / units.SAMPLES_PER_TOKEN)
    assert units.tokens_in_window(samples) == math.ceil(samples / units.SAMPLES_PER_TOKEN)
