"""The codebook that follows its vectors: what it returns, and how its codes move."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from kimi_audio.core.config import SemanticConfig
from kimi_audio.train.speech.codebook import EMACodebook

CONFIG = SemanticConfig.tiny(
    hidden_size=3,
    num_heads=1,
    num_codes=5,
    commit_coefficient=0.25,
    loss_scale=10.0,
    ema_decay=0.9,
    restart_interval_steps=1000,
)
ALL = torch.ones(2, 6, dtype=torch.bool)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def codebook(config: SemanticConfig = CONFIG) -> EMACodebook:
    embedding = nn.Embedding(config.num_codes, config.hidden_size)
    embedding.weight.data.copy_(random(config.num_codes, config.hidden_size, seed=9))
    return EMACodebook(embedding, config)


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_every_vector_becomes_its_nearest_code():
    module, hidden = codebook(), random(2, 6, 3)
    quantised, statistics = module(hidden, ALL, None)
    chosen = set()
    error = 0.0
    for vector, result in zip(hidden.flatten(0, 1), quantised.flatten(0, 1), strict=True):
        distances = [float((vector - code).square().sum()) for code in module.embedding.weight]
        nearest = min(range(5), key=distances.__getitem__)
        torch.testing.assert_close(result, module.embedding.weight[nearest])
        chosen.add(nearest)
        error += distances[nearest]
    assert len(chosen) > 1
    assert int(statistics["active_codes"]) == len(chosen)
    assert float(statistics["commit_loss"]) == pytest.approx(10 * 0.25 * error / (12 * 3), rel=1e-4)


def test_perplexity_is_the_number_of_codes_in_equal_use():
    module = codebook()
    hidden = module.embedding.weight[[0, 1, 2, 2, 1, 0]]
    statistics = module(hidden, torch.ones(6, dtype=torch.bool), None)[1]
    assert float(statistics["perplexity"]) == pytest.approx(3, rel=1e-4)
    statistics = module(hidden[:1], torch.ones(1, dtype=torch.bool), None)[1]
    assert float(statistics["perplexity"]) == pytest.approx(1, rel=1e-4)


def test_gradients_pass_straight_through_and_commitment_pulls_to_the_code():
    module, hidden, weights = codebook(), random(2, 6, 3).requires_grad_(), random(2, 6, 3, seed=1)
    quantised, statistics = module(hidden, ALL, None)
    (gradient,) = torch.autograd.grad((quantised * weights).sum(), hidden, retain_graph=True)
    torch.testing.assert_close(gradient, weights)
    (gradient,) = torch.autograd.grad(statistics["commit_loss"], hidden)
    torch.testing.assert_close(gradient, 10 * 0.25 * 2 * (hidden - quantised).detach() / hidden.numel())
    assert not module.embedding.weight.requires_grad


def test_without_a_generator_nothing_moves():
    module = codebook()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    module(random(2, 6, 3), ALL, None)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_codes_follow_the_averages_of_their_vectors():
    module = codebook()
    counts = [1.0] * 5
    sums = [code.tolist() for code in module.embedding.weight]
    for step in range(4):
        hidden = random(2, 6, 3, seed=step)
        codes = [
            min(range(5), key=lambda code: float((vector - module.embedding.weight[code]).square().sum()))
            for vector in hidden.flatten(0, 1)
        ]
        module(hidden, ALL, draws())
        for code in range(5):
            members = [vector.tolist() for vector, own in zip(hidden.flatten(0, 1), codes, strict=True) if own == code]
            counts[code] = 0.9 * counts[code] + 0.1 * len(members)
            for channel in range(3):
                mean_pull = sum(member[channel] for member in members)
                sums[code][channel] = 0.9 * sums[code][channel] + 0.1 * mean_pull
        total = sum(counts)
        counts = [(count + 1e-5) / (total + 5e-5) * total for count in counts]
        expected = torch.tensor(sums) / torch.tensor(counts)[:, None]
        torch.testing.assert_close(module.embedding.weight.data, expected)
    torch.testing.assert_close(module.ema_count, torch.tensor(counts))


def test_padding_counts_nowhere():
    hidden, valid = random(2, 6, 3).requires_grad_(), ALL.clone()
    valid[1, 2:] = False
    padded, bare = codebook(), codebook()
    quantised, statistics = padded(hidden, valid, draws())
    expected, wanted = bare(hidden[valid], torch.ones(8, dtype=torch.bool), draws())
    torch.testing.assert_close(quantised[valid], expected)
    for name, value in wanted.items():
        torch.testing.assert_close(statistics[name], value)
    for name, tensor in bare.state_dict().items():
        assert torch.equal(padded.state_dict()[name], tensor), name
    (gradient,) = torch.autograd.grad(statistics["commit_loss"], hidden)
    assert (gradient[~valid] == 0).all()


def test_the_start_sets_codes_that_stay_when_their_own_vectors_come():
    module, codes = codebook(), 10 * random(5, 3, seed=3)
    counts = torch.tensor([4.0, 1.0, 3.0, 2.0, 0.0])
    module.start(codes, counts)
    assert torch.equal(module.embedding.weight, codes)
    hidden = codes.repeat_interleave(counts.long(), 0)
    module(hidden, torch.ones(10, dtype=torch.bool), draws())
    torch.testing.assert_close(module.embedding.weight.data, codes, rtol=3e-3, atol=1e-3)  # unchosen ones, too
    torch.testing.assert_close(module.ema_count[:4], counts[:4], rtol=2e-3, atol=0)


def test_dead_codes_restart_on_vectors_of_the_batch():
    module = codebook(replace(CONFIG, restart_interval_steps=3))
    codes = torch.tensor([[0.0, 0, 0], [9, 0, 0], [500, 500, 500], [600, 0, 600], [700, 700, 0]])
    module.start(codes, torch.tensor([6, 6, 0.9, 0.9, 0.9]))  # less than one vector would leave after three steps
    near = codes[:2].repeat(6, 1) + 0.1 * random(12, 3)  # nothing comes near the last three

    for _ in range(2):
        module(near, torch.ones(12, dtype=torch.bool), draws())
    assert (module.embedding.weight[2:].amax(1) > 400).all()  # not yet

    living = module.embedding.weight[:2].clone()
    module(near, torch.ones(12, dtype=torch.bool), draws())
    restarted = [row.tolist() for row in module.embedding.weight[2:]]
    assert all(row in near.tolist() for row in restarted)
    assert len({tuple(row) for row in restarted}) == 3
    assert (module.ema_count[2:] == 1).all()
    torch.testing.assert_close(module.ema_weight[2:], module.embedding.weight[2:])
    torch.testing.assert_close(module.embedding.weight[:2], living, rtol=0, atol=0.1)  # the living stay


def test_more_dead_codes_than_vectors_restart_as_far_as_they_reach():
    module = codebook(replace(CONFIG, restart_interval_steps=1))
    module.start(torch.tensor([[0.0, 0, 0], [50, 0, 0], [0, 50, 0], [0, 0, 50], [50, 50, 0]]), torch.full((5,), 0.01))
    near = torch.tensor([[0.1, 0, 0], [0, 0.1, 0]])
    module(near, torch.ones(2, dtype=torch.bool), draws())
    restarted = [row in near.tolist() for row in module.embedding.weight.tolist()]
    assert sum(restarted) == 2


def test_dead_codes_stay_dead_when_they_may_not_restart():
    module = codebook(replace(CONFIG, restart_interval_steps=1))
    module.start(torch.tensor([[0.0, 0, 0], [500, 0, 0], [0, 500, 0], [0, 0, 500], [500, 500, 0]]), torch.ones(5))
    for _ in range(40):
        module(0.1 * random(2, 6, 3), ALL, draws(), restart=False)
    assert (module.ema_count[1:] < 0.9).all()
    assert (module.embedding.weight[1:].amax(1) > 400).all()
    module(0.1 * random(2, 6, 3), ALL, draws())  # the interval is over again
    assert module.embedding.weight.abs().max() < 1
