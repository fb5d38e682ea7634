"""The optimiser of the training loop: AdamW, or Muon for the matrices inside the layers and AdamW for the rest."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kimi_audio.train.loop.muon import Muon
from kimi_audio.train.loop.parallel import split_like
from kimi_audio.train.loop.schedule import check_prefixes

LAYER = re.compile(r"(layers|blocks)\.\d+\.")
_POSITIONS = re.compile(r"(^|\.)(embed_)?positions?\w*(\.weight)?$")  # names of tables with a row per position


class Optimizers:
    """Several optimisers, each with parameters of its own, behind the interface of one.

    Args:
        parts: the optimisers.
        factors: of the learning rate, one per group of the parts; by default 1.
    """

    def __init__(self, parts: list[torch.optim.Optimizer], factors: list[float] | None = None):
        self.parts = parts
        self.factors = [1.0] * len(self.param_groups) if factors is None else factors

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all parts."""
        return [group for part in self.parts for group in part.param_groups]

    def set_rate(self, lr: float) -> None:
        """Set the learning rate, times the factor of each group."""
        for group, factor in zip(self.param_groups, self.factors, strict=True):
            group["lr"] = lr * factor

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

    def check(self, state: dict[str, Any]) -> None:
        """Check that a state is one of these parameters in these groups.

        Raises:
            ValueError: it is not.
        """
        fits = len(state) == len(self.parts)
        for saved, part in zip(state.values(), self.parts, strict=False):
            fits &= _sizes(saved["param_groups"]) == _sizes(part.param_groups)
            parameters = [parameter for group in part.param_groups for parameter in group["params"]]
            for index, values in saved["state"].items() if fits else ():
                fits &= all(value.dim() == 0 or value.shape == parameters[index].shape for value in values.values())
        if not fits:
            raise ValueError("its optimiser is that of other parameters")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of all parts from whole tensors, of which a process of several keeps its share."""
        for number, part in enumerate(self.parts):
            saved = state[str(number)]
            parameters = [parameter for group in part.param_groups for parameter in group["params"]]
            shares = {index: split_like(_copied(values), parameters[index]) for index, values in saved["state"].items()}
            part.load_state_dict({**saved, "state": shares})


def build_optimizer(
    module: nn.Module,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
    *,
    muon: bool,
    rates: Mapping[str, float] | None = None,
) -> Optimizers:
    """Return the optimiser of all parameters of ``module`` that need gradients.

    Args:
        module: what is trained.
        lr: the rate.
        betas: of AdamW.
        weight_decay: of matrices. Decay pulls them to zero; for gains, biases and position tables that has no reason.
        muon: orthogonalise the updates of the matrices of linear layers inside module lists, the transformer layers
            (Jordan et al. 2024, scaled to the size of AdamW's updates); everything else stays with AdamW.
        rates: beginning of names to the factor of their rate; the longest that fits counts.

    Raises:
        ValueError: no trained parameter has such a name.
    """
    rates = rates or {}
    trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    check_prefixes(rates, trained)
    adamw: list[dict[str, Any]] = []
    orthogonal: list[dict[str, Any]] = []
    for factor in sorted({_factor(name, rates) for name in trained}):
        chosen = {name: p for name, p in trained.items() if _factor(name, rates) == factor}
        hidden = {name: p for name, p in chosen.items() if muon and p.dim() == 2 and LAYER.search(name)}
        rest = {name: p for name, p in chosen.items() if name not in hidden}
        decayed = {name: p for name, p in rest.items() if p.dim() >= 2 and not _POSITIONS.search(name)}
        spared = [p for name, p in rest.items() if name not in decayed]
        adamw.append({"params": list(decayed.values()), "weight_decay": weight_decay, "factor": factor})
        adamw.append({"params": spared, "weight_decay": 0.0, "factor": factor})
        orthogonal.append({"params": list(hidden.values()), "factor": factor})
    adamw, orthogonal = ([group for group in groups if group["params"]] for groups in (adamw, orthogonal))
    factors = [group.pop("factor") for group in (*adamw, *orthogonal)]
    parts: list[torch.optim.Optimizer] = []
    if adamw:
        parts.append(torch.optim.AdamW(adamw, lr=lr, betas=betas))
    if orthogonal:
        parts.append(Muon(orthogonal, lr, weight_decay))
    return Optimizers(parts, factors)


def _sizes(groups: list[dict[str, Any]]) -> list[int]:
    return [len(group["params"]) for group in groups]


def _copied(values: Mapping[str, Any]) -> dict[str, Any]:
    # A tensor that stayed mapped from the checkpoint would keep the space of a file that is long deleted.
    return {name: value.clone() if isinstance(value, Tensor) else value for name, value in values.items()}


def _factor(name: str, rates: Mapping[str, float]) -> float:
    fitting = [prefix for prefix in rates if name.startswith(prefix)]
    return rates[max(fitting, key=len)] if fitting else 1.0
