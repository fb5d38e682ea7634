"""Matrices at 4 bits whose errors make up for each other: GPTQ (Frantar et al., 2022).

A matrix is rounded column by column. What a column is off by is put right in those that are not rounded yet, as far as
its inputs go together with theirs. How they do is measured while a model answers.

Shapes: R rows, C columns of a matrix, N positions.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from kimi_audio.core.quantized import GROUP_COLUMNS, Int4, quantise_int4

DAMPING = 0.01  # of the mean square of an input, added to all of them


@contextmanager
def measured(lm: nn.Module, names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Collect the second moments X'X [C, C] of what enters linear layers, by the names of their weights."""
    layers = {name: lm.get_submodule(name.removesuffix(".weight")) for name in names}
    moments = {name: torch.zeros(lm.get_parameter(name).shape[1], dtype=torch.float64).diag() for name in layers}

    def add(name: str, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        rows = inputs[0].detach().flatten(0, -2).double()  # [N, C]
        moments[name] += rows.T @ rows

    hooks = [layer.register_forward_pre_hook(partial(add, name)) for name, layer in layers.items()]
    try:
        yield moments
    finally:
        for hook in hooks:
            hook.remove()


def rounded(weight: Tensor, moments: Tensor) -> Int4:
    """Return a matrix [R, C] at 4 bits, of which the products with inputs of these second moments [C, C] change least.

    Raises:
        ValueError: its shape does not suit 4 bits.
    """
    left = weight.double().clone()
    damped = moments + DAMPING * moments.diagonal().mean().clamp_min(1e-12) * torch.eye(len(moments)).to(moments)
    # Row c says how the columns behind c make up for an error in it.
    shares = torch.linalg.cholesky(torch.linalg.inv(damped), upper=True)
    parts: list[Int4] = []
    for begin in range(0, weight.shape[1], GROUP_COLUMNS):
        group = quantise_int4(left[:, begin : begin + GROUP_COLUMNS].float())
        step, middle = group.groups[:, 0].double().unbind(-1)  # [R]
        codes = torch.empty(len(left), GROUP_COLUMNS, dtype=torch.uint8)
        for place in range(GROUP_COLUMNS):
            column = begin + place
            code = ((left[:, column] - middle) / step).round().add(8).clamp(0, 15)
            error = (left[:, column] - (code - 8) * step - middle) / shares[column, column]
            left[:, column + 1 :] -= error[:, None] * shares[column, column + 1 :]
            codes[:, place] = code
        parts.append(Int4(codes[:, ::2] << 4 | codes[:, 1::2], group.groups))
    return Int4(torch.cat([part.codes for part in parts], 1), torch.cat([part.groups for part in parts], 1))
