"""BigVGAN (Lee et al., 2023): log-mel at 50 Hz to a waveform at 24 kHz, by periodic activations.

Shapes: B batch, T frames, M mel bins, C channels, L samples of the current stage.

The convolutions hold plain weights. The release stores each of them as magnitude g and direction v (weight
normalisation); ``from_released`` and ``to_released`` convert between the two.
"""

import math
from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kimi_audio.core.config import VocoderConfig

TAPS = 12  # of the anti-aliasing filter, for the upsampling as well as for the downsampling
EDGE = 5  # samples by which each edge must be extended so that no output depends on missing input

Edges = Literal["input", "activated"]


@cache
@torch.inference_mode(False)  # what is kept must be usable in training, too
def lowpass_filter() -> Tensor:
    """Return the Kaiser-windowed sinc, cutoff a quarter of the doubled rate, summing to 1: [12]."""
    cutoff, transition = 0.25, 4 * 0.3
    attenuation = 2.285 * (TAPS // 2 - 1) * math.pi * transition + 7.95
    window = torch.kaiser_window(TAPS, periodic=False, beta=0.1102 * (attenuation - 8.7), device="cpu")
    time = torch.arange(-TAPS // 2, TAPS // 2, device="cpu") + 0.5
    taps = 2 * cutoff * window * torch.sinc(2 * cutoff * time)
    return taps / taps.sum()


@cache
def _phases() -> tuple[tuple[list[float], list[float]], ...]:
    """Return the two polyphase parts of the filter as (upsampling, downsampling) taps, 6 each."""
    taps = lowpass_filter()
    return tuple(((2 * taps[p::2].flip(0)).tolist(), taps[p::2].tolist()) for p in (0, 1))


def _extended(x: Tensor) -> Tensor:
    """Replicate both edges: [..., L] to [..., L + 10]. A third of the time of ``F.pad``."""
    y = x.new_empty(*x.shape[:-1], x.shape[-1] + 2 * EDGE)
    y[..., EDGE:-EDGE] = x
    y[..., :EDGE] = x[..., :1]
    y[..., -EDGE:] = x[..., -1:]
    return y


def _filter(x: Tensor, taps: list[float]) -> Tensor:
    """Correlate with few taps: [..., L] to [..., L - len(taps) + 1]. Sums of shifts beat depthwise convs."""
    length = x.shape[-1] - len(taps) + 1
    y = x[..., :length] * taps[0]
    for k, tap in enumerate(taps[1:], 1):
        y.add_(x[..., k : k + length], alpha=tap)
    return y


def _filter_transposed(g: Tensor, taps: list[float]) -> Tensor:
    """The gradient of ``_filter`` with respect to its input: [..., L] to [..., L + len(taps) - 1]."""
    length = g.shape[-1]
    x = g.new_zeros(*g.shape[:-1], length + len(taps) - 1)
    for k, tap in enumerate(taps):
        x[..., k : k + length].add_(g, alpha=tap)
    return x


class _AntiAliasedSnake(torch.autograd.Function):
    """Twofold upsampling, u + b sin²(a u), twofold downsampling, with the input replicated beyond its edges.

    The doubled signal never exists: its samples before and at each input sample form two phases, which are
    computed, activated and filtered down one after the other. As b sin²(a u) = b / 2 - b / 2 cos(2 a u), and the
    filter leaves constants as they are, the phases need the cosine only. The backward pass recomputes them.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """Map x [B, C, L] with a, b [C, 1] to [B, C, L]."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        extended = _extended(x.to(dtype))
        ctx.save_for_backward(extended, a, b)
        ctx.dtype = x.dtype
        y, twice, half = None, 2 * a, b / 2
        for up, down in _phases():
            u = _filter(extended, up)
            u.addcmul_((u * twice).cos_(), half, value=-1)
            phase = _filter(u, down)
            y = phase if y is None else y.add_(phase)
        assert y is not None
        return y.add_(half).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        extended, a, b = ctx.saved_tensors
        grad = grads[0].to(extended.dtype)
        grad_a, grad_b = torch.zeros_like(a), torch.zeros_like(b)
        grad_extended = torch.zeros_like(extended)
        for up, down in _phases():
            u, g = _filter(extended, up), _filter_transposed(grad, down)
            grad_b += (g * (u * a).sin_().square_()).sum((0, 2))[:, None]
            slope = (u * (2 * a)).sin_().mul_(g)
            grad_a += slope.mul(u).sum((0, 2))[:, None] * b
            grad_extended += _filter_transposed(g.add_(slope.mul_(a * b)), up)
        grad_x = grad_extended[..., EDGE:-EDGE].clone()
        grad_x[..., 0] += grad_extended[..., :EDGE].sum(-1)
        grad_x[..., -1] += grad_extended[..., -EDGE:].sum(-1)
        return grad_x.to(ctx.dtype), grad_a, grad_b


def _plain_anti_aliased_snake(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The textbook form, which replicates the activated signal, not the input: [B, C, L]."""
    channels = x.shape[1]
    taps = lowpass_filter().to(x).expand(channels, 1, TAPS)
    up = F.conv_transpose1d(F.pad(x, (5, 5), mode="replicate"), 2 * taps, stride=2, groups=channels)[..., 15:-15]
    activated = F.pad(up + b * (up * a).sin().square(), (5, 6), mode="replicate")
    return F.conv1d(activated, taps, stride=2, groups=channels)


class SnakeBeta(nn.Module):
    """The parameters of x + sin²(αx) / β per channel, both stored as logarithms."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))


class AntiAliasedSnake(nn.Module):
    """SnakeBeta at twice the rate, between two low-pass filters: [B, C, L] to [B, C, L]."""

    def __init__(self, channels: int, edges: Edges) -> None:
        super().__init__()
        self.act = SnakeBeta(channels)
        self.edges = edges

    def forward(self, x: Tensor) -> Tensor:
        """Activate x [B, C, L]."""
        a = self.act.alpha.exp()[:, None]
        b = 1 / (self.act.beta.exp()[:, None] + 1e-9)
        if self.edges == "activated":
            return _plain_anti_aliased_snake(x, a, b)
        return _AntiAliasedSnake.apply(x, a, b)


class AMPBlock(nn.Module):
    """Residual dilated convolutions with periodic activations: [B, C, L] to [B, C, L]."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...], edges: Edges) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, dilation=d, padding=d * (kernel - 1) // 2) for d in dilations
        )
        self.convs2 = nn.ModuleList(nn.Conv1d(channels, channels, kernel, padding=(kernel - 1) // 2) for _ in dilations)
        self.activations = nn.ModuleList(AntiAliasedSnake(channels, edges) for _ in range(2 * len(dilations)))

    def forward(self, x: Tensor) -> Tensor:
        """Add the residuals to x [B, C, L]."""
        for n, (dilated, plain) in enumerate(zip(self.convs1, self.convs2, strict=True)):
            hidden = dilated(self.activations[2 * n](x))
            x = x + plain(self.activations[2 * n + 1](hidden))
        return x


class BigVGAN(nn.Module):
    """The vocoder. Parameters have the released names, with ``weight`` for ``weight_g`` and ``weight_v``.

    Args:
        config: the architecture.
        edges: what continues beyond the ends of a signal inside each activation: its input (as in the CUDA
            kernel that the official package runs), or the activated signal (as in the plain PyTorch form).
            The outputs differ in a few samples at both ends.
    """

    def __init__(self, config: VocoderConfig, edges: Edges = "input") -> None:
        super().__init__()
        self.config = config
        channels = config.upsample_initial_channel
        self.conv_pre = nn.Conv1d(config.num_mels, channels, 7, padding=3)
        self.ups = nn.ModuleList()  # of lists of one, as the release names them
        self.resblocks = nn.ModuleList()  # all kernels of the first stage, then those of the second, ...
        for rate, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
            up = nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding=(kernel - rate) // 2)
            self.ups.append(nn.ModuleList([up]))
            channels //= 2
            for size, dilations in zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True):
                self.resblocks.append(AMPBlock(channels, size, dilations, edges))
        self.activation_post = AntiAliasedSnake(channels, edges)
        self.conv_post = nn.Conv1d(channels, 1, 7, padding=3, bias=False)
        self.blocks_per_stage = len(config.resblock_kernel_sizes)

    def forward(self, mel: Tensor) -> Tensor:
        """Return the waveform [B, 480 T] within [-1, 1] of a natural-log mel spectrogram [B, T, M]."""
        x = self.conv_pre(mel.transpose(1, 2))
        for stage, up in enumerate(self.ups):
            x = up[0](x)  # pyright: ignore[reportIndexIssue]
            first = stage * self.blocks_per_stage
            blocks = self.resblocks[first : first + self.blocks_per_stage]
            x = sum((block(x) for block in blocks[1:]), start=blocks[0](x)) / self.blocks_per_stage
        x = self.conv_post(self.activation_post(x))
        return x.clamp(-1, 1)[:, 0]


def from_released(released: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert the released tensors to those of ``BigVGAN``: fold the weight norm, drop the filters.

    What does not fit together keeps its released name, so that the comparison with the network tells it.

    Raises:
        ValueError: a filter differs from the one that this module computes.
    """
    state = {}
    for name, tensor in released.items():
        if name.endswith(".filter"):
            taps = tensor.flatten().float()
            if len(taps) != TAPS or not torch.allclose(taps, lowpass_filter(), atol=1e-4):
                raise ValueError(f"vocoder: {name} is not the 12-tap low-pass filter of BigVGAN")
        elif name.endswith(".weight_g"):
            direction = released.get(name.removesuffix("g") + "v")
            if direction is None or tensor.shape != _norm(direction).shape:
                state[name] = tensor
            else:
                state[name.removesuffix("_g")] = tensor * direction / _norm(direction)
        elif not name.endswith(".weight_v"):
            state[name] = tensor
    return state


def to_released(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert the tensors of ``BigVGAN`` to the released names: the inverse of ``from_released``."""
    released = {}
    for name, tensor in state.items():
        if name.endswith(".weight"):
            released[name + "_g"] = _norm(tensor)
            released[name + "_v"] = tensor
        else:
            released[name] = tensor
        if name.endswith(".act.beta"):
            filters = lowpass_filter().to(tensor).view(1, 1, TAPS)
            activation = name.removesuffix(".act.beta")
            released[f"{activation}.upsample.filter"] = filters.clone()
            released[f"{activation}.downsample.lowpass.filter"] = filters.clone()
    return released


def _norm(weight: Tensor) -> Tensor:
    """Return the norm over all dimensions but the first: [C, ...] to [C, 1, ...]."""
    return torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.dim())), keepdim=True)
