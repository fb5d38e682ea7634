"""Cutting long recordings at their pauses."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from kimi_audio.audio.segments import FRAME_SAMPLES, cut_at_pauses
from kimi_audio.core.units import INPUT_RATE_HZ


def noise(samples: int) -> torch.Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(samples))


@given(st.integers(0, 100_000), st.floats(0.2, 3.0))
def test_nothing_is_lost_and_no_piece_is_too_long(samples: int, longest_s: float):
    wav = noise(samples)
    pieces = list(cut_at_pauses([wav], longest_s))
    assert torch.equal(torch.cat([torch.zeros(0), *pieces]), wav)
    assert all(len(piece) <= longest_s * INPUT_RATE_HZ for piece in pieces)
    assert all(len(piece) >= longest_s * INPUT_RATE_HZ / 2 - FRAME_SAMPLES for piece in pieces[:-1])


@given(st.integers(1, 40_000), st.integers(100, 30_000), st.floats(0.1, 1.0))
def test_the_cuts_do_not_depend_on_the_blocks(samples: int, block_samples: int, longest_s: float):
    wav = noise(samples)
    whole = list(cut_at_pauses([wav], longest_s))
    in_blocks = list(cut_at_pauses(wav.split(block_samples), longest_s))
    assert [len(piece) for piece in in_blocks] == [len(piece) for piece in whole]
    assert torch.equal(torch.cat(in_blocks), wav)


def test_pieces_come_before_the_recording_ends():
    def endless():
        while True:
            yield noise(INPUT_RATE_HZ)

    assert len(next(cut_at_pauses(endless(), 2.0))) <= 2 * INPUT_RATE_HZ


def test_short_recordings_stay_whole():
    wav = noise(2 * INPUT_RATE_HZ)
    assert [len(piece) for piece in cut_at_pauses([wav], 2.0)] == [len(wav)]


def test_cuts_lie_in_pauses():
    wav = noise(10 * INPUT_RATE_HZ)
    for pause_s in (3.1, 6.4):
        start = int(pause_s * INPUT_RATE_HZ)
        wav[start : start + INPUT_RATE_HZ // 4] *= 0.01
    cuts = torch.tensor([len(piece) for piece in cut_at_pauses([wav], 4.0)]).cumsum(0)[:-1] / INPUT_RATE_HZ
    assert 3.1 < cuts[0] < 3.35
    assert 6.4 < cuts[1] < 6.65
