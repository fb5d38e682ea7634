"""The model behind an event loop: its blocking work happens in threads, and what it makes arrives as it is made."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

import numpy as np

from kimi_audio.assistant import StreamChunk
from kimi_audio.audio.sources import AudioSource
from kimi_audio.core.sequence import AudioTokens
from kimi_audio.lm.rules import GenerationOptions
from kimi_audio.transcript.timed_text import Segment, Timestamps

Item = TypeVar("Item")
IsStopped = Callable[[], bool]
_ROOM_ITEMS = 8  # made and not yet taken
_DETECTING_THREADS = 2


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


class ModelThreads:
    """Runs blocking iterators in threads of its own.

    Args:
        assistant: the model.
        threads: how many iterators run at once; others wait.
    """

    def __init__(self, assistant: Assistant, threads: int) -> None:
        self.assistant = assistant
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="kimi-audio serve")
        self._detecting = ThreadPoolExecutor(_DETECTING_THREADS, thread_name_prefix="kimi-audio turns")
        self._running: set[threading.Event] = set()

    async def call(self, function: Callable[..., Item], *arguments: Any) -> Item:
        """Return what a blocking function returns."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def detect(self, function: Callable[..., Item], *arguments: Any) -> Item:
        """Return what a function returns that takes a moment only and may not wait behind those that take long."""
        return await asyncio.get_running_loop().run_in_executor(self._detecting, function, *arguments)

    async def stream(self, start: Callable[[IsStopped], Iterator[Item]]) -> AsyncIterator[Item]:
        """Yield what a blocking iterator yields; it is made no more than a little ahead.

        Args:
            start: returns the iterator; it is given a function that tells when nobody reads any more.
        """
        loop, stop, room = asyncio.get_running_loop(), threading.Event(), threading.Semaphore(_ROOM_ITEMS)
        arrived: asyncio.Queue[tuple[Item | None, BaseException | None]] = asyncio.Queue()

        def tell(item: Item | None, error: BaseException | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(arrived.put_nowait, (item, error))

        def work() -> None:
            try:
                for item in start(stop.is_set):
                    tell(item, None)
                    while not room.acquire(timeout=0.5) and not stop.is_set():
                        pass
                    if stop.is_set():
                        break
                tell(None, StopAsyncIteration())
            except BaseException as error:  # noqa: BLE001 - it is raised where the items are read
                tell(None, error)

        self._running.add(stop)
        try:
            self._pool.submit(work)
            while True:
                item, error = await arrived.get()
                if isinstance(error, StopAsyncIteration):
                    return
                if error is not None:
                    raise error
                room.release()
                yield item  # pyright: ignore[reportReturnType] - without an error it is an item
        finally:
            stop.set()
            self._running.discard(stop)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being made."""
        return not self._running

    def close(self) -> None:
        """Stop everything that runs."""
        for stop in [*self._running]:
            stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._detecting.shutdown(wait=True, cancel_futures=True)

    # -----------------------------------------------------------------------------------------------------------------
    # What routes ask for

    def reply(
        self, messages: list[Any], options: GenerationOptions, voice: AudioSource | None = None, seed: int | None = None
    ) -> AsyncIterator[StreamChunk]:
        """Yield a reply to a conversation; arguments as for ``Assistant.stream``."""
        stream = self.assistant.stream
        return self.stream(lambda stopped: stream(messages, options, voice=voice, seed=seed, cancelled=stopped))

    def speech(self, text: str, **options: Any) -> AsyncIterator[StreamChunk]:
        """Yield speech that says a text; options as for ``Assistant.stream_speech``."""
        return self.stream(lambda stopped: self.assistant.stream_speech(text, **options, cancelled=stopped))

    def transcript(
        self, sound: AudioSource, timestamps: Timestamps = "segment", hotwords: Iterable[str] = ()
    ) -> AsyncIterator[Segment]:
        """Yield what is said in a recording, segment by segment."""
        heard = self.assistant.listen
        return self.stream(
            lambda _: (segment for one in heard(sound, timestamps, hotwords=hotwords) for segment in one.segments)
        )


async def all_of(items: AsyncIterator[Item]) -> list[Item]:
    """Return all items of an iterator, and close it."""
    async with aclosing(items) as open_items:  # pyright: ignore[reportArgumentType] - they are generators
        return [item async for item in open_items]
