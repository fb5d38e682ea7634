"""SnakeBeta at twice the rate, between two low-pass filters: the activation of BigVGAN (Lee et al., 2023).

Shapes: B batch, C channels, L samples.
"""

import math
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kimi_audio.core.loops import can_compile
from kimi_audio.detokenizer.fused_snake import EDGE, PHASE_TAPS, fused_snake

TAPS = 2 * PHASE_TAPS  # of the anti-aliasing filter, for the upsampling as well as for the downsampling
MOST_THREADS = 4  # of torch, which shares a signal among them; the fused activation uses one, five times as well

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
@torch.inference_mode(False)
def _phases() -> tuple[Tensor, Tensor]:
    """Return the taps of the two polyphase parts of the filter, upsampling and downsampling: [2, 6] each."""
    down = lowpass_filter().view(-1, 2).T.contiguous()
    return 2 * down.flip(1), down


def _each_phase() -> Iterator[tuple[list[float], list[float]]]:
    """Yield the taps of each phase, upsampling and downsampling."""
    return zip(*(taps.tolist() for taps in _phases()), strict=True)


def _may_be_fused(x: Tensor, a: Tensor) -> bool:
    is_plain = x.dtype == a.dtype == torch.float32 and x.device.type == "cpu" and not torch.is_grad_enabled()
    return is_plain and torch.get_num_threads() <= MOST_THREADS and can_compile()


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
        for up, down in _each_phase():
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
        for up, down in _each_phase():
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
        if _may_be_fused(x, a):
            return fused_snake(x, a, b, *_phases())
        return _AntiAliasedSnake.apply(x, a, b)
