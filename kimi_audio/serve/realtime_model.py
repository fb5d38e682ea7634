"""The model's side of one conversation: it hears, writes down and replies, and tells the session what comes of it."""

import asyncio
import base64
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any

from kimi_audio.answers import StreamChunk, Usage
from kimi_audio.audio.sources import Samples
from kimi_audio.chat import Message
from kimi_audio.core.sequence import AudioTokens
from kimi_audio.core.units import OUTPUT_RATE_HZ
from kimi_audio.lm.rules import GenerationOptions
from kimi_audio.serve.early_hearing import EarlyHearing
from kimi_audio.serve.history import Sounds, opening
from kimi_audio.serve.http_errors import failure
from kimi_audio.serve.items import ConversationItem
from kimi_audio.serve.prepared_reply import PreparedReply
from kimi_audio.serve.scheduler import all_of
from kimi_audio.serve.services import Services
from kimi_audio.serve.session_config import AudioFormat, ResponseConfig
from kimi_audio.serve.session_state import (
    CancelReply,
    CutSpeech,
    Forget,
    Happening,
    Hear,
    HearGiven,
    HearSoFar,
    KeepSpeech,
    Prepare,
    ReplyChunk,
    ReplyEnded,
    ReplyFailed,
    StartReply,
    TranscriptEnded,
    TranscriptFailed,
    TranscriptPart,
    TranscriptSoFar,
    WriteSoFar,
)
from kimi_audio.serve.sounds import from_base64, seconds_of
from kimi_audio.serve.wire_audio import OutputEncoder, samples_of, ticks_per_byte
from kimi_audio.transcript.timed_text import joined, separator

REPLY_ROOM_TOKENS = 400  # 32 s of speech, kept free for the reply as far as the context allows
TRANSCRIPT_WAITS_S = 2.0  # at most, for the reply to the same turn to be heard first

logger = logging.getLogger(__name__)


