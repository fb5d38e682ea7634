"""Building of networks whose tensors are only promised, to be given values from a file or to be counted."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

Module = TypeVar("Module", bound=nn.Module)


class _WithoutInitialisation(TorchFunctionMode):
    """Leaves out ``torch.nn.init``: drawing values for meta tensors does nothing, but imports a compiler for it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def build_empty(build: Callable[[], Module]) -> Module:
    """Return a network on the meta device: names, shapes and dtypes, but neither memory nor values."""
    with torch.device("meta"), _WithoutInitialisation():
        return build()
