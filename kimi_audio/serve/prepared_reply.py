"""A reply that is begun while the user is silent but may yet go on; what comes of it waits until it is wanted."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from kimi_audio.answers import StreamChunk
from kimi_audio.core.sequence import AudioTokens
from kimi_audio.serve.items import ConversationItem
from kimi_audio.serve.session_state import Hear, Prepare, StartReply

WAITING_CHUNKS = 32  # at most: more would be lost if the user goes on


class PreparedReply:
    """The reply to one turn.

    Args:
        wanted: the turn, and what the reply is to be like.
        tokens: of the turn.
        chunks: of the reply.
        begin: lets a coroutine run until the session ends.
    """

    def __init__(
        self,
        wanted: Prepare,
        tokens: "asyncio.Task[AudioTokens]",
        chunks: AsyncGenerator[StreamChunk],
        begin: Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"],
    ) -> None:
        self.wanted, self.is_turn_over = wanted, False
        self._tokens = tokens
        self._waiting: asyncio.Queue[StreamChunk | Exception | None] = asyncio.Queue(WAITING_CHUNKS)
        self._has_failed = False
        self._work: asyncio.Task[None] = begin(self._make(chunks))

    def hears(self, turn: Hear) -> bool:
        """Tell whether the turn ended where it was expected to."""
        wanted = self.wanted
        return (turn.item_id, turn.start, turn.end) == (wanted.item_id, wanted.start, wanted.end)

    def answers(self, wanted: StartReply) -> bool:
        """Tell whether this is the reply that is wanted now."""
        is_same = wanted.config == self.wanted.config and _unwritten(wanted.items) == _unwritten(self.wanted.items)
        return self.is_turn_over and is_same and not self._has_failed

    async def chunks(self) -> AsyncIterator[StreamChunk]:
        """Yield the reply from its beginning."""
        try:
            while (made := await self._waiting.get()) is not None:
                if isinstance(made, Exception):
                    raise made
                yield made
        finally:
            self._work.cancel()

    def give_up(self) -> None:
        """Stop the reply; the turn is heard to its end only if it is over."""
        self._work.cancel()
        if not self.is_turn_over:
            self._tokens.cancel()

    async def _make(self, chunks: AsyncGenerator[StreamChunk]) -> None:
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    await self._waiting.put(chunk)
            await self._waiting.put(None)
        except Exception as error:  # noqa: BLE001 - it is raised where the reply is read
            self._has_failed = True
            await self._waiting.put(error)


def _unwritten(items: Iterable[ConversationItem]) -> list[ConversationItem]:
    """Return the items without what was written down of the user's speech: that may come at any time."""
    return [
        replace(
            item,
            written="",
            told="",
            content=tuple(replace(part, text=None) if part.type == "input_audio" else part for part in item.content),
        )
        for item in items
    ]
