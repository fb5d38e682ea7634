"""Muon as torch has it, but for its precision: torch orthogonalises in bfloat16 on every device.

A CPU without instructions for bfloat16 emulates them: there, a training step of a small model spends nine tenths of its
time in them.
"""

import math

import torch
from torch import Tensor

from kimi_audio.nn.precision import computes_bf16

_VALUES_TOGETHER = 2**24  # of the matrices that are orthogonalised at once: large ones keep a GPU busy alone


class Muon(torch.optim.Muon):
    """Muon (Jordan et al. 2024), its updates scaled to the size of AdamW's (Liu et al. 2025).

    Args:
        params: matrices.
        lr: the rate.
        weight_decay: of the matrices.
    """

    def __init__(self, params: list[dict], lr: float, weight_decay: float) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update all parameters that have gradients."""
        for group in self.param_groups:
            # The matrices of one shape together: one by one, a GPU waits for the host most of the time.
            alike: dict[tuple[int, ...], list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike.setdefault(tuple(parameter.shape), []).append(parameter)
            for shape, parameters in alike.items():
                size = max(1, _VALUES_TOGETHER // math.prod(shape))
                for start in range(0, len(parameters), size):
                    self._update(group, shape, parameters[start : start + size])

    def _update(self, group: dict, shape: tuple[int, ...], parameters: list[Tensor]) -> None:
        momentum, lr = group["momentum"], group["lr"]
        ahead = []
        for parameter in parameters:
            assert parameter.grad is not None
            buffer = self.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
            buffer.lerp_(parameter.grad, 1 - momentum)
            ahead.append(parameter.grad.lerp(buffer, momentum))
        updates = orthogonalised(torch.stack(ahead), group["ns_coefficients"])
        for parameter, update in zip(parameters, updates, strict=True):
            parameter.mul_(1 - lr * group["weight_decay"])
            parameter.add_(update, alpha=-lr * 0.2 * math.sqrt(max(shape)))


def orthogonalised(matrices: Tensor, coefficients: tuple[float, float, float], steps: int = 5) -> Tensor:
    """Return about the orthogonal matrices nearest to matrices [N, D, H]: singular values near 1, by Newton-Schulz."""
    a, b, c = coefficients
    x = matrices.to(torch.bfloat16 if computes_bf16(matrices.device.type) else torch.float32)
    is_tall = x.shape[-2] > x.shape[-1]
    x = x.mT if is_tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)  # so that no singular value is above 1
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x
