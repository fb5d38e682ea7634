"""The flow-matching transformer: noisy mel, semantic tokens and time in, velocity out (DiT, Peebles & Xie, 2023).

Shapes: B batch, T mel frames (50 Hz), N tokens (12.5 Hz, T = 4 N; any N that divides T works), M mel bins,
H channels, A heads, D channels per head, P frames of context.

Tokens and time enter only through adaptive layer norm, so its modulations are computed once per token, not per frame.
All frames of one call attend each other and the whole context; nothing is causal inside a call. The context that
a stream keeps holds keys before their rotation: frames are counted from the beginning of whatever context is given,
which makes room for the eviction of old frames without position limits, because rotary attention sees distances only.

Training calls the network with all that it needs. A solver asks for the velocity of the same chunk many times; what
stays the same at all times is computed once (``DiT.open_chunk``), for several streams side by side.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kimi_audio.core.config import DiTConfig
from kimi_audio.core.units import MEL_FRAMES_PER_TOKEN, exact_div

TIME_CHANNELS = 256
CLEAN_TIME = 999  # the integer time at which finished frames are encoded as context


def rotary_tables(start: int, frames: int, channels: int, base: float, device: torch.device) -> Tensor:
    """Return the cosines and sines [2, T, D / 2] of the frames from ``start`` on, in float32."""
    frequencies = base ** (-torch.arange(0, channels, 2, dtype=torch.float32, device=device) / channels)
    angles = torch.arange(start, start + frames, dtype=torch.float32, device=device)[:, None] * frequencies
    return torch.stack([angles.cos(), angles.sin()])


def rotate(x: Tensor, tables: Tensor) -> Tensor:
    """Rotate the interleaved channel pairs of x [..., T, D] by tables [2, T, D / 2]; computed in float32."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = tables
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2).to(x.dtype)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Normalise x [B, T, H] per frame and apply the shift and scale [B, N, H] of the frame's token."""
    x = F.layer_norm(x, x.shape[-1:], eps=1e-6).unflatten(1, (shift.shape[1], -1))
    return torch.addcmul(shift[:, :, None], x, 1 + scale[:, :, None]).flatten(1, 2)


def gated(gate: Tensor, x: Tensor) -> Tensor:
    """Multiply x [B, T, H] by the gate [B, N, H] of the frame's token."""
    return (gate[:, :, None] * x.unflatten(1, (gate.shape[1], -1))).flatten(1, 2)


class TimeEmbedding(nn.Module):
    """Sinusoids of the integer time, then two linear layers."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(TIME_CHANNELS, hidden_size), nn.SiLU(), nn.Linear(hidden_size, hidden_size))

    def forward(self, time: Tensor) -> Tensor:
        """Embed integer times of any shape [...] to [..., H]."""
        half = TIME_CHANNELS // 2
        steps = torch.arange(half, dtype=torch.float32, device=time.device)
        angles = time[..., None].float() * torch.exp(-math.log(10000) * steps / half)
        sinusoids = torch.cat([angles.cos(), angles.sin()], dim=-1)
        return self.mlp(sinusoids.to(next(self.mlp.parameters()).dtype))


class FrameAttention(nn.Module):
    """Multi-head attention of the frames to a prefix and to each other."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self, x: Tensor, tables: Tensor, prefix: Tensor | None, mask: Tensor | None, room: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Attend.

        Args:
            x: [B, T, H].
            tables: rotary tables of the frames [2, T, D / 2].
            prefix: rotated keys and values [2, B, A, P, D].
            mask: True where attention is allowed, broadcastable to [B, A, T, P + T].
            room: instead of a prefix, memory that begins with one and is overwritten behind it [2, B, A, P + T, D].

        Returns:
            The output [B, T, H] and the frames' own keys, not rotated, and values [2, B, A, T, D].
        """
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        (q, k), v = rotate(qkv[:2], tables), qkv[2]
        if room is not None:
            room[0, :, :, -k.shape[2] :], room[1, :, :, -k.shape[2] :] = k, v
            k, v = room
        elif prefix is not None:
            k, v = torch.cat([prefix[0], k], dim=2), torch.cat([prefix[1], v], dim=2)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(y.transpose(1, 2).flatten(2)), qkv[1:]


class Mlp(nn.Module):
    """Two linear layers with tanh-approximated GELU between them."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, int(config.mlp_ratio * config.hidden_size))
        self.fc2 = nn.Linear(int(config.mlp_ratio * config.hidden_size), config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, H] to [B, T, H]."""
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Block(nn.Module):
    """Attention and MLP, each shifted, scaled and gated by the condition."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.attn = FrameAttention(config)
        self.mlp = Mlp(config)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(config.hidden_size, 6 * config.hidden_size))

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        tables: Tensor,
        prefix: Tensor | None,
        mask: Tensor | None,
        room: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Map x [B, T, H] with condition [B, N, H] to the next x; the rest as in ``FrameAttention``."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(condition).chunk(6, dim=-1)
        y, keys_values = self.attn(modulate(x, shift1, scale1), tables, prefix, mask, room)
        x = x + gated(gate1, y)
        return x + gated(gate2, self.mlp(modulate(x, shift2, scale2))), keys_values


