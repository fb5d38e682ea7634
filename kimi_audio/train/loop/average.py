"""The exponential moving average of the weights, which is often better than the last weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The average of the parameters that need gradients; buffers are used as they are.

    Args:
        module: whose parameters are followed.
        decay: share of the average that a step keeps. It is lower at first, (1 + step) / (10 + step), so that the
            random start is soon forgotten.
    """

    def __init__(self, module: nn.Module, decay: float):
        self.decay = decay
        self._parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.weights = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights after ``step`` in."""
        keep = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in self._parameters.items():
            self.weights[name].mul_(keep).add_(parameter, alpha=1 - keep)

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Go on with another average of the same names."""
        for name, weight in self.weights.items():
            weight.copy_(weights[name])

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange average and weights."""
        for name, parameter in self._parameters.items():
            last = parameter.detach().clone()
            parameter.copy_(self.weights[name])
            self.weights[name].copy_(last)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the module have the average for a while."""
        self.swap()
        try:
            yield
        finally:
            self.swap()
