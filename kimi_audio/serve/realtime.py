"""``/v1/realtime`` over WebSocket: sockets, threads and clocks around the session, which knows none of them.

One task owns a session: it takes what happens from an inbox, one thing after the other, lets ``session.step`` decide,
and does what is to be done. The client's reader, the model's replies and transcripts put things into the inbox, which
is bounded, so that they wait when the owner is busy; the client's come first. What is sent waits in an outbox; a client
that does not read it is closed.
"""

import asyncio
import contextlib
import json
import logging
import re
import secrets
import time
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import ValidationError

from kimi_audio.serve.auth import bearer_token
from kimi_audio.serve.client_events import Append, InvalidEventError, described, parse_event
from kimi_audio.serve.http_errors import failure
from kimi_audio.serve.inbox import Inbox
from kimi_audio.serve.realtime_model import RealtimeModel
from kimi_audio.serve.services import Services, services_of
from kimi_audio.serve.session import begin, deadline_s, step
from kimi_audio.serve.session_config import SessionConfig
from kimi_audio.serve.session_state import (
    TICKS_PER_S,
    Action,
    Appended,
    BadMessage,
    CancelReply,
    Close,
    Connected,
    CutSpeech,
    Detect,
    Discard,
    Drain,
    Forget,
    FromClient,
    Happening,
    Hear,
    HearGiven,
    HearSoFar,
    KeepSpeech,
    Measure,
    Rules,
    Send,
    SessionState,
    StartReply,
    Store,
    Tick,
    WriteSoFar,
)
from kimi_audio.serve.session_store import KeptSession
from kimi_audio.serve.sounds import from_base64
from kimi_audio.serve.turn_detection import TurnDetector, new_activity
from kimi_audio.serve.wire_audio import InputBuffer, Resampler, ticks_per_byte

logger = logging.getLogger(__name__)
router = APIRouter()

PROTOCOL = "realtime"
SLICE_S = 0.2  # of sound that is listened to before what it says is acted on
INBOX_EVENTS = 64
OUTBOX_BYTES = 32 << 20
SEND_S = 30.0
TRY_LATER, TOO_SLOW = 1013, 1008
_GONE = None  # in the inbox: the client has left


@router.websocket("/v1/realtime")
async def realtime(socket: WebSocket) -> None:
    """Hold a conversation."""
    services = services_of(socket)
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(subprotocol=PROTOCOL if PROTOCOL in offered else None)
    config = await _first_config(socket, services)
    if config is None:
        return
    session_id, kept = socket.query_params.get("session"), None
    if session_id is not None:
        kept = await _kept(socket, services, session_id)
        if kept is None:
            return
    session = RealtimeSession(socket, services, config, session_id or f"sess_{secrets.token_hex(16)}", kept)
    services.sessions.add(session)
    services.metrics.sessions.set(len(services.sessions))
    try:
        await session.run()
    finally:
        services.sessions.discard(session)
        services.metrics.sessions.set(len(services.sessions))


async def _first_config(socket: WebSocket, services: Services) -> SessionConfig | None:
    """Return the configuration to begin with; None if the client was sent away."""
    if not services.is_ready or len(services.sessions) >= services.limits.sessions:
        services.metrics.sessions_refused.inc()
        what = "full" if services.is_ready else "not ready"
        await _refuse(socket, f"The server is {what}; try again later.", "session_limit_reached", TRY_LATER)
        return None
    given = services.keys.session_of(bearer_token(socket.headers) or "")
    if socket.query_params.get("intent") == "transcription":
        given = {"type": "transcription"} | given
    try:
        return SessionConfig(model=services.model_name).updated(given | {"model": services.model_name})
    except ValidationError as error:
        await _refuse(socket, *described(error), "invalid_value", TOO_SLOW)
        return None


async def _kept(socket: WebSocket, services: Services, session_id: str) -> KeptSession | None:
    """Return a conversation that is to go on; None if the client was sent away."""
    is_id = re.fullmatch(r"sess_[0-9a-f]{32}", session_id)
    is_open = any(session.id == session_id for session in services.sessions)
    content = await services.store.load(session_id) if is_id and not is_open else None
    try:
        if content is not None:
            return KeptSession.from_bytes(content)
    except ValueError:
        logger.warning("a kept session cannot be read")
    code = "session_in_use" if is_open else "session_not_found"
    await _refuse(socket, f"The session {session_id[:50]!r} cannot be taken up again.", code, TOO_SLOW)
    return None


