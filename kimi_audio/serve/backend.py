"""The model as routes and conversations see it, and threads for other work that takes a while."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, TypeVar

import numpy as np

from kimi_audio.assistant import StreamChunk
from kimi_audio.audio.sources import AudioSource, Samples
from kimi_audio.chat import Message, OutputType
from kimi_audio.core.sequence import AudioTokens
from kimi_audio.lm.rules import GenerationOptions
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
from kimi_audio.serve.local_instance import Assistant
from kimi_audio.serve.scheduler import Route, Scheduler
from kimi_audio.transcript.timed_text import Segment, Timestamps

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


class ModelBackend:
    """Makes jobs of what is asked for.

    Args:
        assistant: tells what is the same in all instances, and does no work here.
        scheduler: has the work done.
        threads: for other work.
        route: of the conversation whose jobs these are.
    """

    def __init__(
        self, assistant: Assistant, scheduler: Scheduler, threads: Threads, route: Route | None = None
    ) -> None:
        self.assistant, self._scheduler, self._threads, self._route = assistant, scheduler, threads, route
        self.call, self.detect = threads.call, threads.detect

    def conversation(self) -> "ModelBackend":
        """Return one whose jobs stay together; ``leave`` ends it."""
        return ModelBackend(self.assistant, self._scheduler, self._threads, Route())

    def leave(self) -> None:
        """End a conversation."""
        if self._route is not None:
            self._route.move(None)

    async def start(self) -> None:
        """Warm up."""
        await self._scheduler.start()

    @property
    def is_ready(self) -> bool:
        """Whether jobs can be done."""
        return self._scheduler.is_ready

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being made."""
        return self._scheduler.is_idle

    def close(self) -> None:
        """Stop everything that runs."""
        self._scheduler.close()
        self._threads.close()

    def _stream(self, job: Job, job_id: str | None = None) -> AsyncIterator[Any]:
        return self._scheduler.stream(job, self._route, job_id)

    # -----------------------------------------------------------------------------------------------------------------
    # Jobs that yield while they are done

    def reply(
        self,
        messages: list[Message],
        options: GenerationOptions,
        voice: AudioSource | None = None,
        seed: int | None = None,
    ) -> AsyncIterator[StreamChunk]:
        """Yield a reply to a conversation; arguments as for ``Assistant.stream``."""
        return self._stream(ReplyJob(messages, options, voice, seed))

    def speech(self, text: str, **options: Any) -> AsyncIterator[StreamChunk]:
        """Yield speech that says a text; options as for ``Assistant.stream_speech``."""
        return self._stream(SpeechJob(text, **options))

    def transcript(
        self, sound: AudioSource, timestamps: Timestamps = "segment", hotwords: Iterable[str] = ()
    ) -> AsyncIterator[Segment]:
        """Yield what is said in a recording, segment by segment."""
        return self._stream(TranscriptJob(sound, timestamps, tuple(hotwords)))

    # -----------------------------------------------------------------------------------------------------------------
    # Others

    async def encode(self, sound: Samples) -> AudioTokens:
        """Return what the model hears in a recording."""
        return (await all_of(self._stream(EncodeJob(sound))))[0]

    async def fit(
        self, opening: list[Message], messages: list[Message], output_type: OutputType, room_tokens: int
    ) -> list[Message]:
        """Return the opening and the latest messages, as many as there is room for."""
        return (await all_of(self._stream(FitJob(opening, messages, output_type, room_tokens))))[0]

    async def begin_to_hear(self, history: list[Message], output_type: OutputType, rate_hz: int) -> str:
        """Begin to hear a recording while it is spoken; return its id, which ``forget`` takes in the end."""
        hearing_id = secrets.token_hex(8)
        await all_of(self._stream(HearJob(history, output_type, rate_hz), hearing_id))
        return hearing_id

    async def hear_more(self, hearing_id: str, samples: np.ndarray) -> None:
        """Hear the next samples [L]."""
        await all_of(self._stream(HearMoreJob(hearing_id, samples)))

    async def end_hearing(self, hearing_id: str) -> AudioTokens:
        """Return what the model hears in the whole recording."""
        return (await all_of(self._stream(HearEndJob(hearing_id))))[0]

    def forget(self, hearing_id: str) -> None:
        """Forget a recording that was heard while it was spoken."""
        self._scheduler.cancel(hearing_id)


async def all_of(items: AsyncIterator[Item]) -> list[Item]:
    """Return all items of an iterator, and close it."""
    async with aclosing(items) as open_items:  # pyright: ignore[reportArgumentType] - they are generators
        return [item async for item in open_items]
