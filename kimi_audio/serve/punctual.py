"""Connections that only begin: whoever connects and does not say what it wants is let go."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class PunctualHttp(HttpToolsProtocol):
    """HTTP whose requests, those that become WebSockets too, have to announce themselves in time.

    Args:
        handshake_s: until all lines before the body are there.
        rest: for uvicorn's protocol.
    """

    def __init__(self, *, handshake_s: float, **rest: Any) -> None:
        super().__init__(**rest)
        self._handshake_s = handshake_s
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take a piece of a request."""
        super().data_received(data)
        self._watch()

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
