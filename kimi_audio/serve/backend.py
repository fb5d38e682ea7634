"""The model as routes and conversations see it, and threads for other work that takes a while."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import astuple, dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch

from kimi_audio.aloud import read_in_pieces
from kimi_audio.answers import StreamChunk, Usage
from kimi_audio.audio.sources import AudioSource
from kimi_audio.chat import Message, OutputType
from kimi_audio.core.sequence import AudioTokens
from kimi_audio.lm.rules import GenerationOptions
from kimi_audio.serve.http_errors import ApiError
from kimi_audio.serve.instance import (
    EncodeJob,
    FitJob,
    HearEndJob,
    HearJob,
    HearMoreJob,
    Job,
    ListenJob,
    PrefillJob,
    ThinkJob,
    VoiceJob,
    WriteJob,
)
from kimi_audio.serve.local_instance import Assistant
from kimi_audio.serve.reply_speech import ReplySpeech
from kimi_audio.serve.scheduler import Route, Scheduler, all_of
from kimi_audio.transcript.timed_text import Segment, Timestamps
from kimi_audio.voice import Voice

Item = TypeVar("Item")
_DETECTING_THREADS = 2


class Threads:
    """Run functions that block.

    Args:
        count: of those that take long, at once; others wait.
    """

    def __init__(self, count: int) -> None:
        self._long = ThreadPoolExecutor(count, thread_name_prefix="kimi-audio serve")
        self._short = ThreadPoolExecutor(_DETECTING_THREADS, thread_name_prefix="kimi-audio turns")

    async def call(self, function: Callable[..., Item], *arguments: Any) -> Item:
        """Return what a function returns that may take long."""
        return await asyncio.get_running_loop().run_in_executor(self._long, function, *arguments)

    async def detect(self, function: Callable[..., Item], *arguments: Any) -> Item:
        """Return what a function returns that takes a moment only and may not wait behind those that take long."""
        return await asyncio.get_running_loop().run_in_executor(self._short, function, *arguments)

    def close(self) -> None:
        """Wait for what runs."""
        self._long.shutdown(wait=True, cancel_futures=True)
        self._short.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class Stages:
    """The three stages that a reply passes, each with its own instances."""

    hearing: Scheduler
    thinking: Scheduler
    speaking: Scheduler

    def __iter__(self) -> Iterator[Scheduler]:
        """Yield them in this order."""
        return iter((self.hearing, self.thinking, self.speaking))


@dataclass(frozen=True)
class Hearing:
    """A recording that is heard while it is spoken, after a conversation."""

    id: str
    history: list[Message]
    output_type: OutputType


class ModelBackend:
    """Makes jobs of what is asked for, and of what comes of them a reply.

    Args:
        assistant: tells what is the same in all instances, and does no work here.
        stages: have the work done.
        threads: for other work.
        is_conversation: whether jobs go to the instances that had the ones before; ``leave`` ends that.
    """

    def __init__(
        self, assistant: Assistant, stages: Stages, threads: Threads, *, is_conversation: bool = False
    ) -> None:
        self.assistant, self._stages, self._threads = assistant, stages, threads
        self._hearing, self._thinking = (Route(), Route()) if is_conversation else (None, None)
        self._own_jobs = 0  # under way
        self.call, self.detect = threads.call, threads.detect

    def conversation(self) -> "ModelBackend":
        """Return one whose jobs stay together; ``leave`` ends it."""
        return ModelBackend(self.assistant, self._stages, self._threads, is_conversation=True)

    def leave(self) -> None:
        """End a conversation."""
        for route in (self._hearing, self._thinking):
            if route is not None:
                route.move(None)

    async def start(self) -> None:
        """Warm up."""
        for stage in self._stages:
            await stage.start()

    @property
    def is_ready(self) -> bool:
        """Whether jobs can be done."""
        return all(stage.is_ready for stage in self._stages)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being made."""
        return not sum(stage.load for stage in self._stages)

    @property
    def is_waited_for(self) -> bool:
        """Whether something is being made for others."""
        return sum(stage.load for stage in self._stages) > self._own_jobs

    @property
    def kept_bytes(self) -> int:
        """Memory of earlier turns, from which later ones go on."""
        return self._stages.thinking.kept_bytes

    def close(self) -> None:
        """Stop everything that runs."""
        for stage in self._stages:
            stage.close()
        self._threads.close()

    def _think(self, job: Job) -> AsyncIterator[Any]:
        return self._counted(self._stages.thinking.stream(job, self._thinking))

    async def _hear(self, job: Job, job_id: str | None = None) -> list[Any]:
        return await all_of(self._counted(self._stages.hearing.stream(job, self._hearing, job_id)))

    async def _counted(self, chunks: AsyncIterator[Any]) -> AsyncIterator[Any]:
        self._own_jobs += 1
        try:
            async with aclosing(chunks) as open_chunks:  # pyright: ignore[reportArgumentType] - they are generators
                async for chunk in open_chunks:
                    yield chunk
        finally:
            self._own_jobs -= 1

    # -----------------------------------------------------------------------------------------------------------------
    # Replies and transcripts, while they are made

    async def reply(
        self,
        messages: list[Message],
        options: GenerationOptions,
        voice: Voice | AudioSource | None = None,
        seed: int | None = None,
    ) -> AsyncIterator[StreamChunk]:
        """Yield a reply to a conversation; arguments as for ``KimiAudio.stream``."""
        thoughts = self._think(ThinkJob(await self._heard(messages), options, seed))
        spoken = self._spoken(thoughts, VoiceJob(voice, seed)) if options.output_type == "both" else thoughts
        async with aclosing(spoken) as chunks:  # pyright: ignore[reportArgumentType] - they are generators
            async for chunk in chunks:
                yield chunk

    async def _heard(self, messages: list[Message]) -> list[Message]:
        """Return the messages with tokens for all their sounds."""
        room_tokens, heard = self.assistant.context_tokens, []
        for message in messages:
            sound = None if message.message_type == "text" else message.audio
            if sound is not None and not isinstance(sound, AudioTokens):
                tokens = await self.encode(sound, room_tokens)
                room_tokens -= len(tokens.codes)
                message = message.with_audio(tokens)
            heard.append(message)
        return heard

    async def _spoken(self, thoughts: AsyncIterator[StreamChunk], voice: VoiceJob) -> AsyncIterator[StreamChunk]:
        """Yield the chunks of a reply with the sound that their codes complete."""
        speech = ReplySpeech(self._stages.speaking, self.assistant.code_chunks(), voice)
        try:
            async with aclosing(thoughts) as chunks:  # pyright: ignore[reportArgumentType]
                await speech.begin()
                async for chunk in chunks:
                    sounds = await speech.sounds(chunk)
                    yield replace(chunk, audio=torch.cat(sounds)) if sounds else chunk
        finally:
            speech.end()

    async def speech(
        self, text: str, voice: Voice | AudioSource | None = None, instructions: str = "", seed: int | None = None
    ) -> AsyncIterator[StreamChunk]:
        """Yield speech that says a text of any length, read in pieces; arguments as for ``KimiAudio.stream_speech``.

        Raises:
            ApiError: the model did not read to the end.
        """
        pieces = read_in_pieces(text, self.assistant.context_tokens)
        usage: Usage | None = None
        for number, piece in enumerate(pieces, 1):
            async with aclosing(self._read(piece, voice, instructions, seed)) as chunks:
                async for chunk in chunks:
                    if chunk.is_final:
                        _check_end(chunk)
                        usage = _sum(usage, chunk.usage)
                        is_last = number == len(pieces)
                        chunk = replace(chunk, usage=usage) if is_last else _not_final(chunk)
                    yield chunk

    async def _read(
        self, text: str, voice: Voice | AudioSource | None, instructions: str, seed: int | None
    ) -> AsyncGenerator[StreamChunk]:
        messages, found = self.assistant.reading(text, voice, instructions)
        made = self.reply(messages, self.assistant.reading_options(), found, seed)
        async with aclosing(made) as chunks:  # pyright: ignore[reportArgumentType]
            async for chunk in chunks:
                yield chunk

    async def transcript(
        self, sound: AudioSource, timestamps: Timestamps = "segment", hotwords: Iterable[str] = ()
    ) -> AsyncIterator[Segment]:
        """Yield what is said in a recording, segment by segment."""
        hotwords = tuple(hotwords)
        heard = self._counted(self._stages.hearing.stream(ListenJob(sound), self._hearing))
        async with aclosing(heard) as passages:  # pyright: ignore[reportArgumentType] - they are generators
            async for passage in passages:
                if passage.pieces:
                    for segment in await all_of(self._think(WriteJob(passage, timestamps, hotwords))):
                        yield segment

    # -----------------------------------------------------------------------------------------------------------------
    # Others

    async def encode(self, sound: AudioSource, most_tokens: int | None = None) -> AudioTokens:
        """Return what the model hears in a recording; arguments as for ``KimiAudio.encode_audio``."""
        return (await self._hear(EncodeJob(sound, most_tokens)))[0]

    async def fit(
        self, opening: list[Message], messages: list[Message], output_type: OutputType, room_tokens: int
    ) -> list[Message]:
        """Return the opening and the latest messages, as many as there is room for."""
        return (await all_of(self._think(FitJob(opening, messages, output_type, room_tokens))))[0]

    async def begin_to_hear(self, history: list[Message], output_type: OutputType, rate_hz: int) -> Hearing:
        """Begin to hear a recording while it is spoken; ``forget`` ends that."""
        hearing = Hearing(secrets.token_hex(8), history, output_type)
        await self._hear(HearJob(rate_hz), hearing.id)
        if history:
            await all_of(self._think(PrefillJob(history, output_type)))
        return hearing

    async def hear_more(self, hearing: Hearing, samples: np.ndarray) -> None:
        """Hear the next samples [L]."""
        for tokens in await self._hear(HearMoreJob(hearing.id, samples)):
            known = [*hearing.history, Message("user", "audio", tokens)]
            await all_of(self._think(PrefillJob(known, hearing.output_type)))

    async def end_hearing(self, hearing: Hearing) -> AudioTokens:
        """Return what the model hears in the whole recording."""
        return (await self._hear(HearEndJob(hearing.id)))[0]

    def forget(self, hearing: Hearing) -> None:
        """Forget a recording that was heard while it was spoken."""
        self._stages.hearing.cancel(hearing.id)


def _check_end(chunk: StreamChunk) -> None:
    if chunk.finish_reason != "stop":
        message = f"The model did not read the text to its end ({chunk.finish_reason}); try again, or change the text."
        raise ApiError(message, 500, code="speech_incomplete")


def _not_final(chunk: StreamChunk) -> StreamChunk:
    """Return the last chunk of a piece as one after which another piece comes."""
    return replace(chunk, is_final=False, finish_reason=None, usage=None)


def _sum(one: Usage | None, other: Usage | None) -> Usage | None:
    if one is None or other is None:
        return one or other
    return Usage(*map(sum, zip(astuple(one), astuple(other), strict=True)))
