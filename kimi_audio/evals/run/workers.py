"""A model in several worker processes, each with its own copy; any of them may die without harm."""

import logging
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Self

import torch

from kimi_audio.audio.io import Samples
from kimi_audio.evals.contract.keys import Clip, one_line
from kimi_audio.evals.contract.types import EvalSample, Options
from kimi_audio.evals.registry import ModelSpec
from kimi_audio.evals.run.backends import answer_batch
from kimi_audio.evals.run.store import SampleAnswer

logger = logging.getLogger(__name__)

MAX_DEATHS = 5  # of one worker's processes in a row; then its device is taken to be broken


@dataclass(frozen=True)
class _Job:
    samples: tuple[EvalSample, ...]
    is_retry: bool = False


@dataclass(frozen=True)
class _Hello:
    """The first message of a worker: who its model is, or why there is none."""

    name: str = ""
    revision: str = ""
    family: str = ""
    fault: str = ""


class _Worker:
    """A process with its own model. After a death it is started again, until it has died too often in a row."""

    def __init__(self, spec: ModelSpec, device: str | None, threads: int) -> None:
        self.spec, self.device, self.threads = spec, device, threads
        self.deaths = 0
        self.start()

    def start(self) -> None:
        # CUDA survives no fork of a process that uses it; the fork server has imported all and used nothing.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self.connection, theirs = context.Pipe()
        arguments = (theirs, self.spec, self.device, self.threads)
        self.process = context.Process(target=_serve, args=arguments, daemon=True)
        self.process.start()
        theirs.close()  # so that the end of the process is the end of the pipe
        self.is_ready = False
        self.job: _Job | None = None
        self.deadline_s = float("inf")

    def give(self, job: _Job, options: Options, timeout_s: float | None) -> None:
        self.job = job
        self.deadline_s = time.monotonic() + timeout_s if timeout_s else float("inf")
        with suppress(OSError):  # it has just died; the end of its pipe is noticed next
            self.connection.send((job.samples, options))

    def receive(self) -> "_Hello | list[SampleAnswer] | None":
        """Return its message, or None if it died."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None

    def warn(self, what: str, reason: str) -> None:
        logger.warning("%s%s on %s: %s", self.spec.name, what, self.device or "its default device", reason)

    def end(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join()


class WorkerPool:
    """The backend of several processes, one per entry of ``devices``.

    If a process dies or takes longer than ``timeout_s`` for a batch, each sample of its batch is asked once more, alone
    and by whichever process is free; a sample that takes a second process along has failed.

    Scripts that use it need the usual ``if __name__ == "__main__":``.

    Raises:
        RuntimeError: no process could load the model.
    """

    hears, at_once = True, 1

    def __init__(self, spec: ModelSpec, devices: Sequence[str | None], timeout_s: float | None = None) -> None:
        assert devices
        self.timeout_s = timeout_s
        threads = max(1, (os.cpu_count() or 1) // len(devices))
        self._workers = [_Worker(spec, device, threads) for device in devices]
        self._reason = ""  # why the last worker was given up
        self._queue: deque[_Job] = deque()
        try:
            while self._workers and not any(worker.is_ready for worker in self._workers):
                assert not list(self._events())
            if not self._workers:
                raise RuntimeError(self._reason)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.end()
        self._workers = []

    def answer(self, batches: Iterable[Sequence[EvalSample]], options: Options) -> Iterator[SampleAnswer]:
        """Yield one answer per sample, as they become known."""
        # Arrays instead of tensors, which would travel in shared memory that dies with its owner.
        plain = (tuple(replace(one, audio=tuple(map(_plain, one.audio))) for one in batch) for batch in batches)
        self._queue = deque(map(_Job, plain))
        while self._queue or any(worker.job for worker in self._workers):
            if not self._workers:
                for sample in (sample for job in self._queue for sample in job.samples):
                    yield SampleAnswer(id=sample.id, error=f"no worker is left: {self._reason}")
                return
            for worker in self._workers:
                if worker.is_ready and worker.job is None and self._queue:
                    worker.give(self._queue.popleft(), options, self.timeout_s)
            yield from self._events()

    def _events(self) -> Iterator[SampleAnswer]:
        """Wait for messages, deaths and deadlines, and deal with them."""
        connections: list[Connection] = [worker.connection for worker in self._workers]
        patience_s = min(worker.deadline_s for worker in self._workers) - time.monotonic()
        ready = wait(connections, None if patience_s == float("inf") else max(0.0, patience_s))
        for worker in list(self._workers):
            if worker.connection in ready:
                yield from self._hear(worker)
            elif time.monotonic() > worker.deadline_s:
                yield from self._bury(worker, f"no answer within {self.timeout_s:g} s")

    def _hear(self, worker: _Worker) -> Iterator[SampleAnswer]:
        message = worker.receive()
        if message is None:
            worker.process.join()
            yield from self._bury(worker, f"the worker process died (exit code {worker.process.exitcode})")
        elif not isinstance(message, _Hello):
            worker.job, worker.deadline_s, worker.deaths = None, float("inf"), 0
            yield from message
        elif message.fault:
            worker.warn(" does not load", message.fault)
            self._dismiss(worker, message.fault)
        else:
            worker.is_ready = True
            self.name, self.revision, self.family = message.name, message.revision, message.family

    def _bury(self, worker: _Worker, reason: str) -> Iterator[SampleAnswer]:
        """Save the batch of a dead or stuck worker and start it again."""
        worker.warn("", reason)
        job, worker.deaths = worker.job, worker.deaths + 1
        worker.end()
        if job and job.is_retry:
            yield SampleAnswer(id=job.samples[0].id, error=f"{reason}, twice")
        elif job:
            self._queue.extend(_Job((sample,), is_retry=True) for sample in job.samples)
        if worker.deaths < MAX_DEATHS:
            worker.start()
        else:
            self._dismiss(worker, f"{reason}, {worker.deaths} times in a row")

    def _dismiss(self, worker: _Worker, reason: str) -> None:
        self._reason = reason
        worker.end()
        self._workers.remove(worker)


def _serve(connection: Connection, spec: ModelSpec, device: str | None, threads: int) -> None:
    """Be a worker: load the model, then answer until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one ends the others
    torch.set_num_threads(threads)
    try:
        model = spec.load(device)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        connection.send(_Hello(fault=one_line(error)))
        return
    connection.send(_Hello(model.name, model.revision, model.family))
    with suppress(EOFError):
        while True:
            samples, options = connection.recv()
            answers = answer_batch(model, samples, options)
            connection.send([replace(answer, speech=_plain(answer.speech)) for answer in answers])


def _plain(clip: Clip | None) -> Clip | None:
    if isinstance(clip, Samples) and isinstance(clip.array, torch.Tensor):
        return replace(clip, array=clip.array.detach().cpu().numpy())
    return clip
