"""The vocoder's activation: its textbook form, the cheap one, and the loop that numba compiles."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kimi_audio.detokenizer import activation as module
from kimi_audio.detokenizer.activation import AntiAliasedSnake


@pytest.mark.parametrize("length", [1, 4, 37])
def test_input_edges_equal_the_plain_form_of_an_extended_input(length: int):
    generator = torch.Generator().manual_seed(length)
    x = torch.randn(2, 3, length, dtype=torch.double, generator=generator)
    fast, plain = AntiAliasedSnake(3, "input").double(), AntiAliasedSnake(3, "activated").double()
    fast.act.alpha.data.normal_(generator=generator)
    fast.act.beta.data.normal_(generator=generator)
    plain.load_state_dict(fast.state_dict())
    extended = plain(F.pad(x, (8, 8), mode="replicate"))[..., 8:-8]
    # The filters of both were rounded to float32 before they were put together.
    torch.testing.assert_close(fast(x), extended, rtol=1e-6, atol=1e-6)
    if length > 8:  # the two forms agree away from the edges
        torch.testing.assert_close(fast(x)[..., 4:-4], plain(x)[..., 4:-4])


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_fast_activation_is_exact_up_to_float_rounding(scale: float):
    """Against the plain form in double precision, at least as near as the plain form in float32 within a factor."""
    x = scale * torch.randn(2, 4, 200, generator=torch.Generator().manual_seed(0))
    fast, plain = AntiAliasedSnake(4, "input"), AntiAliasedSnake(4, "activated")
    fast.act.alpha.data = torch.tensor([-2.0, 0.0, 1.0, 2.0])
    fast.act.beta.data = torch.tensor([-2.0, 0.0, 1.0, 2.0])
    plain.load_state_dict(fast.state_dict())
    found, rounded = (module(x)[..., 8:-8].double() for module in (fast, plain))
    exact = plain.double()(x.double())[..., 8:-8]
    assert (found - exact).abs().max() < 2 * (rounded - exact).abs().max() + 1e-6


def test_gradient_of_the_fast_activation():
    activation = AntiAliasedSnake(2, "input").double()
    activation.act.alpha.data.normal_()
    x = torch.randn(2, 2, 9, dtype=torch.double, requires_grad=True)
    parameters = dict(activation.named_parameters())

    def call(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(activation, dict(zip(parameters, values, strict=True)), x)

    assert torch.autograd.gradcheck(call, (x, *parameters.values()))


@torch.no_grad()
def drawn_activation(channels: int) -> AntiAliasedSnake:
    activation = AntiAliasedSnake(channels, "input")
    for parameter in activation.parameters():
        parameter.normal_(generator=torch.Generator().manual_seed(channels))
    return activation


@pytest.mark.parametrize("shape", [(1, 3, 1), (2, 5, 37), (3, 1, 4000), (0, 3, 7)])
@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_fused_activation_equals_the_one_of_torch(shape: tuple[int, int, int], scale: float):
    x = scale * torch.randn(shape, generator=torch.Generator().manual_seed(1))
    activation = drawn_activation(shape[1])
    with torch.inference_mode():
        fused = activation(x)
    torch.testing.assert_close(fused, activation(x).detach(), atol=2e-6 * scale + 2e-6, rtol=1e-5)


def test_fused_activation_reads_any_layout_and_keeps_what_is_broken():
    activation = drawn_activation(3)
    x = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(2)).transpose(1, 2)
    broken = x.clone()
    broken[1, 2, 20] = torch.nan
    with torch.inference_mode():
        torch.testing.assert_close(activation(x), activation(x.contiguous()), atol=0, rtol=0)
        found = activation(broken)
        assert found[1, 2, 20].isnan()
        assert torch.equal(found[0], activation(x)[0])
        assert activation(x[..., :0]).shape == (2, 3, 0)


def test_the_fused_activation_is_used_where_nothing_is_learned(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(module, "fused_snake", lambda x, *_: asked.append(x.shape) or x)
    activation, x = drawn_activation(2), torch.zeros(1, 2, 8)
    activation(x)
    with torch.no_grad():
        activation.double()(x.double())
        assert asked == []
        activation.float()(x)
        assert asked == [x.shape]
        monkeypatch.setattr(torch, "get_num_threads", lambda: module.MOST_THREADS + 1)
        activation(x)
        monkeypatch.undo()
        monkeypatch.setattr(module, "can_compile", lambda: False)
        monkeypatch.setattr(module, "fused_snake", None)
        activation(x)
    assert len(asked) == 1
