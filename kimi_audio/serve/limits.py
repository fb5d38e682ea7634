"""ServeLimits that hold before memory or time is spent: the size of a body, and how many requests are at work."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kimi_audio.serve.http_errors import ApiError


class BodyLimit:
    """Refuses bodies that are too large, by what they announce and by what comes, and those that do not come."""

    def __init__(self, app: ASGIApp, most_bytes: int, stall_s: float) -> None:
        self.app, self.most_bytes, self.stall_s = app, most_bytes, stall_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if not announced.isdigit() or int(announced) > self.most_bytes:
            await self._error().response()(scope, receive, send)
            return
        received_bytes, is_complete = 0, False

        async def counted() -> Message:
            nonlocal received_bytes, is_complete
            try:
                async with asyncio.timeout(None if is_complete else self.stall_s):
                    message = await receive()
            except TimeoutError:
                raise ApiError("The rest of the request did not come.", 408, code="request_timeout") from None
            received_bytes += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            if received_bytes > self.most_bytes:
                raise self._error()
            return message

        await self.app(scope, counted, send)

    def _error(self) -> ApiError:
        return ApiError(
            f"The request is larger than {self.most_bytes / 2**20:g} MiB; send a shorter recording or a format that "
            "takes less room, such as Opus.",
            413,
            code="request_too_large",
        )


class Slots:
    """A number of places to work at, and a queue in front of them."""

    def __init__(self, places: int, waiting: int) -> None:
        self._places = asyncio.Semaphore(places)
        self._most = places + waiting
        self._count = 0
        self.is_closed = False

    @property
    def count(self) -> int:
        """How many are at work or wait."""
        return self._count

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place and hold it.

        Raises:
            ApiError: the server stops, or too many are waiting.
        """
        if self.is_closed:
            raise ApiError("The server is about to stop.", 503, code="server_stopping", retry_after_s=5)
        if self._count >= self._most:
            raise ApiError("The server is busy; try again in a moment.", 503, code="server_busy", retry_after_s=1)
        self._count += 1
        try:
            async with self._places:
                yield
        finally:
            self._count -= 1
