"""What a session has to take, in which order: the client's messages before what the model tells.

A client that interrupts is served at once, however much of the reply waits. Within each of the two lanes the order
stays, and each is bounded, so that whoever fills it waits.
"""

import asyncio
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Inbox(Generic[Item]):
    """Two queues with one reader.

    Args:
        room: how many items each lane holds.
    """

    def __init__(self, room: int) -> None:
        self._urgent: deque[Item] = deque()
        self._news: deque[Item] = deque()
        self._room = room
        self._changed = asyncio.Condition()

    async def put_urgent(self, item: Item) -> None:
        """Put what is taken first: what the client wants."""
        await self._put(self._urgent, item)

    async def put_news(self, item: Item) -> None:
        """Put what can wait: what the model made."""
        await self._put(self._news, item)

    async def _put(self, lane: deque[Item], item: Item) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(lane) < self._room)
            lane.append(item)
            self._changed.notify_all()

    async def get(self) -> Item:
        """Take the next item; waits for one."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._urgent or self._news)
            item = (self._urgent or self._news).popleft()
            self._changed.notify_all()
            return item
