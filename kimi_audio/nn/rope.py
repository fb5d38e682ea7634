"""Rotary positions in the half-split form: channel i turns together with channel i + size / 2."""

import torch
from torch import Tensor


def rotary_tables(positions: Tensor, head_size: int, base: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return cosines and sines, [B, 1, T, head_size], for positions [B, T].

    Angles are float32, the tables are rounded to ``dtype`` (the model's), as the official code does. They are
    computed from the positions and not kept: a stored table would bound the context and break on meta-device
    construction.
    """
    exponents = torch.arange(0, head_size, 2, device=positions.device).float() / head_size
    angles = positions[:, None, :, None].float() * (1.0 / base**exponents)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn queries or keys [B, heads, T, head_size]; the result keeps the dtype of ``x``."""
    first, second = x.chunk(2, dim=-1)
    return x * cos.to(x.dtype) + torch.cat((-second, first), dim=-1) * sin.to(x.dtype)
