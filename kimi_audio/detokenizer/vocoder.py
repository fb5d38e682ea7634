"""BigVGAN (Lee et al., 2023): log-mel at 50 Hz to a waveform at 24 kHz, by periodic activations.

Shapes: B batch, T frames, M mel bins, C channels, L samples of the current stage.

The convolutions hold plain weights. The release stores each of them as magnitude g and direction v (weight
normalisation); ``from_released`` and ``to_released`` convert between the two.
"""

import torch
from torch import Tensor, nn

from kimi_audio.core.config import VocoderConfig
from kimi_audio.detokenizer.activation import TAPS, AntiAliasedSnake, Edges, lowpass_filter


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
