"""Engines give batches to a model: in this process, or in worker processes that may die without harm."""

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
from typing import Protocol, Self

import torch

from kimi_audio.audio.io import Samples
from kimi_audio.evals.contract.types import Clip, Model, Options, Prediction, Sample
from kimi_audio.evals.registry import ModelSpec

logger = logging.getLogger(__name__)

MAX_DEATHS = 5  # of one worker's processes in a row; then its device is taken to be broken


@dataclass(frozen=True)
class Reply:
    """One answer of a batch."""

    sample: Sample
    prediction: Prediction
    batch: int  # samples that were answered together


class Engine(Protocol):
    """Answers batches in any order; knows which model answers."""

    name: str
    revision: str
    family: str
    hears: bool  # False: the sound of the samples is not needed, for the answers are there
    at_once: int  # samples that it wants at least at once, if it answers several at the same time

    def answer(self, batches: Iterable[Sequence[Sample]], options: Options) -> Iterator[Reply]:
        """Yield one reply per sample, as they become known."""
        ...


def one_line(error: BaseException) -> str:
    """Return what happened, for a row or a message."""
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__


def answer_batch(model: Model, samples: Sequence[Sample], options: Options) -> list[Reply]:
    """Answer a batch; if that fails, every sample alone, so that one of them does not take the others along."""
    started = time.perf_counter()
    try:
        predictions = list(model.generate(samples, options))
        if len(predictions) != len(samples):
            raise RuntimeError(f"the model gave {len(predictions)} answers to {len(samples)} samples")
    except Exception as error:  # noqa: BLE001 - an adapter may raise anything, and the run goes on
        if len(samples) > 1:
            return [reply for sample in samples for reply in answer_batch(model, [sample], options)]
        predictions = [Prediction(error=one_line(error))]
    took_s = time.perf_counter() - started
    return [
        Reply(
            sample, prediction if prediction.total_s is not None else replace(prediction, total_s=took_s), len(samples)
        )
        for sample, prediction in zip(samples, predictions, strict=True)
    ]


@dataclass
class Here:
    """The engine of this process."""

    model: Model
    hears: bool = True

    def __post_init__(self) -> None:
        self.name, self.revision, self.family = self.model.name, self.model.revision, self.model.family
        self.at_once = getattr(self.model, "at_once", 1)

    def answer(self, batches: Iterable[Sequence[Sample]], options: Options) -> Iterator[Reply]:
        """Yield one reply per sample."""
        for batch in batches:
            yield from answer_batch(self.model, batch, options)


# ---------------------------------------------------------------------------------------------------------------------
# Worker processes


@dataclass(frozen=True)
class _Job:
    samples: tuple[Sample, ...]
    is_retry: bool = False


@dataclass(frozen=True)
class _Ready:
    name: str
    revision: str
    family: str


@dataclass(frozen=True)
class _LoadError:
    reason: str


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

    def receive(self) -> "_Ready | _LoadError | list[Reply] | None":
        """Return its message, or None if it died."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None

    def end(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join()


class Pool:
    """The engine of several processes, one per entry of ``devices``.

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
            self._identify()
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

    def _identify(self) -> None:
        """Wait until one process has loaded the model."""
        while self._workers and not any(worker.is_ready for worker in self._workers):
            assert not list(self._events())
        if not self._workers:
            raise RuntimeError(self._reason)

    def answer(self, batches: Iterable[Sequence[Sample]], options: Options) -> Iterator[Reply]:
        """Yield one reply per sample, as they become known."""
        self._queue = deque(_Job(tuple(_plain(sample) for sample in batch)) for batch in batches)
        while self._queue or any(worker.job for worker in self._workers):
            if not self._workers:
                yield from self._give_up()
                return
            for worker in self._workers:
                if worker.is_ready and worker.job is None and self._queue:
                    worker.give(self._queue.popleft(), options, self.timeout_s)
            yield from self._events()

    def _events(self) -> Iterator[Reply]:
        """Wait for messages, deaths and deadlines, and deal with them."""
        connections: list[Connection] = [worker.connection for worker in self._workers]
        patience_s = min(worker.deadline_s for worker in self._workers) - time.monotonic()
        ready = wait(connections, None if patience_s == float("inf") else max(0.0, patience_s))
        for worker in list(self._workers):
            if worker.connection in ready:
                yield from self._hear(worker)
            elif time.monotonic() > worker.deadline_s:
                yield from self._bury(worker, f"no answer within {self.timeout_s:g} s")

    def _hear(self, worker: _Worker) -> Iterator[Reply]:
        message = worker.receive()
        if isinstance(message, _Ready):
            worker.is_ready = True
            self.name, self.revision, self.family = message.name, message.revision, message.family
        elif isinstance(message, _LoadError):
            self._reason = message.reason
            logger.warning(
                "%s does not load on %s: %s", worker.spec.name, worker.device or "its default device", self._reason
            )
            self._dismiss(worker)
        elif message is None:
            worker.process.join()
            yield from self._bury(worker, f"the worker process died (exit code {worker.process.exitcode})")
        else:
            worker.job, worker.deadline_s, worker.deaths = None, float("inf"), 0
            yield from message

    def _bury(self, worker: _Worker, reason: str) -> Iterator[Reply]:
        """Save the batch of a dead or stuck worker and start it again."""
        logger.warning("%s on %s: %s", worker.spec.name, worker.device or "its default device", reason)
        job, worker.deaths = worker.job, worker.deaths + 1
        worker.end()
        if job and job.is_retry:
            yield Reply(job.samples[0], Prediction(error=f"{reason}, twice"), 1)
        elif job:
            self._queue.extend(_Job((sample,), is_retry=True) for sample in job.samples)
        if worker.deaths < MAX_DEATHS:
            worker.start()
        else:
            self._reason = f"{reason}, {worker.deaths} times in a row"
            self._dismiss(worker)

    def _dismiss(self, worker: _Worker) -> None:
        worker.end()
        self._workers.remove(worker)

    def _give_up(self) -> Iterator[Reply]:
        for job in self._queue:
            for sample in job.samples:
                yield Reply(sample, Prediction(error=f"no worker is left: {self._reason}"), 1)


def _serve(connection: Connection, spec: ModelSpec, device: str | None, threads: int) -> None:
    """Be a worker: load the model, then answer until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one ends the others
    torch.set_num_threads(threads)
    try:
        model = spec.load(device)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        connection.send(_LoadError(one_line(error)))
        return
    connection.send(_Ready(model.name, model.revision, model.family))
    while True:
        try:
            samples, options = connection.recv()
        except EOFError:
            return
        replies = answer_batch(model, samples, options)
        connection.send([replace(reply, prediction=_plain_speech(reply.prediction)) for reply in replies])


def _plain(sample: Sample) -> Sample:
    """Return the sample with numpy arrays: tensors would travel in shared memory, which dies with its owner."""
    return replace(sample, audio=tuple(_plain_clip(clip) for clip in sample.audio))


def _plain_speech(prediction: Prediction) -> Prediction:
    return replace(prediction, speech=None if prediction.speech is None else _plain_clip(prediction.speech))


def _plain_clip(clip: Clip) -> Clip:
    if isinstance(clip, Samples) and isinstance(clip.array, torch.Tensor):
        return Samples(clip.array.detach().cpu().numpy(), clip.rate_hz)
    return clip
