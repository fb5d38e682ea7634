"""Discriminators for adversarial vocoder training: multi-period (HiFi-GAN) and multi-resolution (UnivNet, BigVGAN).

Each returns, per sub-discriminator, a map of scores and the hidden features that feature matching compares.
Shapes: B batch, L samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

SLOPE = 0.1  # of the leaky ReLU


@dataclass(frozen=True)
class Judgement:
    """What one sub-discriminator says: scores near 1 for recorded sound, near 0 for rendered sound."""

    scores: Tensor
    features: list[Tensor]


class PeriodDiscriminator(nn.Module):
    """Looks at every ``period``-th sample, in columns."""

    def __init__(self, period: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.period = period
        strides = [3] * (len(channels) - 1) + [1]
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv2d(before, after, (5, 1), (stride, 1), padding=(2, 0)))
            for before, after, stride in zip([1, *channels[:-1]], channels, strides, strict=True)
        )
        self.post = weight_norm(nn.Conv2d(channels[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, wav: Tensor) -> Judgement:
        """Judge wav [B, L]."""
        x = F.pad(wav[:, None], (0, -wav.shape[-1] % self.period), mode="reflect")
        return _judge(x.unflatten(-1, (-1, self.period)), self.convs, self.post)


class ResolutionDiscriminator(nn.Module):
    """Looks at the magnitudes of one short-time Fourier transform, given by its size, hop and window in samples."""

    def __init__(self, resolution: tuple[int, int, int], channels: int) -> None:
        super().__init__()
        self.resolution = resolution
        kernels = [(3, 9), (3, 9), (3, 9), (3, 9), (3, 3)]  # time, frequency
        self.convs = nn.ModuleList(
            weight_norm(
                nn.Conv2d(channels if n else 1, channels, kernel, (1, 2 if n in (1, 2, 3) else 1), (1, kernel[1] // 2))
            )
            for n, kernel in enumerate(kernels)
        )
        self.post = weight_norm(nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, wav: Tensor) -> Judgement:
        """Judge wav [B, L]."""
        size, hop, width = self.resolution
        window = torch.hann_window(width, device=wav.device)
        spectrum = torch.stft(wav.float(), size, hop, width, window=window, return_complex=True)
        magnitude = (spectrum.real**2 + spectrum.imag**2 + 1e-9).sqrt()  # [B, F, T]
        return _judge(magnitude.mT[:, None], self.convs, self.post)


class Discriminators(nn.Module):
    """All sub-discriminators.

    Args:
        periods: one period discriminator for each.
        period_channels: of their layers.
        resolutions: (transform size, hop, window) in samples, one resolution discriminator for each.
        resolution_channels: of their layers.
    """

    def __init__(
        self,
        periods: Sequence[int] = (2, 3, 5, 7, 11),
        period_channels: Sequence[int] = (32, 128, 512, 1024, 1024),
        resolutions: Sequence[tuple[int, int, int]] = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240)),
        resolution_channels: int = 32,
    ) -> None:
        super().__init__()
        self.parts = nn.ModuleList(
            [
                *(PeriodDiscriminator(period, period_channels) for period in periods),
                *(ResolutionDiscriminator(resolution, resolution_channels) for resolution in resolutions),
            ]
        )

    def forward(self, wav: Tensor) -> list[Judgement]:
        """Judge wav [B, L]."""
        return [part(wav) for part in self.parts]


def _judge(x: Tensor, convs: nn.ModuleList, post: nn.Module) -> Judgement:
    features = []
    for conv in convs:
        x = F.leaky_relu(conv(x), SLOPE)
        features.append(x)
    return Judgement(post(x), features)


def discriminator_loss(real: list[Judgement], fake: list[Judgement]) -> Tensor:
    """Return the least-squares loss of judging recordings as 1 and renderings as 0."""
    pairs = zip(real, fake, strict=True)
    return torch.stack([(1 - r.scores).square().mean() + f.scores.square().mean() for r, f in pairs]).sum()


def generator_loss(fake: list[Judgement]) -> Tensor:
    """Return the least-squares loss of renderings not being judged as recordings."""
    return torch.stack([(1 - f.scores).square().mean() for f in fake]).sum()


def feature_matching_loss(real: list[Judgement], fake: list[Judgement]) -> Tensor:
    """Return the distance of the hidden features of renderings from those of their recordings."""
    pairs = [pair for r, f in zip(real, fake, strict=True) for pair in zip(r.features, f.features, strict=True)]
    return torch.stack([(r.detach() - f).abs().mean() for r, f in pairs]).sum()
