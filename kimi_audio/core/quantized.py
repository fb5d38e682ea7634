"""Matrices at 8 or 4 bits, as files and memory hold them.

int8 has one scale per row. int4 has a step and a middle for every 32 values of a row: 16 levels are too few for a row
whose largest value is far from the others.

Shapes: R rows (outputs), C columns (inputs), G groups of a row, C / 32.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Literal, Self, get_args

import torch
from torch import Tensor

Format = Literal["int8", "int4"]
FORMATS: tuple[Format, ...] = get_args(Format)
GROUP_COLUMNS = 32
INT4_ROWS = 16  # the products of torch take multiples of so many rows
_BLOCK_VALUES = 2**22  # are widened to float32 at once


@dataclass(frozen=True)
class Int8:
    """A weight of any number of dimensions at 8 bits."""

    codes: Tensor  # [R, ...] int8
    scale: Tensor  # [R] float32

    @property
    def shape(self) -> torch.Size:
        """Shape of the weight."""
        return self.codes.shape

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.codes.nbytes + self.scale.nbytes

    @property
    def is_finite(self) -> bool:
        """Whether all values were, which it was made of."""
        return bool(self.scale.isfinite().all())

    def to(self, device: torch.device | str) -> Self:
        """Return it on a device."""
        return type(self)(self.codes.to(device), self.scale.to(device))

    def dequantised(self) -> Tensor:
        """Return what it stands for: [R, ...] float32."""
        return self.codes.float().mul_(self.scale.view(-1, *[1] * (self.codes.dim() - 1)))


@dataclass(frozen=True)
class Int4:
    """A matrix at 4 bits: (code - 8) * step + middle."""

    codes: Tensor  # [R, C / 2] uint8, two columns in a byte, the left one in the high half
    groups: Tensor  # [R, G, 2] bfloat16: step and middle

    @property
    def shape(self) -> torch.Size:
        """Shape of the matrix."""
        return torch.Size((self.codes.shape[0], 2 * self.codes.shape[1]))

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.codes.nbytes + self.groups.nbytes

    @property
    def is_finite(self) -> bool:
        """Whether all values were, which it was made of."""
        return bool(self.groups.isfinite().all())

    def to(self, device: torch.device | str) -> Self:
        """Return it on a device."""
        return type(self)(self.codes.to(device), self.groups.to(device))

    def unpacked(self) -> Tensor:
        """Return the codes [R, C] as int32, 0 to 15."""
        return torch.stack((self.codes >> 4, self.codes & 15), -1).flatten(1).to(torch.int32)

    def dequantised(self) -> Tensor:
        """Return what it stands for: [R, C] float32."""
        step, middle = self.groups.float().unsqueeze(-2).unbind(-1)  # [R, G, 1]
        return self.unpacked().unflatten(1, (-1, GROUP_COLUMNS)).sub(8).mul(step).add_(middle).flatten(1)


Quantized = Int8 | Int4
Stored = Tensor | Int8 | Int4


def takes_int4(shape: torch.Size | tuple[int, ...]) -> bool:
    """Tell whether a weight of this shape can be held at 4 bits."""
    return len(shape) == 2 and shape[0] % INT4_ROWS == 0 and shape[1] % GROUP_COLUMNS == 0


def quantized(weight: Stored, wanted: Format) -> Quantized:
    """Return a weight in a format; what is in it already stays as it is."""
    if isinstance(weight, Int8 if wanted == "int8" else Int4):
        return weight
    values = dequantised(weight)
    return quantise_int8(values) if wanted == "int8" else quantise_int4(values)


def dequantised(weight: Stored) -> Tensor:
    """Return an ordinary tensor."""
    return weight if isinstance(weight, Tensor) else weight.dequantised()


def joined(weights: Sequence[Quantized]) -> Quantized:
    """Return the rows of several weights of one format, below one another: [R1 + R2 + ..., ...]; of one, itself."""
    if len(weights) == 1:  # what lies in a file stays there
        return weights[0]
    names = [field.name for field in fields(weights[0])]
    return type(weights[0])(*(torch.cat([getattr(weight, name) for weight in weights]) for name in names))


def quantise_int8(weight: Tensor) -> Int8:
    """Return a weight [R, ...] at 8 bits, the largest value of every row at 127."""

    def convert(rows: Tensor) -> tuple[Tensor, Tensor]:
        scale = rows.abs().amax(1).clamp(min=1e-12) / 127
        return rows.div_(scale[:, None]).round_().to(torch.int8), scale

    codes, scale = _by_blocks(weight.flatten(1), convert)
    return Int8(codes.view(weight.shape), scale)


def quantise_int4(weight: Tensor) -> Int4:
    """Return a matrix [R, C] at 4 bits, the least and the largest value of every group at the ends.

    Raises:
        ValueError: it has another shape, see ``takes_int4``.
    """
    if not takes_int4(weight.shape):
        raise ValueError(f"a weight of the shape {tuple(weight.shape)} cannot be held at 4 bits")

    def convert(rows: Tensor) -> tuple[Tensor, Tensor]:
        rows = rows.unflatten(1, (-1, GROUP_COLUMNS))
        least, largest = rows.amin(-1), rows.amax(-1)
        step = ((largest - least) / 15).clamp(min=1e-12).bfloat16()
        middle = (least + 8 * step.float()).bfloat16()
        # Rounded as they will be read, so that their rounding is made good by the codes.
        codes = rows.sub_(middle.float()[..., None]).div_(step.float()[..., None]).round_().add_(8).clamp_(0, 15)
        left, right = codes.flatten(1).to(torch.uint8).unflatten(1, (-1, 2)).unbind(-1)
        return (left << 4) | right, torch.stack((step, middle), -1)

    return Int4(*_by_blocks(weight, convert))


def _by_blocks(weight: Tensor, convert: Callable[[Tensor], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Convert a matrix by blocks of rows, each as float32 that may be written on: no whole copy of it is made."""
    blocks = weight.split(max(1, _BLOCK_VALUES // max(1, weight.shape[1])))
    first, second = zip(*(convert(block.to(torch.float32, copy=True)) for block in blocks), strict=True)
    return torch.cat(first), torch.cat(second)
