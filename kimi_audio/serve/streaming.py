"""Answers that are sent while they are made."""

import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse

from kimi_audio.serve.http_errors import failure
from kimi_audio.serve.presence import while_there


def event(values: dict[str, Any]) -> bytes:
    """Return one server-sent event."""
    return f"data: {json.dumps(values, ensure_ascii=False)}\n\n".encode()


async def begun(request: Request, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Wait for the first part, so that an error before it is answered like any other; return all parts."""

    async def next_part() -> bytes:
        return await anext(parts, b"")

    first = await while_there(request, next_part())

    async def all_parts() -> AsyncIterator[bytes]:
        yield first
        async for part in parts:
            yield part

    return all_parts()


async def event_stream(request: Request, events: AsyncIterator[bytes]) -> StreamingResponse:
    """Return an answer of server-sent events; an error in the middle is told as the last one."""

    async def guarded(events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for one in events:
                yield one
        except Exception as error:  # noqa: BLE001 - the status was sent before, so it can be told in no other way
            yield event({"type": "error"} | failure(error).envelope())

    return StreamingResponse(guarded(await begun(request, events)), media_type="text/event-stream")
