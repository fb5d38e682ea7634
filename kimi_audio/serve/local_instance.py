"""An instance of the model in this process: every job is done by a thread of its own."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Protocol, Self

import numpy as np

from kimi_audio.assistant import StreamChunk
from kimi_audio.audio.sources import AudioSource
from kimi_audio.core.sequence import AudioTokens
from kimi_audio.lm.rules import GenerationOptions
from kimi_audio.serve.history import within
from kimi_audio.serve.instance import (
    EncodeJob,
    FitJob,
    HearEndJob,
    HearJob,
    HearMoreJob,
    Job,
    ReplyJob,
    SpeechJob,
    TranscriptJob,
)
from kimi_audio.transcript.timed_text import Timestamps

IsStopped = Callable[[], bool]
_ROOM_ITEMS = 8  # made and not yet taken
_LOOK_S = 0.5
_CLOSE_S = 10.0  # that jobs have left when they are stopped


class Arriving(Protocol):
    """A recording that is heard while it is spoken; see ``ArrivingAudio``."""

    def push(self, samples: np.ndarray) -> None:
        """Take the next samples [L]."""
        ...

    def finish(self) -> AudioTokens:
        """Return what the model hears in all of it."""
        ...


class Assistant(Protocol):
    """What the server needs of a model; see ``KimiAudio``."""

    settings: Any  # its ``voices``: names of the voices it speaks with

    @property
    def context_tokens(self) -> int:
        """How long a conversation and its reply may be together."""
        ...

    def with_own_engine(self) -> Self:
        """Return the same model, with nothing of what this one does."""
        ...

    def count_tokens(self, messages: Any, output_type: Any) -> int:
        """Return how long a conversation is."""
        ...

    def encode_audio(self, source: AudioSource) -> AudioTokens:
        """Return what the model hears in a recording."""
        ...

    def hear(self, history: Any = ..., *, output_type: Any = ..., rate_hz: int = ...) -> Arriving:
        """Return what a recording is pushed into while it is spoken."""
        ...

    def default_options(self, output_type: Any) -> GenerationOptions:
        """Return how it is best used."""
        ...

    def stream(
        self,
        messages: Any,
        options: Any,
        *,
        seed: int | None = None,
        voice: AudioSource | None = None,
        cancelled: IsStopped | None = None,
    ) -> Iterator[StreamChunk]:
        """Yield a reply while it is made."""
        ...

    def stream_speech(
        self,
        text: str,
        *,
        voice: AudioSource | None = None,
        instructions: str = "",
        seed: int | None = None,
        cancelled: IsStopped | None = None,
    ) -> Iterator[StreamChunk]:
        """Yield speech that says a text while it is made."""
        ...

    def listen(
        self, source: AudioSource, timestamps: Timestamps = ..., *, hotwords: Iterable[str] = ...
    ) -> Iterator[Any]:
        """Yield stretches of a recording, with the ``segments`` that are said in them."""
        ...


class LocalInstance:
    """See ``Instance``. Threads that never come back do not keep the process from ending.

    Args:
        assistant: the model.
    """

    def __init__(self, assistant: Assistant) -> None:
        self._assistant = assistant
        self._lock = threading.Lock()
        self._stops: dict[str, threading.Event] = {}  # of the jobs under way
        self._threads: set[threading.Thread] = set()
        self._hearings: dict[str, Arriving] = {}
        self._is_healthy = True

    @property
    def is_healthy(self) -> bool:
        """Whether no job has failed that could have been done."""
        return self._is_healthy

    @property
    def load(self) -> int:
        """How many jobs are under way."""
        return len(self._stops)

    def cancel(self, job_id: str) -> None:
        """Stop a job, and forget what is kept under its id."""
        with self._lock:
            self._hearings.pop(job_id, None)
            if stop := self._stops.get(job_id):
                stop.set()

    def close(self) -> None:
        """Stop all jobs, and wait for them, but not for ever."""
        for job_id in [*self._stops]:
            self.cancel(job_id)
        end_s = time.monotonic() + _CLOSE_S
        for thread in [*self._threads]:
            thread.join(max(0.0, end_s - time.monotonic()))

    async def submit(self, job_id: str, job: Job, deadline_s: float) -> AsyncIterator[Any]:
        """Yield what comes of a job; it is made no more than a little ahead."""
        loop, stop, room = asyncio.get_running_loop(), threading.Event(), threading.Semaphore(_ROOM_ITEMS)
        arrived: asyncio.Queue[tuple[Any, BaseException | None]] = asyncio.Queue()

        def tell(item: Any, error: BaseException | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(arrived.put_nowait, (item, error))

        def is_stopped() -> bool:
            return stop.is_set() or time.monotonic() > deadline_s

        def work() -> None:
            try:
                for item in self._results(job_id, job, is_stopped):
                    tell(item, None)
                    while not room.acquire(timeout=_LOOK_S) and not is_stopped():
                        pass
                    if is_stopped():
                        break
                tell(None, StopAsyncIteration())
            except BaseException as error:  # noqa: BLE001 - it is raised where the items are read
                tell(None, error)
            finally:
                self._threads.discard(threading.current_thread())

        self._stops[job_id] = stop
        try:
            thread = threading.Thread(target=work, name="kimi-audio job", daemon=True)
            self._threads.add(thread)
            thread.start()
            while True:
                item, error = await arrived.get()
                if isinstance(error, StopAsyncIteration):
                    return
                if error is not None:
                    self._is_healthy = self._is_healthy and isinstance(error, ValueError)
                    raise error
                room.release()
                yield item
        finally:
            stop.set()
            self._stops.pop(job_id, None)

    def _results(self, job_id: str, job: Job, is_stopped: IsStopped) -> Iterator[Any]:
        assistant = self._assistant
        match job:
            case ReplyJob(messages, options, voice, seed):
                yield from assistant.stream(messages, options, voice=voice, seed=seed, cancelled=is_stopped)
            case SpeechJob(text, voice, instructions, seed):
                yield from assistant.stream_speech(
                    text, voice=voice, instructions=instructions, seed=seed, cancelled=is_stopped
                )
            case TranscriptJob(sound, timestamps, hotwords):
                for heard in assistant.listen(sound, timestamps, hotwords=hotwords):
                    yield from heard.segments
            case EncodeJob(sound):
                yield assistant.encode_audio(sound)
            case FitJob(opening, messages, kind, room_tokens):
                yield within(opening, messages, room_tokens, lambda some: assistant.count_tokens(some, kind))
            case HearJob(history, kind, rate_hz):
                arriving = assistant.hear(history, output_type=kind, rate_hz=rate_hz)
                with self._lock:
                    if not is_stopped():
                        self._hearings[job_id] = arriving
            case HearMoreJob(hearing_id, samples):
                self._hearing(hearing_id).push(samples)
            case HearEndJob(hearing_id):
                yield self._hearing(hearing_id).finish()

    def _hearing(self, hearing_id: str) -> Arriving:
        found = self._hearings.get(hearing_id)
        if found is None:
            raise ValueError("this instance has not heard the beginning of the recording")
        return found
