"""The rules of choosing the next id."""

import math

import pytest
import torch

from kimi_audio.lm.sampling import BROKEN, Sampler, SamplingOptions


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_temperature_zero_takes_the_best():
    logits = torch.tensor([[0.0, 3.0, 1.0], [2.0, 0.0, 1.0]])
    assert Sampler(SamplingOptions())(logits, [[], []]).tolist() == [1, 0]


def test_penalty_needs_more_ids_than_its_window():
    sampler = Sampler(SamplingOptions(repetition_penalty=2.0, repetition_window=3))
    logits = torch.tensor([[3.0, 2.0, -1.0]])
    before = logits.clone()
    assert sampler(logits, [[0, 0, 0]]).tolist() == [0]
    assert sampler(logits, [[1, 0, 0, 0]]).tolist() == [1]  # 3 / 2 < 2; the id before the window is free
    assert torch.equal(logits, before)


def test_penalty_makes_negative_scores_more_negative():
    sampler = Sampler(SamplingOptions(repetition_penalty=2.0, repetition_window=1))
    assert sampler(torch.tensor([[-1.0, -1.5]]), [[0, 0]]).tolist() == [1]


def test_top_k_and_temperature():
    logits = torch.tensor([[4.0, 3.0, 2.0, 1.0]]).expand(4000, -1)
    random = [seeded(i) for i in range(4000)]
    drawn = Sampler(SamplingOptions(temperature=1.0, top_k=2))(logits, [[]] * 4000, random)
    assert set(drawn.tolist()) == {0, 1}
    assert abs((drawn == 0).float().mean().item() - 0.731) < 0.03
    everything = Sampler(SamplingOptions(temperature=5.0, top_k=0))(logits, [[]] * 4000, random)
    assert set(everything.tolist()) == {0, 1, 2, 3}


def test_top_k_may_exceed_the_vocabulary():
    assert Sampler(SamplingOptions(temperature=1.0, top_k=50))(torch.zeros(1, 3), [[]], [seeded(0)]) < 3


def test_a_row_draws_the_same_alone_and_in_a_batch():
    logits = torch.randn(5, 50, generator=seeded(0))
    sampler = Sampler(SamplingOptions(temperature=1.0, top_k=10))
    batch = sampler(logits, [[]] * 5, [seeded(i) for i in range(5)])
    alone = torch.cat([sampler(logits[i : i + 1], [[]], [seeded(i)]) for i in range(5)])
    assert torch.equal(batch, alone)


@pytest.mark.parametrize("top_k", [0, 2])
@pytest.mark.parametrize("temperature", [1e-5, 0.005])
def test_a_low_temperature_takes_the_best_of_many_that_are_all_unlikely(temperature, top_k):
    logits = torch.tensor([[5.0, 9.0] + [8.9 - 1e-3 * i for i in range(1000)]])
    draw = Sampler(SamplingOptions(temperature=temperature, top_k=top_k))
    assert {int(draw(logits, [[]], [seeded(i)])) for i in range(20)} == {1}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_rows_with_scores_that_are_not_finite_are_told(temperature, score):
    sampler = Sampler(SamplingOptions(temperature=temperature, top_k=2))
    logits = torch.tensor([[0.0, 50.0, 1.0], [0.0, score, 1.0], [-math.inf] * 3, [-math.inf, 9.0, -math.inf]])
    assert sampler(logits, [[]] * 4, [seeded(i) for i in range(4)]).tolist() == [1, BROKEN, BROKEN, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        *({"temperature": value} for value in (-1.0, math.nan, math.inf, "1", None)),
        *({"top_k": value} for value in (-1, 5.0, True)),
        *({"repetition_penalty": value} for value in (0.0, math.nan, math.inf)),
        *({"repetition_window": value} for value in (0, 16.0)),
    ],
)
def test_wrong_options(wrong):
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))} must be"):
        SamplingOptions(**wrong)
