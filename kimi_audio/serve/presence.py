"""Work for clients that wait for an answer: who leaves wants it no more."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request

from kimi_audio.serve.http_errors import ApiError

Result = TypeVar("Result")
_LEFT = 499  # nobody reads it; in the log and in the metrics it tells such requests from those that failed


async def while_there(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Return what comes of work for a request whose body was read; cancel the work when the client leaves.

    Raises:
        ApiError: the client has left.
    """
    return await unless(_left(request), work)


async def unless(left: Coroutine[Any, Any, None], work: Coroutine[Any, Any, Result]) -> Result:
    """Return what comes of work, and cancel it when the client leaves, of which ``left`` tells by its end.

    Raises:
        ApiError: the client has left.
    """
    tasks = asyncio.create_task(work), asyncio.create_task(left)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise ApiError("The client left before the answer.", _LEFT, code="client_left")
        return tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _left(request: Request) -> None:
    """Wait until the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
