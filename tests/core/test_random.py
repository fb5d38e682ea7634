"""Numbers that follow from a seed and a number."""

import torch

from kimi_audio.core.random import generator_of


def test_the_same_seed_and_number_give_the_same_numbers_and_others_do_not():
    pairs = [(seed, number) for seed in (0, 1) for number in (0, 1)]
    drawn = {pair: torch.rand(4, generator=generator_of(*pair)) for pair in pairs}
    assert torch.equal(drawn[0, 1], torch.rand(4, generator=generator_of(0, 1)))
    assert len({tuple(values.tolist()) for values in drawn.values()}) == 4
    # Those that nano was trained with.
    assert torch.equal(drawn[1, 1], torch.rand(4, generator=torch.Generator().manual_seed(1_000_004)))
