"""A turn of the user that the model hears while it is spoken, so that at its end little is left to do."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import numpy as np

from kimi_audio.audio.sources import Samples
from kimi_audio.chat import Message, OutputType
from kimi_audio.core.sequence import AudioTokens
from kimi_audio.serve.backend import ModelBackend

logger = logging.getLogger(__name__)


class EarlyHearing:
    """One turn, which is not over. Its sound waits here for the model, never longer than the session's own buffer.

    Args:
        backend: does the work.
        begin: lets a coroutine run until the session ends.
        start: the tick at which the turn begins.
        rate_hz: of its sound.
        history: returns the conversation before it.
        output_type: of the reply.
    """

    def __init__(
        self,
        backend: ModelBackend,
        begin: Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"],
        start: int,
        rate_hz: int,
        history: Callable[[], Awaitable[list[Message]]],
        output_type: OutputType,
    ) -> None:
        self.start, self.rate_hz = start, rate_hz
        self._backend = backend
        self._pieces: asyncio.Queue[np.ndarray | None] = asyncio.Queue()
        self._taken_samples = 0
        self._work: asyncio.Task[AudioTokens | None] = begin(self._hear(history, output_type))

    def push(self, sound: Samples) -> None:
        """Take what is surely a part of the turn and follows what came before."""
        if sound.rate_hz == self.rate_hz and not self._work.done():
            self._taken_samples += len(sound.array)
            self._pieces.put_nowait(np.asarray(sound.array))

    async def finish(self, whole: Samples) -> AudioTokens | None:
        """Return the tokens of the whole turn; None where they have to be made without what was heard of it."""
        if whole.rate_hz != self.rate_hz or len(whole.array) < self._taken_samples:
            self.cancel()
            return None
        self._pieces.put_nowait(np.asarray(whole.array)[self._taken_samples :])
        self._pieces.put_nowait(None)
        return await self._work

    def cancel(self) -> None:
        """Forget the turn."""
        self._work.cancel()

    async def _hear(
        self, history: Callable[[], Awaitable[list[Message]]], output_type: OutputType
    ) -> AudioTokens | None:
        hearing = None
        try:
            hearing = await self._backend.begin_to_hear(await history(), output_type, self.rate_hz)
            while (piece := await self._pieces.get()) is not None:
                await self._backend.hear_more(hearing, piece)
            return await self._backend.end_hearing(hearing)
        except Exception as error:  # noqa: BLE001 - the turn can be heard at its end, which tells what is wrong
            logger.info("a turn is heard at its end alone: %s", type(error).__name__)
            return None
        finally:
            if hearing is not None:
                self._backend.forget(hearing)