class FinalLayer(nn.Module):
    """Modulation and projection to the mel bins."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(config.hidden_size, config.num_mel_bins)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(config.hidden_size, 2 * config.hidden_size))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map x [B, T, H] with condition [B, N, H] to [B, T, M]."""
        shift, scale = self.adaLN_modulation(condition).chunk(2, dim=-1)
        return self.linear(modulate(x, shift, scale))


@dataclass(frozen=True)
class Chunk:
    """The side of a chunk's frames that no time changes. One solver at a time may use it: its memory is overwritten."""

    tokens: Tensor  # embedded codes [B, N, H]
    tables: Tensor  # rotary tables of the frames [2, T, D / 2]
    room: Tensor  # keys and values of the context, and behind them memory for the frames [layers, 2, B, A, P + T, D]
    mask: Tensor | None  # [B, 1, 1, P + T], False where a row has nothing; None if all rows are full


class DiT(nn.Module):
    """The velocity network; parameter names are the released ones (after ``speech_model.``)."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        self.head_size = exact_div(config.hidden_size, config.num_heads)
        self.t_embedder = TimeEmbedding(config.hidden_size)
        self.semantic_token_embedding = nn.Embedding(config.num_codes + 1, config.hidden_size)
        self.input_linear = nn.Linear(config.num_mel_bins, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.final_layer = FinalLayer(config)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start training with every block as the identity and a velocity of zero (adaLN-Zero)."""
        nn.init.normal_(self.semantic_token_embedding.weight, std=0.02)
        for name, parameter in self.named_parameters():
            if "adaLN_modulation" in name or name.startswith("final_layer.linear"):
                nn.init.zeros_(parameter)

    @property
    def null_token(self) -> int:
        """The id that stands for no token (condition dropout in training, guidance in inference)."""
        return self.config.num_codes

    def forward(
        self,
        x: Tensor,
        tokens: Tensor,
        time: Tensor,
        prefix: Tensor | None = None,
        mask: Tensor | None = None,
        start: int | None = None,
    ) -> Tensor:
        """Return the velocity [B, T, M] in float32.

        Args:
            x: noisy normalised mel [B, T, M].
            tokens: codes [B, N], each for T / N successive frames.
            time: integers from 0 (noise) to 999 (clean), one per sample [B] or per token [B, N].
            prefix: rotated keys and values of the context, from ``rotate_context`` [layers, 2, B, A, P, D].
            mask: True where attention is allowed, broadcastable to [B, A, T, P + T]; everywhere by default.
            start: position of the first frame; behind the prefix by default.
        """
        start = (0 if prefix is None else prefix.shape[-2]) if start is None else start
        hidden, condition, _ = self._run(x, tokens, time, prefix, mask, start)
        return self.final_layer(hidden, condition).float()

    @torch.no_grad()
    def open_chunk(self, codes: Sequence[Sequence[int]], contexts: Sequence[Tensor]) -> Chunk:
        """Prepare to ask for the velocity of several streams' chunks, each as if it were alone.

        Args:
            codes: of each row, for 4 successive frames each; any numbers of them. A shorter row is filled up.
            contexts: of each row, not rotated [layers, 2, 1, A, P, D]; any lengths. They end at the same position,
                where the frames begin, and what a shorter one lacks before it is not seen.
        """
        device = self.input_linear.weight.device
        most, past = max(map(len, codes)), max(context.shape[-2] for context in contexts)
        frames = most * MEL_FRAMES_PER_TOKEN
        filled = [[*row, *[self.null_token] * (most - len(row))] for row in codes]
        room = self.empty_context().new_zeros(
            len(self.blocks), 2, len(codes), self.config.num_heads, past + frames, self.head_size
        )
        mask = torch.ones(len(codes), past + frames, dtype=torch.bool, device=device)
        for row, (own, context) in enumerate(zip(codes, contexts, strict=True)):
            begin = past - context.shape[-2]
            room[:, :, row, :, begin:past] = context[:, :, 0]
            mask[row, :begin] = False
            mask[row, past + len(own) * MEL_FRAMES_PER_TOKEN :] = False
        room[:, 0, :, :, :past] = rotate(room[:, 0, :, :, :past], self._tables(0, past))
        tokens = self.semantic_token_embedding(torch.tensor(filled, device=device))
        full = len(set(map(len, codes))) == 1 == len({context.shape[-2] for context in contexts})
        return Chunk(tokens, self._tables(past, frames), room, None if full else mask[:, None, None])

    @torch.no_grad()  # what it would need is overwritten
    def velocity(self, x: Tensor, time: Tensor, chunk: Chunk) -> Tensor:
        """Return the velocity [B, T, M] in float32 of x [B, T, M], each row at its own integer time [B]."""
        condition = self.t_embedder(time)[:, None] + chunk.tokens
        hidden = self.input_linear(x.to(self.input_linear.weight.dtype))
        for block, room in zip(self.blocks, chunk.room, strict=True):
            hidden, _ = block(hidden, condition, chunk.tables, None, chunk.mask, room)
        return self.final_layer(hidden, condition).float()

    def encode(self, mel: Tensor, tokens: Tensor, prefix: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Return finished frames as context [layers, 2, B, A, T, D].

        Args:
            mel: normalised mel [B, T, M].
            tokens: codes [B, N].
            prefix: as in ``forward``.
            mask: as in ``forward``.
        """
        time = torch.full((len(mel),), CLEAN_TIME, device=mel.device)
        start = 0 if prefix is None else prefix.shape[-2]
        return torch.stack(self._run(mel, tokens, time, prefix, mask, start)[2])

    def empty_context(self) -> Tensor:
        """Return a context of no frames [layers, 2, 1, A, 0, D]."""
        weight = self.input_linear.weight
        return weight.new_empty(len(self.blocks), 2, 1, self.config.num_heads, 0, self.head_size)

    def rotate_context(self, context: Tensor) -> Tensor:
        """Turn a context, whose frames count from position 0, into a prefix for ``forward`` and ``encode``."""
        return torch.stack([rotate(context[:, 0], self._tables(0, context.shape[-2])), context[:, 1]], dim=1)

    def _run(
        self,
        x: Tensor,
        tokens: Tensor,
        time: Tensor,
        prefix: Tensor | None,
        mask: Tensor | None,
        start: int,
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        time = time[:, None] if time.dim() == 1 else time
        condition = self.t_embedder(time) + self.semantic_token_embedding(tokens)  # [B, N, H]
        hidden = self.input_linear(x.to(self.input_linear.weight.dtype))
        tables = self._tables(start, x.shape[1])
        context = []
        for layer, block in enumerate(self.blocks):
            layer_prefix = None if prefix is None else prefix[layer]
            hidden, keys_values = block(hidden, condition, tables, layer_prefix, mask)
            context.append(keys_values)
        return hidden, condition, context

    def _tables(self, start: int, frames: int) -> Tensor:
        return rotary_tables(start, frames, self.head_size, self.config.rope_base, self.input_linear.weight.device)