async def _refuse(socket: WebSocket, message: str, code: str, close_code: int) -> None:
    error = {"type": "server_error", "code": code, "message": message, "param": None, "event_id": None}
    await socket.send_text(json.dumps({"type": "error", "event_id": "event_0", "error": error}))
    await socket.close(close_code, code)


class RealtimeSession:
    """One conversation over a WebSocket."""

    def __init__(
        self, socket: WebSocket, services: Services, config: SessionConfig, id: str, kept: KeptSession | None = None
    ) -> None:
        self._socket, self._services, self.id = socket, services, id
        rules = Rules(services.limits, services.voices.has)
        self._state: SessionState = begin(id, config, rules, time.monotonic())
        self._inbox: Inbox[Happening | str | None] = Inbox(INBOX_EVENTS)
        self._outbox: asyncio.Queue[str | Close] = asyncio.Queue()
        self._outbox_bytes = 0
        self._model = RealtimeModel(services, self._inbox.put_news)
        self._buffer = InputBuffer()
        self._detector: TurnDetector | None = None
        self._resampler: Resampler | None = None
        self._unheard: list[bytes] = []  # stored, and not yet listened to
        self._is_unsaved = False
        self._saving: asyncio.Task[None] | None = None
        if kept is not None:
            self._restore(kept)

    def drain(self, within_s: float) -> None:
        """Let the conversation end soon."""
        self._model.start(self._inbox.put_urgent(Drain(within_s)))

    async def run(self) -> None:
        """Hold the conversation to its end; nothing of it stays behind."""
        began_s = time.monotonic()
        logger.info("session begins", extra={"facts": {"session": self._state.id}})
        writer = asyncio.create_task(self._write())
        reader = asyncio.create_task(self._read())
        try:
            await self._happen(Connected())
            while not self._state.is_closed:
                happening = await self._next()
                if happening is _GONE:
                    break
                await self._take(happening)
            await asyncio.wait([writer], timeout=SEND_S if self._state.is_closed else 0)
        except WebSocketDisconnect as gone:
            with contextlib.suppress(RuntimeError):
                await self._socket.close(gone.code, gone.reason)
        finally:
            await self._model.close()
            await _ended(reader, writer)
            if self._state.items:
                await self._save()
            facts = {"session": self._state.id, "items": len(self._state.items)}
            logger.info("session ends", extra={"facts": facts | {"took_s": round(time.monotonic() - began_s, 1)}})

    async def _next(self) -> Happening | str | None:
        wait_s = deadline_s(self._state) - time.monotonic()
        if wait_s <= 0:
            return Tick()
        try:
            async with asyncio.timeout(wait_s):
                return await self._inbox.get()
        except TimeoutError:
            return Tick()

    # -----------------------------------------------------------------------------------------------------------------
    # The client

    async def _read(self) -> None:
        try:
            while True:
                await self._inbox.put_urgent(await self._socket.receive_text())
        except (WebSocketDisconnect, RuntimeError, KeyError):  # it left, or sent bytes instead of text
            await self._inbox.put_urgent(_GONE)

    async def _write(self) -> None:
        try:
            while True:
                message = await self._outbox.get()
                if isinstance(message, Close):
                    await self._socket.close(message.code, message.reason)
                    return
                self._outbox_bytes -= len(message)
                # Not by wait_for, which in Python 3.11 loses a cancellation that comes as the message is sent.
                async with asyncio.timeout(SEND_S):
                    await self._socket.send_text(message)
        except (WebSocketDisconnect, RuntimeError, TimeoutError):
            pass  # it left
        except Exception:
            logger.exception("a message cannot be sent")
        await self._inbox.put_urgent(_GONE)

    def _send(self, event: dict[str, Any]) -> None:
        message = json.dumps(event, ensure_ascii=False)
        self._outbox_bytes += len(message)
        if self._outbox_bytes > OUTBOX_BYTES:
            raise WebSocketDisconnect(TOO_SLOW, "the client does not read")
        self._outbox.put_nowait(message)

    # -----------------------------------------------------------------------------------------------------------------
    # What happens

    async def _take(self, happening: Happening | str | None) -> None:
        if not isinstance(happening, str):
            assert happening is not None
            await self._happen(happening)
            return
        try:
            event = parse_event(happening)
            if isinstance(event, Append):
                await self._append(event)
            else:
                await self._happen(FromClient(event))
        except InvalidEventError as error:
            await self._happen(BadMessage(error))

    async def _append(self, event: Append) -> None:
        """Take sound in slices: what is heard in one is acted on before the next."""
        format = self._state.config.audio.input.format
        try:
            content = from_base64(event.audio, self._services.limits.frame_bytes, "audio")
        except Exception as error:  # noqa: BLE001 - told to the client
            raise InvalidEventError(failure(error).message, event.event_id, "audio") from None
        if len(content) % format.sample_bytes:
            raise InvalidEventError("The sound ends within a sample.", event.event_id, "audio")
        size = round(SLICE_S * format.rate_hz) * format.sample_bytes
        for start in range(0, len(content), size):
            piece = content[start : start + size]
            ticks = round(len(piece) * ticks_per_byte(format))
            before = self._state.received
            await self._happen(Appended(ticks, piece, event.event_id))
            if self._state.received == before:  # refused, and so is the rest
                return

    async def _happen(self, happening: Happening) -> None:
        self._state, actions = step(self._state, happening, time.monotonic())
        for action in actions:
            await self._do(action)
        heard, self._unheard = self._unheard, []
        if self._detector is not None and self._resampler is not None and heard:
            wav = self._resampler.push(b"".join(heard))
            for news in await self._services.backend.detect(self._detector.push, wav):
                await self._happen(news)

    async def _do(self, action: Action) -> None:
        match action:
            case Send(event):
                self._send(dict(event))
            case Store() | Discard() | Hear() | HearSoFar() | WriteSoFar():
                self._do_with_sound(action)
            case Detect(by):
                self._resampler = self._detector = None
                if by is not None:
                    activity = await self._services.backend.detect(new_activity)
                    self._detector = TurnDetector(by, self._state.received, activity)
                    self._resampler = Resampler(self._state.config.audio.input.format)
            case Close():
                self._outbox.put_nowait(action)
            case HearGiven():
                self._model.hear_given(action, self._state.config.audio.input.format)
            case StartReply() | CancelReply() | KeepSpeech() | CutSpeech() | Forget():
                self._model.do(action)
            case Measure(status, seconds):
                self._services.metrics.reply_done(status, seconds)
                self._is_unsaved = True
                self._begin_to_save()

    def _do_with_sound(self, action: Store | Discard | Hear | HearSoFar | WriteSoFar) -> None:
        match action:
            case Store(start, sound):
                self._buffer.append(start, sound, self._state.config.audio.input.format)
                self._unheard.append(sound)
            case Discard(before):
                self._buffer.discard(before)
                self._model.discard(before)
            case Hear():
                self._model.hear(action, self._buffer.take(action.start, action.end))
                self._services.metrics.heard_s.inc((action.end - action.start) / TICKS_PER_S)
            case HearSoFar():
                self._model.hear_so_far(action, self._buffer.take(action.since, action.end))
            case WriteSoFar():
                self._model.write_so_far(action, self._buffer.take(action.start, action.end))

    # -----------------------------------------------------------------------------------------------------------------
    # What is kept

    def _restore(self, kept: KeptSession) -> None:
        config = SessionConfig.model_validate(kept.config)
        self._state = replace(
            self._state, config=config, items=kept.items, count=kept.count, has_spoken=kept.has_spoken
        )
        self._model.sounds.restore(kept.heard, kept.spoken)

    def _begin_to_save(self) -> None:
        if self._saving is None or self._saving.done():
            self._saving = self._model.start(self._save_changes())

    async def _save_changes(self) -> None:
        while self._is_unsaved:
            self._is_unsaved = False
            await self._save()

    async def _save(self) -> None:
        state, (heard, spoken) = self._state, self._model.sounds.known()
        items = tuple(item for item in state.items if item.status != "in_progress")
        kept = KeptSession(items, state.count, state.has_spoken, state.config.model_dump(mode="json"), spoken, heard)
        content = await self._services.backend.detect(kept.to_bytes, self._services.limits.history_bytes)
        await self._services.store.save(self.id, content)


async def _ended(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
