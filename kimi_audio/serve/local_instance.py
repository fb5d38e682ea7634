"""An instance of the model in this process: every job is done by a thread of its own."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from torch import Tensor

from kimi_audio.answers import StreamChunk
from kimi_audio.audio.sources import AudioSource
from kimi_audio.chat import Message
from kimi_audio.core.sequence import AudioTokens
from kimi_audio.lm.rules import GenerationOptions
from kimi_audio.serve.history import within
from kimi_audio.serve.instance import (
    EncodeJob,
    FitJob,
    HearEndJob,
    HearingJob,
    HearJob,
    HearMoreJob,
    Job,
    ListenJob,
    LostError,
    PrefillJob,
    SpeakJob,
    ThinkJob,
    VoiceJob,
    WriteJob,
)
from kimi_audio.transcript.listening import Passage
from kimi_audio.transcript.timed_text import Segment, Timestamps

IsStopped = Callable[[], bool]
Item = TypeVar("Item")
_ROOM_ITEMS = 8  # made and not yet taken
_LOOK_S = 0.5
_CLOSE_S = 10.0  # that jobs have left when they are stopped


class Arriving(Protocol):
    """A recording that is heard while it is spoken; see ``ArrivingAudio``."""

    @property
    def final_tokens(self) -> int:
        """How many tokens no later sound changes."""
        ...

    @property
    def tokens(self) -> AudioTokens:
        """Return these tokens; there must be some."""
        ...

    def push(self, samples: np.ndarray) -> None:
        """Take the next samples [L]."""
        ...

    def finish(self) -> AudioTokens:
        """Return what the model hears in all of it."""
        ...


class Prefilling(Protocol):
    """See ``ReplyEvents``."""

    def reply(self) -> object:
        """Wait for the end."""
        ...


class Cutting(Protocol):
    """See ``CodeChunks``."""

    def push(self, code: int | None, is_final: bool) -> list[tuple[list[int], bool]]:
        """Return the chunks that a code completes."""
        ...

    def may_begin(self, in_hand_s: float, elapsed_s: float) -> bool:
        """Tell whether the sound so far may be played without a gap to be expected."""
        ...


class Speaking(Protocol):
    """See ``SpeechStream``."""

    def render(self, codes: list[int], is_final: bool) -> Tensor:
        """Return the sound of a chunk."""
        ...


class Assistant(Protocol):
    """What the server needs of a model; see ``KimiAudio``."""

    settings: Any  # its ``voices``: names of the voices it speaks with

    @property
    def context_tokens(self) -> int:
        """How long a conversation and its reply may be together."""
        ...

    @property
    def kept_bytes(self) -> int:
        """Memory of earlier turns."""
        ...

    def with_own_engine(self) -> Self:
        """Return the same model, with nothing of what this one does."""
        ...

    def count_tokens(self, messages: Any, output_type: Any) -> int:
        """Return how long a conversation is."""
        ...

    def encode_audio(self, source: AudioSource, most_tokens: int | None = None) -> AudioTokens:
        """Return what the model hears in a recording."""
        ...

    def hear(self, history: None, *, rate_hz: int) -> Arriving:
        """Return what a recording is pushed into while it is spoken."""
        ...

    def default_options(self, output_type: Any) -> GenerationOptions:
        """Return how it replies best."""
        ...

    def reading_options(self) -> GenerationOptions:
        """Return how it reads best."""
        ...

    def think(
        self, messages: Any, options: Any, *, seed: int | None = None, cancelled: IsStopped | None = None
    ) -> Iterator[StreamChunk]:
        """Yield text and codes of a reply while they are made."""
        ...

    def prefill(self, messages: Any, output_type: Any) -> Prefilling:
        """Begin to compute what a reply starts from."""
        ...

    def reading(self, text: str, voice: Any = None, instructions: str = "") -> tuple[list[Message], Any]:
        """Return what asks for a text to be read, and the voice that the detokenizer takes on."""
        ...

    def code_chunks(self) -> Cutting:
        """Return what cuts the codes of a reply into chunks."""
        ...

    def begin_speech(self, voice: Any = None, seed: int | None = None) -> Speaking:
        """Return what makes sound of the chunks of a reply."""
        ...

    def passages(self, source: AudioSource) -> Iterator[Passage]:
        """Yield a recording while it is heard."""
        ...

    def write_down(
        self,
        passage: Passage,
        timestamps: Timestamps = ...,
        *,
        hotwords: Iterable[str] = ...,
        cancelled: IsStopped | None = None,
    ) -> tuple[Segment, ...]:
        """Return what is said in a passage of a recording."""
        ...


class LocalInstance:
    """An instance of any stage, see ``Instance``. Threads that never come back do not keep the process from ending.

    Args:
        assistant: the model, of which the jobs use the part that they need.
    """

    def __init__(self, assistant: Assistant) -> None:
        self._assistant = assistant
        self._lock = threading.Lock()
        self._stops: dict[str, threading.Event] = {}  # of the jobs under way
        self._threads: set[threading.Thread] = set()
        self._hearings: dict[str, Arriving] = {}
        self._speeches: dict[str, Speaking] = {}
        self._is_healthy = True

    @property
    def is_healthy(self) -> bool:
        """Whether no job has failed that could have been done."""
        return self._is_healthy

    @property
    def load(self) -> int:
        """How many jobs are under way."""
        return len(self._stops)

    @property
    def kept_bytes(self) -> int:
        """Memory of earlier jobs from which later ones go on."""
        return self._assistant.kept_bytes

    def cancel(self, job_id: str) -> None:
        """Stop a job, and forget what is kept under its id."""
        with self._lock:
            self._hearings.pop(job_id, None)
            self._speeches.pop(job_id, None)
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
                    self._is_healthy = self._is_healthy and isinstance(error, ValueError | LostError)
                    raise error
                room.release()
                yield item
        finally:
            stop.set()
            self._stops.pop(job_id, None)

    def _results(self, job_id: str, job: Job, is_stopped: IsStopped) -> Iterator[Any]:
        assistant = self._assistant
        match job:
            case EncodeJob() | ListenJob() | HearJob() | HearMoreJob() | HearEndJob():
                yield from self._hear(job_id, job, is_stopped)
            case VoiceJob(voice, seed):
                self._keep(self._speeches, job_id, assistant.begin_speech(voice, seed), is_stopped)
            case SpeakJob(speech_id, codes, is_final):
                yield _kept(self._speeches, speech_id).render(codes, is_final)
            case ThinkJob(messages, options, seed):
                yield from assistant.think(messages, options, seed=seed, cancelled=is_stopped)
            case PrefillJob(messages, kind):
                assistant.prefill(messages, kind).reply()
            case FitJob(opening, messages, kind, room_tokens):
                yield within(opening, messages, room_tokens, lambda some: assistant.count_tokens(some, kind))
            case WriteJob(passage, timestamps, hotwords):
                yield from assistant.write_down(passage, timestamps, hotwords=hotwords, cancelled=is_stopped)

    def _hear(self, job_id: str, job: HearingJob, is_stopped: IsStopped) -> Iterator[AudioTokens | Passage]:
        match job:
            case EncodeJob(sound, most_tokens):
                yield self._assistant.encode_audio(sound, most_tokens)
            case ListenJob(sound):
                yield from self._assistant.passages(sound)
            case HearJob(rate_hz):
                self._keep(self._hearings, job_id, self._assistant.hear(None, rate_hz=rate_hz), is_stopped)
            case HearMoreJob(hearing_id, samples):
                hearing = _kept(self._hearings, hearing_id)
                before = hearing.final_tokens
                hearing.push(samples)
                if hearing.final_tokens > before:
                    yield hearing.tokens
            case HearEndJob(hearing_id):
                yield _kept(self._hearings, hearing_id).finish()

    def _keep(self, kept: dict[str, Item], job_id: str, begun: Item, is_stopped: IsStopped) -> None:
        with self._lock:
            if not is_stopped():
                kept[job_id] = begun


def _kept(kept: dict[str, Item], job_id: str) -> Item:
    found = kept.get(job_id)
    if found is None:
        raise LostError("this instance does not know the beginning of what it is to go on with")
    return found
