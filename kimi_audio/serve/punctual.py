"""Connections that only begin, or of which nobody reads: whoever lets the server wait for too long is let go."""

import asyncio
import logging
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

logger = logging.getLogger(__name__)


class PunctualHttp(HttpToolsProtocol):
    """HTTP whose requests, those that become WebSockets too, have to announce themselves, and be read, in time.

    An answer waits where its client does not read, and holds meanwhile what it needs. A connection that is cut off is
    to the route as if the client had left.

    Args:
        handshake_s: until all lines before the body are there.
        send_s: until a client has read what is in the way of the next piece of an answer.
        rest: for uvicorn's protocol.
    """

    def __init__(self, *, handshake_s: float, send_s: float, **rest: Any) -> None:
        super().__init__(**rest)
        self._handshake_s, self._send_s = handshake_s, send_s
        self._late: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take a piece of a request."""
        super().data_received(data)
        self._watch()

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self._send_s, self._cut_off)

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        super().resume_writing()
        self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nobody any more."""
        super().connection_lost(exc)
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _cut_off(self) -> None:
        self._unread = None
        logger.info("a client that does not read was let go")
        self.transport.abort()  # to close it would wait for the client to read the rest

    def _watch(self) -> None:
        if not self._is_waiting and self._late is not None:
            self._late.cancel()
            self._late = None
        elif self._is_waiting and self._late is None:
            self._late = self.loop.call_later(self._handshake_s, self._let_go)

    def _let_go(self) -> None:
        self._late = None
        if self._is_waiting:
            self.transport.close()

    @property
    def _is_waiting(self) -> bool:
        """Whether no request is under way, and the connection has not become a WebSocket."""
        is_free = self.cycle is None or self.cycle.response_complete
        return is_free and self.transport.get_protocol() is self
