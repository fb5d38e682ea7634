"""Muon as torch has it, but for its precision: torch orthogonalises in bfloat16 on every device.

A CPU without instructions for bfloat16 emulates them: there, a training step of a small model spends nine tenths of its
time in them.
"""

import math

import torch
from torch import Tensor

from kimi_audio.nn.precision import computes_bf16


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
            momentum, lr = group["momentum"], group["lr"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                buffer = state.setdefault("momentum_buffer", torch.zeros_like(parameter.grad))
                buffer.lerp_(parameter.grad, 1 - momentum)
                update = orthogonalised(parameter.grad.lerp(buffer, momentum), group["ns_coefficients"])
                parameter.mul_(1 - lr * group["weight_decay"])
                parameter.add_(update, alpha=-lr * 0.2 * math.sqrt(max(parameter.shape)))


def orthogonalised(matrix: Tensor, coefficients: tuple[float, float, float], steps: int = 5) -> Tensor:
    """Return about the orthogonal matrix nearest to a matrix [D, H]: singular values near 1, by Newton-Schulz."""
    a, b, c = coefficients
    x = matrix.to(torch.bfloat16 if computes_bf16(matrix.device.type) else torch.float32)
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = x.mT if is_tall else x
    x = x / x.norm().clamp(min=1e-7)  # so that no singular value is above 1
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x
