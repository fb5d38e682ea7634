"""What the routes of one server share."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from fastapi import Request, WebSocket

from kimi_audio.audio.marking import Marker
from kimi_audio.serve.auth import Keys
from kimi_audio.serve.backend import ModelBackend
from kimi_audio.serve.limits import Slots
from kimi_audio.serve.metrics import Metrics
from kimi_audio.serve.session_state import Rules
from kimi_audio.serve.session_store import SessionStore
from kimi_audio.serve.settings import ServeLimits, ServeSettings
from kimi_audio.serve.spoken_answers import SpokenAnswers
from kimi_audio.serve.voice_registry import Voices

_LOOK_S = 0.05


class Drainable(Protocol):
    """A conversation under way."""

    @property
    def id(self) -> str:
        """Its name."""
        ...

    def drain(self, within_s: float) -> None:
        """Let it end soon."""
        ...


class RealtimeCall(Protocol):
    """A conversation over WebRTC under way."""

    async def hang_up(self) -> None:
        """End it now."""
        ...


@dataclass
class Services:
    """The parts of a running server."""

    settings: ServeSettings
    model_name: str
    backend: ModelBackend
    voices: Voices
    keys: Keys
    slots: Slots
    store: SessionStore
    spoken_answers: SpokenAnswers = field(default_factory=SpokenAnswers)
    metrics: Metrics = field(default_factory=Metrics)
    is_open: bool = False  # warmed up, and not about to stop
    sessions: set[Drainable] = field(default_factory=set)
    awaited: set[str] = field(default_factory=set)  # ids of kept conversations that are about to go on
    calls: dict[str, RealtimeCall] = field(default_factory=dict)

    def new_marker(self) -> Marker | None:
        """Return what marks one sound, unless the operator does not want that."""
        return Marker() if self.settings.is_marked else None

    @property
    def is_ready(self) -> bool:
        """Whether new work is taken, and can be done."""
        return self.is_open and self.backend.is_ready

    @property
    def limits(self) -> ServeLimits:
        """The limits of the settings."""
        return self.settings.limits

    @property
    def rules(self) -> Rules:
        """What holds for every conversation."""
        return Rules(self.limits, self.voices.has)

    @property
    def has_room(self) -> bool:
        """Whether one more conversation may begin."""
        return len(self.sessions) + len(self.awaited) < self.limits.sessions

    def holds(self, session_id: str) -> bool:
        """Tell whether a conversation goes on, or is about to."""
        return session_id in self.awaited or any(session.id == session_id for session in self.sessions)

    @contextmanager
    def reserved(self, session_id: str) -> Iterator[None]:
        """Keep a conversation, and a place for it, from others until it goes on."""
        self.awaited.add(session_id)
        try:
            yield
        finally:
            self.awaited.discard(session_id)

    @contextmanager
    def open_session(self, session: Drainable) -> Iterator[None]:
        """Count a conversation as long as it goes on."""
        self.sessions.add(session)
        self.metrics.sessions.set(len(self.sessions))
        try:
            yield
        finally:
            self.sessions.discard(session)
            self.metrics.sessions.set(len(self.sessions))

    async def drain(self) -> None:
        """Take nothing new, and wait for what is under way, but not for ever."""
        self.is_open, self.slots.is_closed = False, True
        end_s = time.monotonic() + self.limits.drain_s
        for session in self.sessions:
            session.drain(self.limits.drain_s)
        while (self.slots.count or self.sessions) and time.monotonic() < end_s:
            await asyncio.sleep(_LOOK_S)

    async def hang_up(self) -> None:
        """End all calls."""
        await asyncio.gather(*(call.hang_up() for call in self.calls.values()))


def services_of(connection: Request | WebSocket) -> Services:
    """Return the parts of the server that a request came to."""
    return connection.app.state.services
