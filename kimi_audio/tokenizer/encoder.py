"""The Whisper encoder: the trunk of the semantic tokenizer and the whole acoustic encoder.

Shapes: B windows, T frames at 50 Hz, M mel bands, D channels, H heads, K channels per head. Parameter names are those
of the released checkpoints.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kimi_audio.core.config import EncoderConfig


class SelfAttention(nn.Module):
    """Multi-head attention without a bias on the keys, as Whisper has it."""

    def __init__(self, hidden_size: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = nn.Linear(hidden_size, hidden_size)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size)
        self.out_proj = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attend. x: [B, T, D]; mask: [B, 1, T, T], True where a query (row) may see a key."""
        q, k, v = (  # [B, H, T, K]
            projection(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(out.transpose(1, 2).flatten(-2))


class EncoderLayer(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.self_attn_layer_norm = nn.LayerNorm(config.hidden_size)
        self.self_attn = SelfAttention(config.hidden_size, config.num_heads)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size)
        self.fc1 = nn.Linear(config.hidden_size, config.ffn_size)
        self.fc2 = nn.Linear(config.ffn_size, config.hidden_size)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Transform x: [B, T, D]."""
        x = x + self.self_attn(self.self_attn_layer_norm(x), mask)
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))


class WhisperEncoder(nn.Module):
    """Two convolutions (the second halves the rate to 50 Hz), positions, transformer layers.

    Args:
        config: sizes.
        num_layers: how many layers are built; the semantic tokenizer stops at its pooling.
        causal_convolution: pad on the left only, so that no frame sees later sound.
    """

    def __init__(self, config: EncoderConfig, num_layers: int, *, causal_convolution: bool):
        super().__init__()
        self.padding = (2, 0) if causal_convolution else (1, 1)
        self.conv1 = nn.Conv1d(config.num_mel_bins, config.hidden_size, kernel_size=3)
        self.conv2 = nn.Conv1d(config.hidden_size, config.hidden_size, kernel_size=3, stride=2)
        self.embed_positions = nn.Embedding(config.max_frames, config.hidden_size)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(num_layers))

    def init_positions(self, scale: float) -> None:
        """Set the positions to ``scale`` times Whisper's sinusoids, from which training starts."""
        with torch.no_grad():
            self.embed_positions.weight.copy_(scale * sinusoids(*self.embed_positions.weight.shape))

    def encode(self, mel: Tensor, mask: Tensor | None) -> Tensor:
        """Encode windows.

        Args:
            mel: [B, M, 2T].
            mask: [B or 1, 1, T, T] attention mask, or None when every frame sees every frame.

        Returns:
            [B, T, D] after the last layer, before any final norm.
        """
        x = F.gelu(self.conv1(F.pad(mel, self.padding)))
        x = F.gelu(self.conv2(F.pad(x, self.padding))).mT
        x = x + self.embed_positions.weight[: x.shape[1]]
        for layer in self.layers:
            x = layer(x, mask)
        return x


def key_mask(valid_frames: Tensor, frames: int) -> Tensor:
    """Return [B, 1, 1, T], True for the frames before each window's end. valid_frames: [B]."""
    return (torch.arange(frames, device=valid_frames.device) < valid_frames[:, None])[:, None, None]


def sinusoids(length: int, channels: int) -> Tensor:
    """Return Whisper's fixed positions [length, channels]: sines, then cosines, periods from 2 pi to 10,000 * 2 pi."""
    step = math.log(10_000) / (channels // 2 - 1)
    angles = torch.arange(length)[:, None] * torch.exp(-step * torch.arange(channels // 2))[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)
