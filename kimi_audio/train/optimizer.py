"""The optimiser of the training loop: AdamW, or Muon for the matrices inside the layers and AdamW for the rest."""

import re
from typing import Any

import torch
from torch import nn

LAYER = re.compile(r"(layers|blocks)\.\d+\.")


class Optimizers:
    """Several optimisers, each with parameters of its own, behind the interface of one."""

    def __init__(self, parts: list[torch.optim.Optimizer]):
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all parts."""
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def step(self) -> None:
        """Update all parameters."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all parts."""
        return {str(number): part.state_dict() for number, part in enumerate(self.parts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of all parts."""
        for number, part in enumerate(self.parts):
            part.load_state_dict(state[str(number)])


def build_optimizer(
    module: nn.Module, lr: float, betas: tuple[float, float], weight_decay: float, *, muon: bool
) -> Optimizers:
    """Return the optimiser of all parameters of ``module`` that need gradients.

    Args:
        module: what is trained.
        lr: the rate, the same for all.
        betas: of AdamW.
        weight_decay: of matrices. Decay pulls them to zero; for gains, biases and position tables that has no reason.
        muon: orthogonalise the updates of the matrices of linear layers inside module lists, the transformer layers
            (Jordan et al. 2024, scaled to the size of AdamW's updates); everything else stays with AdamW.
    """
    trained = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    hidden = [p for name, p in trained if muon and p.dim() == 2 and LAYER.search(name)]
    rest = [p for _, p in trained if not any(p is other for other in hidden)]
    groups = [
        {"params": [p for p in rest if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0},
    ]
    parts: list[torch.optim.Optimizer] = [torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, betas=betas)]
    if hidden:
        parts.append(torch.optim.Muon(hidden, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"))
    return Optimizers(parts)
