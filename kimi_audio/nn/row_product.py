"""Products of large matrices with a single row on a CPU, as compiled loops: in about half of torch's time on a core.

A decoding step of one request is made of such products, and bound by how fast the matrices are read. Neighbouring
values are read as one number of 32 bits: two of bfloat16, which are floats by a shift and by a mask, or four of int8.

Shapes: R rows of a matrix (outputs), C columns (inputs).
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from numpy import float32, int32, uint32
from numpy.typing import NDArray
from torch import Tensor, nn

from kimi_audio.core.loops import can_compile, compiled

MOST_THREADS = 2  # of torch, which shares a matrix among them; a loop uses one, twice as well
FEWEST_VALUES = 2**17  # of smaller matrices, most of the time is that of the call
FEWEST_INT8 = 700_000  # torch's own product of smaller ones, as of all that nano has, is as fast
ZERO, RIGHT_MASK = float32(0), uint32(0xFFFF0000)
BITS_8, BITS_16, BITS_24 = int32(8), int32(16), int32(24)


class Linear(nn.Linear):
    """A linear layer that multiplies single rows in bfloat16 by the loop, where nothing is learned."""

    def forward(self, input: Tensor) -> Tensor:
        """[..., C] -> [..., R]."""
        if input.numel() == self.in_features and self._is_for_loop(input):
            return row_product(input, self.weight, self.bias)
        return super().forward(input)

    def _is_for_loop(self, x: Tensor) -> bool:
        is_bfloat16 = x.dtype == self.weight.dtype == torch.bfloat16
        return is_bfloat16 and not torch.is_grad_enabled() and _suits(self.weight, 2, FEWEST_VALUES)


def _suits(weight: Tensor, columns: int, fewest: int) -> bool:
    """Tell whether a loop that reads so many columns at once is to multiply by a matrix."""
    if weight.device.type != "cpu" or weight.numel() < fewest or weight.shape[1] % columns:
        return False
    if torch.compiler.is_compiling():  # torch makes its own loops then
        return False
    is_aligned = weight.storage_offset() % columns == 0 and weight.data_ptr() % 4 == 0
    is_readable = weight.is_contiguous() and is_aligned
    return is_readable and torch.get_num_threads() <= MOST_THREADS and can_compile()


def suits_int8(codes: Tensor) -> bool:
    """Tell whether ``int8_row_product`` is the faster way to multiply by a matrix [R, C]."""
    return _suits(codes, 4, FEWEST_INT8)


def int8_row_product(x: Tensor, codes: Tensor) -> Tensor:
    """Return [1, R] in float32 of one row x [1, C] and a matrix [R, C] in int8, without a gradient."""
    fourths = x.detach().float().view(-1, 4).T.contiguous()
    y = torch.empty(1, len(codes))
    _compiled_int8()(fourths.numpy(), codes.view(torch.int32).numpy(), y[0].numpy())
    return y


def row_product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return [..., R] in bfloat16, summed in float32, of one row x [..., C] and a weight [R, C], without a gradient."""
    halves = x.detach().float().view(-1, 2).T.contiguous()
    pairs = weight.detach().view(torch.int32).numpy().view(uint32)
    y = torch.empty(len(weight))
    _compiled()(halves.numpy(), pairs, y.numpy())
    y = y if bias is None else y + bias.detach()
    return y.bfloat16().view(*x.shape[:-1], -1)


def _multiply(x: NDArray[float32], pairs: NDArray[uint32], y: NDArray[float32]) -> None:
    """Write into y [R] the products with x, its even columns and its odd ones [2, C / 2]; pairs are [R, C / 2]."""
    for row in range(len(pairs)):
        even, odd = ZERO, ZERO
        for column in range(pairs.shape[1]):
            pair = pairs[row, column]
            even += x[0, column] * uint32(pair << uint32(16)).view(np.float32)
            odd += x[1, column] * uint32(pair & RIGHT_MASK).view(np.float32)
        y[row] = even + odd


def _multiply_int8(x: NDArray[float32], fours: NDArray[int32], y: NDArray[float32]) -> None:
    """Write into y [R] the products with x, every fourth column in a row [4, C / 4]; fours are [R, C / 4]."""
    for row in range(len(fours)):
        first, second, third, fourth = ZERO, ZERO, ZERO, ZERO
        for column in range(fours.shape[1]):
            four = fours[row, column]
            first += x[0, column] * float32(int32(four << BITS_24) >> BITS_24)
            second += x[1, column] * float32(int32(four << BITS_16) >> BITS_24)
            third += x[2, column] * float32(int32(four << BITS_8) >> BITS_24)
            fourth += x[3, column] * float32(four >> BITS_24)
        y[row] = first + second + third + fourth


@cache
def _compiled_int8() -> Callable[..., None]:
    return compiled(_multiply_int8, "void(f4[:,::1], i4[:,::1], f4[::1])", "contract", "reassoc")


@cache
def _compiled() -> Callable[..., None]:
    return compiled(_multiply, "void(f4[:,::1], u4[:,::1], f4[::1])", "contract", "reassoc")