class RealtimeModel:
    """Works for one session.

    Args:
        services: of the server.
        tell: takes what happens; it may let the teller wait.
        room: waits until no more than some seconds are left to be played; without it, playback is only reckoned.
    """

    def __init__(
        self,
        services: Services,
        tell: Callable[[Happening], Awaitable[None]],
        room: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self._services, self._tell, self._room = services, tell, room
        self._backend = services.backend.conversation()
        self.sounds = Sounds(2 * services.backend.assistant.context_tokens)
        self._early: EarlyHearing | None = None  # of the turn that goes on
        self._prepared: PreparedReply | None = None
        self._replies: dict[str, asyncio.Task[None]] = {}
        self._has_begun = asyncio.Event()  # the reply that was started last: something of it was told, or it is over
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Let something run until the session is closed."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Stop everything and wait for it."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._backend.leave()

    def do(self, action: StartReply | CancelReply | KeepSpeech | CutSpeech | Forget) -> None:
        """Do what the session wants."""
        match action:
            case StartReply():
                self._has_begun.clear()
                self._replies[action.response_id] = self.start(self._reply(action, self._begun(action)))
            case CancelReply(response_id):
                self._cancel(response_id)
            case KeepSpeech(item_id, codes):
                self.sounds.speak(item_id, codes)
            case CutSpeech(item_id, end_ms):
                self.sounds.cut(item_id, end_ms)
            case Forget(item_id):
                self.sounds.forget(item_id)

    def _cancel(self, response_id: str) -> None:
        reply = self._replies.pop(response_id, None)
        if reply is not None:
            reply.cancel()
            self._has_begun.set()  # a task that is cancelled before it runs cannot do so

    # -----------------------------------------------------------------------------------------------------------------
    # Hearing

    def hear_so_far(self, wanted: HearSoFar, sound: Samples) -> None:
        """Hear more of a turn that goes on."""
        if self._early is None or self._early.start != wanted.start:
            self._forget_early()
            kind = "both" if wanted.config.is_spoken else "text"
            history = partial(self._messages, wanted.items, wanted.config)
            self._early = EarlyHearing(self._backend, self.start, wanted.start, sound.rate_hz, history, kind)
        self._early.push(sound)

    def discard(self, before: int) -> None:
        """Forget the turn that goes on, if it began before a tick."""
        if self._early is not None and self._early.start < before:
            self._forget_early()
        if self._prepared is not None and not self._prepared.is_turn_over and self._prepared.wanted.start < before:
            self._forget_prepared()

    def give_up(self) -> None:
        """Forget what was heard and prepared of the turn that goes on."""
        self._forget_early()
        self._forget_prepared()

    def _forget_early(self) -> None:
        if self._early is not None:
            self._early.cancel()
            self._early = None

    def _forget_prepared(self) -> None:
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            return
        prepared.give_up()
        self._services.metrics.prepared_replies.labels("given_up").inc()
        if not prepared.is_turn_over:
            self.sounds.forget(prepared.wanted.item_id)

    def prepare(self, wanted: Prepare, sound: Samples) -> None:
        """Hear a turn that is probably over and begin the reply to it, unless somebody waits for the model."""
        self._forget_prepared()
        if self._backend.is_waited_for:
            return
        tokens = self._hearing(wanted.item_id, wanted.start, sound)
        chunks = self._made(wanted.items, wanted.config)
        self._prepared = PreparedReply(wanted, tokens, chunks, self.start)

    def hear(self, wanted: Hear, sound: Samples) -> None:
        """Hear what the user said, or what is left of it, and write it down if that is wanted."""
        if self._prepared is not None and self._prepared.hears(wanted):
            self._prepared.is_turn_over = True
        else:
            self._forget_prepared()
            self._hearing(wanted.item_id, wanted.start, sound)
        if wanted.is_transcribed:
            self.start(self._transcript(wanted.item_id, sound))

    def _hearing(self, item_id: str, start: int, sound: Samples) -> "asyncio.Task[AudioTokens]":
        early, self._early = self._early, None
        if early is not None and early.start != start:
            early.cancel()
            early = None
        tokens = self.start(self._heard(early, sound))
        self.sounds.hear(item_id, 0, tokens)
        return tokens

    async def _heard(self, early: EarlyHearing | None, sound: Samples) -> AudioTokens:
        with self._services.metrics.stage_s.labels("hear").time():
            tokens = None if early is None else await early.finish(sound)
            if tokens is not None:
                return tokens
            try:
                return await self._backend.encode(sound)
            except ValueError:
                raise
            except Exception as error:  # noqa: BLE001 - without its tokens, the turn would fail every later reply
                logger.info("a turn is heard once more: %s", type(error).__name__)
                return await self._backend.encode(sound)

    def write_so_far(self, wanted: WriteSoFar, sound: Samples) -> None:
        """Begin to write down a turn that goes on, unless somebody waits for the model."""
        self.start(self._so_far(wanted.item_id, sound, is_possible=self._backend.is_idle))

    async def _so_far(self, item_id: str, sound: Samples, *, is_possible: bool) -> None:
        text = None
        if is_possible:
            with contextlib.suppress(Exception):  # the transcript at its end tells what is wrong
                text = joined(segment.text for segment in await all_of(self._backend.transcript(sound)))
        await self._tell(TranscriptSoFar(item_id, text))

    def hear_given(self, wanted: HearGiven, format: AudioFormat) -> None:
        """Begin to encode a recording that came with an item."""
        self.sounds.hear(wanted.item_id, wanted.index, self.start(self._given(wanted.sound, format)))

    async def _given(self, sound: str, format: AudioFormat) -> AudioTokens:
        content = from_base64(sound, self._services.limits.frame_bytes, "audio")
        whole = len(content) - len(content) % format.sample_bytes
        return await self._heard(None, Samples(samples_of(content[:whole], format), format.rate_hz))

    async def _transcript(self, item_id: str, sound: Samples) -> None:
        """Write down a turn; the reply to it has the model for itself until it begins."""
        parts: list[str] = []
        try:
            if self._replies:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TRANSCRIPT_WAITS_S):
                        await self._has_begun.wait()
            with self._services.metrics.stage_s.labels("transcribe").time():
                async with aclosing(self._backend.transcript(sound)) as found:  # pyright: ignore
                    async for segment in found:
                        parts.append(separator("".join(parts), segment.text) + segment.text)
                        await self._tell(TranscriptPart(item_id, parts[-1]))
            await self._tell(TranscriptEnded(item_id, "".join(parts), seconds_of(sound)))
        except Exception as error:  # noqa: BLE001 - told to the client
            await self._tell(TranscriptFailed(item_id, failure(error).message))

    # -----------------------------------------------------------------------------------------------------------------
    # Replying

    def _begun(self, wanted: StartReply) -> AsyncIterator[StreamChunk]:
        """Return a reply: the prepared one if it is that."""
        prepared = self._prepared
        if prepared is not None and prepared.answers(wanted):
            self._prepared = None
            self._services.metrics.prepared_replies.labels("used").inc()
            return prepared.chunks()
        if prepared is not None and prepared.is_turn_over:
            self._forget_prepared()
        return self._made(wanted.items, wanted.config)

    async def _reply(self, wanted: StartReply, chunks: AsyncIterator[StreamChunk]) -> None:
        try:
            await self._tell(await self._spoken(wanted, chunks))
        except Exception as error:  # noqa: BLE001 - told to the client
            told = failure(error)
            await self._tell(ReplyFailed(wanted.response_id, told.message, told.code or "internal_error"))
        finally:
            self._has_begun.set()
            self._replies.pop(wanted.response_id, None)

    async def _messages(self, items: tuple[ConversationItem, ...], config: ResponseConfig) -> list[Message]:
        """Return the conversation for the model, the latest of it that it has room for."""
        context_tokens = self._backend.assistant.context_tokens
        room_tokens = context_tokens - min(REPLY_ROOM_TOKENS, context_tokens // 2)
        kind = "both" if config.is_spoken else "text"
        return await self._backend.fit(opening(config), await self.sounds.messages(items), kind, room_tokens)

    async def _made(self, items: tuple[ConversationItem, ...], config: ResponseConfig) -> AsyncGenerator[StreamChunk]:
        messages = await self._messages(items, config)
        async with aclosing(self._chunks(messages, config)) as chunks:  # pyright: ignore
            async for chunk in chunks:
                yield chunk

    async def _spoken(self, wanted: StartReply, made: AsyncIterator[StreamChunk]) -> ReplyEnded:
        """Tell the pieces of a reply, not much earlier than they can be played, and return its end."""
        config = wanted.config
        encoder = OutputEncoder(config.output.format, config.output.speed, self._services.new_marker())
        lead_s = self._services.limits.lead_s
        pace = Pace(lead_s)
        last: StreamChunk | None = None
        async with aclosing(made) as chunks:  # pyright: ignore
            async for chunk in chunks:
                last = chunk
                if self._room is not None and config.is_spoken:
                    await self._room(lead_s)
                sound = encoder.push(chunk.audio, is_final=chunk.is_final) if config.is_spoken else b""
                ticks = round(len(sound) * ticks_per_byte(config.output.format))
                encoded = base64.b64encode(sound).decode()
                await self._tell(ReplyChunk(wanted.response_id, chunk.text, encoded, ticks, chunk.codes))
                if sound or not config.is_spoken:
                    self._has_begun.set()
                self._services.metrics.spoken_s.inc(len(chunk.audio) / OUTPUT_RATE_HZ)
                if self._room is None:
                    await pace.keep(len(chunk.audio) / OUTPUT_RATE_HZ)
        if last is None or last.finish_reason is None:
            return ReplyEnded(wanted.response_id, "cancelled")
        return ReplyEnded(wanted.response_id, last.finish_reason, usage_of(last.usage) if last.usage else None)

    def _chunks(self, messages: list[Any], config: ResponseConfig) -> AsyncIterator[StreamChunk]:
        services, kind = self._services, "both" if config.is_spoken else "text"
        most = None if config.max_output_tokens == "inf" else config.max_output_tokens
        options: GenerationOptions = replace(self._backend.assistant.default_options(kind), max_new_tokens=most)
        voice = services.voices.recording(config.output.voice_name)
        return self._backend.reply(messages, options, voice)


class Pace:
    """Keeps what is made from running too far ahead of its playback."""

    def __init__(self, lead_s: float) -> None:
        self._lead_s = lead_s
        self._end_s: float | None = None  # when playback is over, if it began with the first sound and never stopped

    async def keep(self, sound_s: float) -> None:
        """Take note of more sound, and wait while there is too much of it."""
        if not sound_s:
            return
        now_s = time.monotonic()
        self._end_s = max(now_s, self._end_s or now_s) + sound_s
        await asyncio.sleep(max(0.0, self._end_s - now_s - self._lead_s))


def usage_of(usage: Usage) -> dict[str, Any]:
    """Return what a reply took in OpenAI's form."""
    given = usage.prompt_text_tokens + usage.prompt_audio_tokens
    made = usage.text_tokens + usage.audio_tokens
    cached = min(usage.cached_tokens, given)
    return {
        "total_tokens": given + made,
        "input_tokens": given,
        "output_tokens": made,
        "input_token_details": {
            "text_tokens": usage.prompt_text_tokens,
            "audio_tokens": usage.prompt_audio_tokens,
            "cached_tokens": cached,
        },
        "output_token_details": {"text_tokens": usage.text_tokens, "audio_tokens": usage.audio_tokens},
    }
