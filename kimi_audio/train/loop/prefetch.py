"""The next batches of a run, made while the last one is learned."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Self, TypeVar

Batch = TypeVar("Batch")
_AHEAD = 2  # batches


class Prefetch(Generic[Batch]):
    """Makes batches in a thread of its own, one after the other; used in a ``with`` statement.

    A batch follows from its number alone, so nothing changes but the time: batches that were made too early when a run
    ends are made again when it goes on.

    Args:
        batch_of: the batch of a number.
        every: the process takes every so manieth number.
        end: of the numbers.
    """

    def __init__(self, batch_of: Callable[[int], Batch], *, every: int, end: int):
        self._batch_of, self._every, self._end = batch_of, every, end
        self._coming: dict[int, Future[Batch]] = {}
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="batches")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._worker.shutdown(cancel_futures=True)

    def __call__(self, number: int) -> Batch:
        """Return a batch; what making it raises is raised here."""
        for wanted in range(number, min(number + (1 + _AHEAD) * self._every, self._end), self._every):
            if wanted not in self._coming:
                self._coming[wanted] = self._worker.submit(self._batch_of, wanted)
        return self._coming.pop(number).result()
