"""What drives a Realtime session: sockets, threads and clocks around the session, which knows none of them.

One task owns a session: it takes what happens from an inbox, one thing after the other, lets ``session.step`` decide,
and does what is to be done. The client's reader, the model's replies and transcripts put things into the inbox, which
is bounded, so that they wait when the owner is busy; the client's come first. What is sent waits in an outbox; a client
that does not read it is closed.
"""

import asyncio
import base64
import contextlib
import json
import logging
import time
from dataclasses import replace
from typing import Any

from fastapi import WebSocketDisconnect

from kimi_audio.serve.client_events import Append, InvalidEventError, parse_event
from kimi_audio.serve.http_errors import failure
from kimi_audio.serve.inbox import Inbox
from kimi_audio.serve.realtime_admission import Admitted
from kimi_audio.serve.realtime_model import RealtimeModel
from kimi_audio.serve.realtime_transport import TOO_SLOW, Connection, ReplyPlayer
from kimi_audio.serve.services import Services
from kimi_audio.serve.session import begin, deadline_s, step
from kimi_audio.serve.session_state import (
    TICKS_PER_S,
    Action,
    Appended,
    BadMessage,
    CancelReply,
    ClearPlayback,
    Close,
    Connected,
    CutSpeech,
    Detect,
    Discard,
    Drain,
    EndPlayback,
    Forget,
    FromClient,
    GiveUp,
    Happening,
    Hear,
    HearGiven,
    HearSoFar,
    KeepSpeech,
    ListenAnew,
    Measure,
    Play,
    PlaybackCleared,
    Prepare,
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

SLICE_S = 0.2  # of sound that is listened to before what it says is acted on
INBOX_EVENTS = 64
OUTBOX_BYTES = 32 << 20
SEND_S = 30.0
_GONE = None  # in the inbox: the client has left


class RealtimeSession:
    """One conversation.

    Args:
        connection: to the client.
        services: of the server.
        given: what it begins with.
        player: plays the replies; without one, their sound is sent to the client.
    """

    def __init__(
        self, connection: Connection, services: Services, given: Admitted, player: ReplyPlayer | None = None
    ) -> None:
        self._connection, self._services, self._player, self.id = connection, services, player, given.id
        now_s, has_tracks = time.monotonic(), player is not None
        self._state: SessionState = begin(given.id, given.config, services.rules, now_s, has_tracks=has_tracks)
        self._inbox: Inbox[Happening | str | None] = Inbox(INBOX_EVENTS)
        self._outbox: asyncio.Queue[str | Close] = asyncio.Queue()
        self._outbox_bytes = 0
        self._model = RealtimeModel(services, self._inbox.put_news, player.room if player else None)
        self._buffer = InputBuffer()
        self._detector: TurnDetector | None = None
        self._resampler: Resampler | None = None
        self._unheard: list[bytes] = []  # stored, and not yet listened to
        self._cleared: PlaybackCleared | None = None  # and the session has not been told
        self._is_unsaved = False
        self._is_kept = given.kept is not None  # something is, and has to follow what is deleted
        self._saving: asyncio.Task[None] | None = None
        if given.kept is not None:
            self._restore(given.kept)

    def drain(self, within_s: float) -> None:
        """Let the conversation end soon."""
        self.tell(Drain(within_s))

    def tell(self, happening: Happening) -> None:
        """Let something happen, before what the model tells."""
        self._model.start(self._inbox.put_urgent(happening))

    async def hear(self, sound: bytes) -> None:
        """Take sound of the client, 16-bit samples at 24 kHz; waits while there is much to do."""
        await self._inbox.put_urgent(Appended(len(sound) // 2, sound))

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
                await self._connection.close(gone.code, gone.reason)
        finally:
            await self._model.close()
            await _ended(reader, writer)
            if self._state.items or self._is_kept:
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
                await self._inbox.put_urgent(await self._connection.receive_text())
        except (WebSocketDisconnect, RuntimeError, KeyError):  # it left, or sent bytes instead of text
            await self._inbox.put_urgent(_GONE)

    async def _write(self) -> None:
        try:
            while True:
                message = await self._outbox.get()
                if isinstance(message, Close):
                    await self._connection.close(message.code, message.reason)
                    return
                self._outbox_bytes -= len(message)
                # Not by wait_for, which in Python 3.11 loses a cancellation that comes as the message is sent.
                async with asyncio.timeout(SEND_S):
                    await self._connection.send_text(message)
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
            if isinstance(event, Append) and self._player is None:
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
        cleared, self._cleared = self._cleared, None
        if cleared is not None:
            await self._happen(cleared)
        heard, self._unheard = self._unheard, []
        if self._detector is not None and self._resampler is not None and heard:
            wav = self._resampler.push(b"".join(heard))
            for news in await self._services.backend.detect(self._detector.push, wav):
                await self._happen(news)

    async def _do(self, action: Action) -> None:
        match action:
            case Send(event):
                self._send(dict(event))
            case Store() | Discard() | Hear() | HearSoFar() | Prepare() | WriteSoFar() | HearGiven():
                self._do_with_sound(action)
            case Detect() | ListenAnew():
                await self._listen(action)
            case GiveUp():
                self._model.give_up()
            case Close():
                self._outbox.put_nowait(action)
            case StartReply() | CancelReply() | KeepSpeech() | CutSpeech() | Forget():
                self._model.do(action)
                if self._is_kept and isinstance(action, CutSpeech | Forget):
                    self._begin_to_save()
            case Play() | EndPlayback() | ClearPlayback():
                self._play(action)
            case Measure(status, seconds):
                self._services.metrics.reply_done(status, seconds)
                self._begin_to_save()

    async def _listen(self, action: Detect | ListenAnew) -> None:
        if isinstance(action, ListenAnew):
            if self._detector is not None:
                self._detector.begin_anew(action.start)
            return
        if self._detector is not None and action.by is not None and action.goes_on:
            self._detector.change(action.by)
            return
        self._resampler = self._detector = None
        if action.by is not None:
            activity = await self._services.backend.detect(new_activity)
            self._detector = TurnDetector(action.by, self._state.received, activity)
            self._resampler = Resampler(self._state.config.audio.input.format)

    def _do_with_sound(self, action: Store | Discard | Hear | HearSoFar | Prepare | WriteSoFar | HearGiven) -> None:
        format = self._state.config.audio.input.format
        match action:
            case Store(start, sound):
                self._buffer.append(start, sound, format)
                self._unheard.append(sound)
            case Discard(before):
                self._buffer.discard(before)
                self._model.discard(before)
            case Hear():
                self._model.hear(action, self._buffer.take(action.start, action.end))
                self._services.metrics.heard_s.inc((action.end - action.start) / TICKS_PER_S)
            case HearSoFar():
                self._model.hear_so_far(action, self._buffer.take(action.since, action.end))
            case Prepare():
                self._model.prepare(action, self._buffer.take(action.start, action.end))
            case WriteSoFar():
                self._model.write_so_far(action, self._buffer.take(action.start, action.end))
            case HearGiven():
                self._model.hear_given(action, format)

    def _play(self, action: Play | EndPlayback | ClearPlayback) -> None:
        assert self._player is not None
        match action:
            case Play(response_id, sound):
                self._player.push(response_id, base64.b64decode(sound))
            case EndPlayback(response_id):
                self._player.end(response_id)
            case ClearPlayback():
                self._cleared = PlaybackCleared(self._player.clear())

    # -----------------------------------------------------------------------------------------------------------------
    # What is kept

    def _restore(self, kept: KeptSession) -> None:
        self._state = replace(self._state, items=kept.items, count=kept.count, has_spoken=kept.has_spoken)
        self._model.sounds.restore(kept.heard, kept.spoken)

    def _begin_to_save(self) -> None:
        self._is_unsaved = True
        if self._saving is None or self._saving.done():
            self._saving = self._model.start(self._save_changes())

    async def _save_changes(self) -> None:
        while self._is_unsaved:
            self._is_unsaved = False
            await self._save()

    async def _save(self) -> None:
        self._is_kept = True
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
