"""The layers of any network (the members of its module lists), changed from outside for the time of a training run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def layers_of(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the members of all module lists with their names; what is inside a layer belongs to the layer."""
    for child_name, child in module.named_children():
        child_name = f"{name}.{child_name}" if name else child_name
        if isinstance(module, nn.ModuleList) and not isinstance(child, nn.ModuleList):
            yield child_name, child
        else:
            yield from layers_of(child, child_name)


@contextmanager
def economical_layers(module: nn.Module, *, checkpointed: bool, compile_backend: str | None) -> Iterator[None]:
    """Checkpoint and compile every layer; names and weights stay as they are.

    Args:
        module: whatever has layers.
        checkpointed: remember the inputs of a layer only, and compute it again in the backward pass.
        compile_backend: of ``torch.compile``, such as "inductor"; None does not compile.
    """
    layers = [layer for _, layer in layers_of(module)] if checkpointed or compile_backend else []
    for layer in layers:
        forward = layer.forward
        if checkpointed:
            forward = _recomputed(forward)
        if compile_backend:
            forward = torch.compile(forward, backend=compile_backend)
        layer.forward = forward  # the attribute of the object hides the method of its class
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **options: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **options)
        return checkpoint(forward, *args, use_reentrant=False, **options)

    return run
