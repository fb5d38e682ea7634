"""The loop around the engine's steps, and a thread for it: one engine for callers in any thread."""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Self

import torch

from kimi_audio.core.sequence import Sequence
from kimi_audio.lm.engine import Engine, Request
from kimi_audio.lm.rules import Event, GenerationOptions, Reply


class StepLoop:
    """Hands requests to an engine and their events back. Whoever calls ``run`` makes the steps."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.RLock()  # a forgotten iterator may be collected, and cancel, while it is held
        self._new: list[tuple[Request, Callable[[Event], object]]] = []
        self._given_up: list[Request] = []
        self._is_running = False

    @property
    def kept_bytes(self) -> int:
        """Memory of finished requests that is kept for those that begin alike."""
        return self._engine.prefixes.num_bytes

    def start(
        self,
        prompt: Sequence,
        options: GenerationOptions | None = None,
        generator: torch.Generator | None = None,
    ) -> "ReplyEvents":
        """Return the events of a reply, for any thread to read; arguments and errors as for ``Engine.prepare``."""
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        request = self._engine.prepare(prompt, options, generator)
        self._submit(request, events.put)
        return ReplyEvents(request, events, self._cancel)

    def check(self, prompt: Sequence, options: GenerationOptions, generator: torch.Generator | None = None) -> None:
        """Raise what ``start`` would raise."""
        self._engine.prepare(prompt, options, generator)

    def _submit(self, request: Request, tell: Callable[[Event], object]) -> None:
        with self._lock:
            self._new.append((request, tell))

    def _cancel(self, request: Request) -> None:
        with self._lock:
            if self._new or self._is_running:
                self._given_up.append(request)

    def run(self) -> None:
        """Make steps until all replies are over."""
        self._is_running = True
        listeners: dict[int, tuple[Request, Callable[[Event], object]]] = {}
        while True:
            with self._lock:
                new, given_up = self._new, self._given_up
                self._new, self._given_up = [], []
                if not new and self._engine.is_idle:
                    self._is_running = False
                    return
            for request, tell in new:
                listeners[request.number] = request, tell
                self._engine.admit(request)
            for request in given_up:
                self._engine.cancel(request)
            for event in self._step(listeners):
                request, tell = listeners.pop(event.row) if event.is_last else listeners[event.row]
                try:
                    tell(event)
                except RuntimeError:  # its event loop is closed
                    self._engine.cancel(request)

    def _step(self, listeners: Iterable[int]) -> list[Event]:
        """Make a step; what goes wrong beyond a single request ends all of them, and nobody waits for ever."""
        try:
            return self._engine.step()
        except Exception as error:  # noqa: BLE001 - the thread has no caller to raise it to
            self._engine.clear()
            return [Event(row, error=error) for row in listeners]


class EngineThread(StepLoop):
    """A loop in a thread of its own.

    The thread begins with the first request and ends with the last one, so there is nothing to close, and nothing
    stays behind. Replies do not wait for their readers.
    """

    async def stream(
        self,
        prompt: Sequence,
        options: GenerationOptions | None = None,
        generator: torch.Generator | None = None,
    ) -> AsyncIterator[Event]:
        """Yield the events of a reply in an event loop; to stop reading ends the reply. Otherwise as ``start``."""
        loop, events = asyncio.get_running_loop(), asyncio.Queue[Event]()
        request = await asyncio.to_thread(self._engine.prepare, prompt, options, generator)
        self._submit(request, lambda event: loop.call_soon_threadsafe(events.put_nowait, event))
        try:
            while not (event := await events.get()).is_last:
                yield event
            yield _good(event)
        finally:
            self._cancel(request)

    def _submit(self, request: Request, tell: Callable[[Event], object]) -> None:
        with self._lock:
            super()._submit(request, tell)
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self.run, name="kimi-audio engine", daemon=True).start()


class ReplyEvents(Iterator[Event], AbstractContextManager["ReplyEvents"]):
    """The events of one reply as they are made. Leaving the context, or forgetting the iterator, ends the reply."""

    def __init__(self, request: Request, events: "queue.SimpleQueue[Event]", cancel: Callable[[Request], None]) -> None:
        self._request, self._events, self._cancel = request, events, cancel
        self.is_over = False  # the last event was read
        self._last: Event | None = None
        self._is_cancelled = False

    def __next__(self) -> Event:
        if self._last is not None:
            _good(self._last)
            raise StopIteration
        event = self._events.get()
        while self._is_cancelled and not event.is_last:  # what was made before the engine knew
            event = self._events.get()
        if event.is_last:
            self.is_over, self._last = True, event
        return _good(event)

    @property
    def num_cached(self) -> int:
        """Positions of the prompt that were remembered and not computed again; known with the first event."""
        return self._request.num_recalled

    def cancel(self) -> None:
        """End the reply; the next event is its last."""
        if not (self.is_over or self._is_cancelled):
            self._is_cancelled = True
            self._cancel(self._request)

    def reply(self) -> Reply:
        """Wait for the end and return the whole reply; what made it fail is raised every time."""
        for _ in self:
            pass
        return self._request.reply()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def __del__(self) -> None:
        self.cancel()


def _good(event: Event) -> Event:
    if event.error is not None:
        raise event.error
    return event
