import pytest
import torch

from kimi_audio.audio.join import crossfade


@pytest.mark.parametrize("overlap", [0, 1, 7, 20])
def test_gains_sum_to_one(overlap: int):
    torch.testing.assert_close(crossfade(torch.ones(overlap), torch.ones(20)), torch.ones(20))


def test_goes_from_one_rendering_to_the_other():
    wav = crossfade(torch.ones(100), torch.zeros(150))
    assert wav[0] > 0.99
    assert wav[99] < 0.01
    assert (wav[:100].diff() <= 0).all()
    assert not wav[100:].any()
