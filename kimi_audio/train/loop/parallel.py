"""Training on several devices and machines: the only place that knows about processes and shards.

``torchrun`` starts one process per device. Every process builds the same module, makes its share of the micro-batches
of every step, and keeps its share of weights, gradients and optimiser state (FSDP2). The members of the named module
lists are gathered one by one, when they are used: they must be called equally often in every process, whatever is in
its micro-batches. Everything else is gathered whole for a step, and may be used by some processes and not by others,
such as what hears audio when some micro-batches have none.

What a module changes by itself in its forward pass, such as the averages of a codebook, is not shared: train that in
one process. In one process, all functions here do nothing.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kimi_audio.train.loop.layers import layers_of

Value = TypeVar("Value")


@contextmanager
def joined(device_type: str = "cpu") -> Iterator[torch.device]:
    """Join the other processes of ``torchrun``, if it runs, and yield the device of this one."""
    if not dist.is_torchelastic_launched():
        yield torch.device(device_type)
        return
    device = torch.device(device_type)
    if device_type != "cpu":
        device = torch.device(device_type, int(os.environ["LOCAL_RANK"]))
        torch.accelerator.set_device_index(device)
    dist.init_process_group()
    try:
        yield device
    finally:
        dist.destroy_process_group()


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process; 0 is the one that logs and saves."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    """Tell whether this is the process that speaks for all, before they have joined, too."""
    return int(os.environ.get("RANK", "0")) == 0 if dist.is_torchelastic_launched() else True


def exchange(value: Value) -> list[Value]:
    """Return the values of all processes in their order."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def first_process(function: Callable[[], Value]) -> Value:
    """Return in all processes what a function returns in the first, which alone calls it; what it raises, all raise."""
    if world_size() == 1:
        return function()
    outcome: list[Any] = [None]
    if rank() == 0:
        try:
            outcome = [(function(), None)]
        except Exception as error:  # noqa: BLE001 - is raised below
            outcome = [(None, error)]
    dist.broadcast_object_list(outcome, src=0)
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


class Whole(nn.Module):
    """A module whose weights are all there while a function runs.

    Args:
        module: is changed: its parameters become shards, if there are several processes.
        sharded_layers: names of module lists whose members are gathered one by one.

    Raises:
        ValueError: there is no such module list.
    """

    def __init__(self, module: nn.Module, sharded_layers: Sequence[str] = ()):
        super().__init__()
        self.module = module
        layers = dict(layers_of(module))
        lists = {name.rpartition(".")[0] for name in layers}
        for name in sharded_layers:
            if name not in lists:
                raise ValueError(f"there is no list of layers {name!r}; there are {', '.join(sorted(lists)) or 'none'}")
        self._layers = {name: m for name, m in layers.items() if name.rpartition(".")[0] in sharded_layers}
        if world_size() > 1:
            self._shard(next(module.parameters()).device.type)

    def _shard(self, device_type: str) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(device_type, (world_size(),))
        for layer in self._layers.values():
            fully_shard(layer, mesh=mesh)
            layer.register_forward_pre_hook(_want_gradient, prepend=True)
        fully_shard(self, mesh=mesh, reshard_after_forward=False)

    def forward(self, function: Callable[[], Value]) -> Value:
        """Return what ``function`` returns."""
        return function()

    def touch(self) -> Tensor | float:
        """Return a zero that depends on everything that is gathered whole; to be called in the function, to add it.

        Without it, a process that did not use a part would have no gradient to share, and the others would wait.
        """
        if world_size() == 1:
            return 0.0
        layers = tuple(f"{name}." for name in self._layers)
        named = self.module.named_parameters()
        used = [p for name, p in named if p.requires_grad and not name.startswith(layers)]
        return torch.stack([p.sum() * 0.0 for p in used]).sum() if used else 0.0

    def share_gradients(self, wanted: bool) -> None:
        """Choose whether the next backward pass shares its gradients, or adds them to what its process keeps whole."""
        if world_size() > 1:
            self.set_requires_gradient_sync(wanted)  # pyright: ignore[reportCallIssue]

    def release(self) -> None:
        """Keep only the shards again, after a function without a backward pass."""
        if world_size() > 1:
            self.reshard()  # pyright: ignore[reportCallIssue]


def _want_gradient(_layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Let the inputs of a layer have gradients in every process.

    Whether they do can depend on the micro-batch, when what makes them is frozen but for the part that hears. In the
    backward pass, processes have to gather and share in the same order: all of them go through all layers, frozen ones
    as well.
    """
    if not torch.is_grad_enabled():
        return inputs
    return tuple(
        x.detach().requires_grad_() if isinstance(x, Tensor) and x.is_floating_point() and not x.requires_grad else x
        for x in inputs
    )


def gathered(state: Any) -> Any:
    """Return nested values with whole tensors in the place of shards, on the CPU; in process 0 only, to save them."""
    if isinstance(state, Mapping):
        return {name: gathered(value) for name, value in state.items()}
    if not hasattr(state, "full_tensor"):
        return state
    tensor = whole_tensor(state)
    return tensor.cpu() if rank() == 0 else None


def whole_tensor(tensor: Tensor) -> Tensor:
    """Return a tensor, put together from its shards if it has some."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor  # pyright: ignore[reportAttributeAccessIssue]


def split_like(state: Mapping[str, Any], example: Mapping[str, Any] | Tensor) -> dict[str, Any]:
    """Return this process's shares of whole tensors.

    Args:
        state: named values.
        example: one of the same name for each, or one for all; what has another shape stays whole.
    """
    return {
        name: _share(value, example.get(name) if isinstance(example, Mapping) else example)
        for name, value in state.items()
    }


def _share(value: Any, example: Any) -> Any:
    if not isinstance(value, Tensor) or not hasattr(example, "full_tensor") or value.shape != example.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    # Every process has read the whole tensor: nothing needs to be sent.
    return distribute_tensor(value.to(example.device), example.device_mesh, example.placements, src_data_rank=None)
