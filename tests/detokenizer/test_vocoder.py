import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kimi_audio.core.config import VocoderConfig
from kimi_audio.core.units import OUTPUT_SAMPLES_PER_MEL_FRAME
from kimi_audio.detokenizer.vocoder import (
    AntiAliasedSnake,
    BigVGAN,
    from_released,
    lowpass_filter,
    to_released,
)

RELEASED = VocoderConfig(
    num_mels=80,
    n_fft=1024,
    win_size=1024,
    fmin=0,
    fmax=None,
    upsample_initial_channel=2048,
    upsample_rates=(5, 2, 2, 2, 2, 3, 2),
    upsample_kernel_sizes=(9, 4, 4, 4, 4, 5, 4),
    resblock_kernel_sizes=(3, 5, 7, 11),
    resblock_dilation_sizes=((1, 3, 5),) * 4,
)
NANO = dataclasses.replace(
    RELEASED,
    upsample_initial_channel=64,
    upsample_rates=(5, 4, 4, 3, 2),
    upsample_kernel_sizes=(9, 8, 8, 5, 4),
    resblock_kernel_sizes=(3, 7),
    resblock_dilation_sizes=((1, 3),) * 2,
)


@pytest.mark.reference
def test_waveform_equals_official(vocoder: BigVGAN, expected: dict[str, Tensor]):
    wav = vocoder(expected["vocoder.mel"][None])
    torch.testing.assert_close(wav, expected["vocoder.wav"], atol=1e-3, rtol=0)


@pytest.mark.reference
def test_filter_equals_released(released_vocoder: dict[str, Tensor]):
    filters = [tensor for name, tensor in released_vocoder.items() if name.endswith(".filter")]
    assert all(torch.allclose(tensor.flatten(), lowpass_filter(), atol=1e-7, rtol=0) for tensor in filters)


@pytest.mark.reference
def test_export_has_released_names_shapes_and_weights(vocoder: BigVGAN, released_vocoder: dict[str, Tensor]):
    exported = to_released(vocoder.state_dict())
    assert {n: t.shape for n, t in exported.items()} == {n: t.shape for n, t in released_vocoder.items()}
    again = from_released(exported)
    for name, tensor in vocoder.state_dict().items():
        torch.testing.assert_close(again[name], tensor)


def test_foreign_filter_is_refused():
    with pytest.raises(ValueError, match="low-pass"):
        from_released({"activation_post.upsample.filter": torch.full((1, 1, 12), 1 / 12)})


def test_released_size():
    with torch.device("meta"):
        released = to_released(BigVGAN(RELEASED).state_dict())
    assert len(released) == 1206
    assert sum(t.numel() for n, t in released.items() if not n.endswith(".filter")) == 241_114_721


@pytest.mark.parametrize(
    "config",
    [NANO, dataclasses.replace(NANO, upsample_rates=(8, 5, 4, 3), upsample_kernel_sizes=(16, 9, 8, 5))],
)
def test_length_follows_the_rates(config: VocoderConfig):
    assert math.prod(config.upsample_rates) == OUTPUT_SAMPLES_PER_MEL_FRAME
    assert BigVGAN(config)(torch.randn(2, 7, 80)).shape == (2, 7 * OUTPUT_SAMPLES_PER_MEL_FRAME)


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


def test_autocast_trains():
    model = BigVGAN(NANO)
    with torch.autocast("cpu", torch.bfloat16):
        wav = model(torch.randn(1, 4, 80))
    wav.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
