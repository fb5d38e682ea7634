import pytest
import torch
from torch import Tensor

from kimi_audio.core.config import DiTConfig
from kimi_audio.detokenizer.dit import DiT

TINY = DiTConfig.tiny(num_mel_bins=5, num_codes=7)


def random_dit() -> DiT:
    model = DiT(TINY)
    for parameter in model.parameters():  # the initial network answers zero
        torch.nn.init.normal_(parameter, std=0.2)
    return model.requires_grad_(False)


@pytest.mark.reference
def test_velocity_equals_official(dit: DiT, expected: dict[str, Tensor]):
    """The official positions start elsewhere; only distances matter."""
    velocity = dit(expected["dit.x"], expected["dit.tokens"], expected["dit.t"])
    torch.testing.assert_close(velocity, expected["dit.velocity"], atol=1e-4, rtol=1e-4)


def test_released_size():
    with torch.device("meta"):
        model = DiT(
            DiTConfig(num_mel_bins=80, num_codes=16384, hidden_size=2304, num_layers=16, num_heads=18, mlp_ratio=4.0)
        )
    assert len(model.state_dict()) == 171
    assert sum(p.numel() for p in model.parameters()) == 1_584_023_120


def test_starts_at_zero_velocity():
    velocity = DiT(TINY)(torch.randn(1, 4, 5), torch.tensor([[3]]), torch.tensor([100]))
    assert not velocity.any()


def test_token_and_frame_rates_agree():
    model, x = random_dit(), torch.randn(2, 12, 5)
    tokens, time = torch.randint(7, (2, 3)), torch.tensor([10, 500])
    per_frame = model(x, tokens.repeat_interleave(4, dim=1), time[:, None].expand(2, 12))
    torch.testing.assert_close(model(x, tokens, time), per_frame, atol=1e-4, rtol=1e-4)


def test_context_equals_one_masked_pass():
    """Clean frames that do not see the noisy ones, then noisy frames that see all: in one pass or in two."""
    model, x = random_dit(), torch.randn(2, 20, 5)
    tokens = torch.randint(7, (2, 5))
    time = torch.tensor([999, 999, 40, 40, 40]).expand(2, -1)
    mask = torch.ones(20, 20, dtype=torch.bool)
    mask[:8, 8:] = False
    prefix = model.rotate_context(model.encode(x[:, :8], tokens[:, :2]))
    torch.testing.assert_close(
        model(x[:, 8:], tokens[:, 2:], time[:, 2], prefix),
        model(x, tokens, time, mask=mask)[:, 8:],
        atol=1e-4,
        rtol=1e-4,
    )


def test_every_frame_sees_the_whole_context():
    model, tokens = random_dit(), torch.tensor([[1, 2]])
    context = model.encode(torch.randn(1, 8, 5), tokens)
    x, time = torch.randn(1, 8, 5), torch.tensor([7])
    whole = model(x, tokens, time, model.rotate_context(context))
    shorter = model(x, tokens, time, model.rotate_context(context[..., 1:, :]))
    assert ((whole - shorter).abs().amax(-1) > 1e-6).all()


def rows_of(model: DiT) -> tuple[list[list[int]], list[Tensor], Tensor, Tensor]:
    """Three rows of unequal length and context, each at its own time: codes, contexts, noisy frames, times."""
    codes, draw = [[1, 2, 3], [4], [5, 6]], torch.Generator().manual_seed(3)
    contexts = [
        model.encode(torch.randn(1, 4 * past, 5, generator=draw), torch.zeros(1, past, dtype=torch.long))
        if past
        else model.empty_context()
        for past in (2, 5, 0)
    ]
    return codes, contexts, torch.randn(3, 12, 5, generator=draw), torch.tensor([0, 400, 900])


def test_rows_side_by_side_equal_each_alone():
    model = random_dit()
    codes, contexts, x, times = rows_of(model)
    chunk = model.open_chunk(codes, contexts)
    model.velocity(x + 1, times, chunk)  # the memory is written anew by every call
    together = model.velocity(x, times, chunk)
    for row, own in enumerate(codes):
        frames = 4 * len(own)
        alone = model(
            x[row : row + 1, :frames],
            torch.tensor([own]),
            times[row : row + 1],
            model.rotate_context(contexts[row]),
        )
        torch.testing.assert_close(together[row : row + 1, :frames], alone, atol=1e-4, rtol=1e-4)


def test_a_wrong_time_changes_its_row_alone():
    model = random_dit()
    codes, contexts, x, times = rows_of(model)
    right = model.velocity(x, times, model.open_chunk(codes, contexts))
    wrong = model.velocity(x, torch.tensor([0, 401, 900]), model.open_chunk(codes, contexts))
    assert (right - wrong)[1, :4].abs().max() > 1e-3
    torch.testing.assert_close(right[[0, 2]], wrong[[0, 2]], atol=0, rtol=0)


def test_another_rows_tokens_and_padding_are_not_heard():
    model = random_dit()
    codes, contexts, x, times = rows_of(model)
    noisy = x.clone()
    noisy[1, 4:] = 50  # behind the end of the second row
    first = model.velocity(x, times, model.open_chunk(codes, contexts))
    second = model.velocity(noisy, times, model.open_chunk([codes[0], codes[1], [0, 0]], contexts))
    torch.testing.assert_close(first[0], second[0], atol=0, rtol=0)
    torch.testing.assert_close(first[1, :4], second[1, :4], atol=1e-6, rtol=0)
