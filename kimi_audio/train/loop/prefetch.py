"""The next batches of a run, made while the last one is learned."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields, replace
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

Batch = TypeVar("Batch")
_AHEAD = 2  # batches, of the thread; and of every process


class Prefetch(Generic[Batch]):
    """Makes batches beside the training, in their order; used in a ``with`` statement.

    A batch follows from its number alone, so nothing changes but the time: batches that were made too early when a run
    ends are made again when it goes on.

    Args:
        batch_of: the batch of a number, on the CPU.
        every: the process takes every so manieth number.
        end: of the numbers.
        device: where the batches are moved to.
        processes: forked, that make batches; with none, a thread makes them, which a GPU soon outruns.
    """

    def __init__(
        self,
        batch_of: Callable[[int], Batch],
        *,
        end: int,
        every: int = 1,
        device: torch.device | str = "cpu",
        processes: int = 0,
    ):
        self._batch_of, self._every, self._end = batch_of, every, end
        self._device, self._processes = device, processes
        self._coming: dict[int, Future[Batch]] = {}
        self._loaded: Iterator[Batch] | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="batches")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._worker.shutdown(cancel_futures=True)
        self._loaded = None  # which ends the processes

    def __call__(self, number: int) -> Batch:
        """Return a batch; what making it raises is raised here."""
        if self._processes and self._loaded is None:
            self._loaded = iter(_loader(self._batch_of, range(number, self._end, self._every), self._processes))
        for wanted in range(number, min(number + (1 + _AHEAD) * self._every, self._end), self._every):
            if wanted not in self._coming:
                self._coming[wanted] = self._worker.submit(self._make, wanted)
        return self._coming.pop(number).result()

    def _make(self, number: int) -> Batch:
        batch = self._batch_of(number) if self._loaded is None else next(self._loaded)
        return moved(batch, self._device)


def moved(batch: Batch, device: torch.device | str) -> Batch:
    """Return a batch on a device: what its ``to`` returns, or the dataclass with its tensors moved."""
    if torch.device(device).type == "cpu":
        return batch
    known: Any = batch
    if hasattr(known, "to"):
        return known.to(device)
    tensors = {field.name: getattr(known, field.name) for field in fields(known)}
    return replace(known, **{name: value.to(device) for name, value in tensors.items() if isinstance(value, Tensor)})


class _Numbered(Dataset[Batch]):
    def __init__(self, batch_of: Callable[[int], Batch]):
        self._batch_of = batch_of

    def __getitem__(self, number: int) -> Batch:
        return self._batch_of(number)


def _loader(batch_of: Callable[[int], Batch], numbers: range, processes: int) -> DataLoader[Batch]:
    return DataLoader(
        _Numbered(batch_of),
        batch_size=None,
        sampler=numbers,
        num_workers=processes,
        prefetch_factor=_AHEAD,
        multiprocessing_context="fork",  # what makes batches is open already and need not be sent to anybody
    )
