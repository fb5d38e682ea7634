import dataclasses
import math

import pytest
import torch
from torch import Tensor

from kimi_audio.core.config import VocoderConfig
from kimi_audio.core.units import OUTPUT_SAMPLES_PER_MEL_FRAME
from kimi_audio.detokenizer.activation import lowpass_filter
from kimi_audio.detokenizer.vocoder import BigVGAN, from_released, to_released

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


def test_autocast_trains():
    model = BigVGAN(NANO)
    with torch.autocast("cpu", torch.bfloat16):
        wav = model(torch.randn(1, 4, 80))
    wav.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
