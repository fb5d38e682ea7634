"""The data channel ``oai-events`` of a call, as the way to its client: the same messages as over a WebSocket."""

import asyncio
import contextlib
import json
import logging

from aiortc import InvalidStateError, RTCDataChannel, RTCPeerConnection
from fastapi import WebSocketDisconnect

from kimi_audio.serve.settings import ServeLimits

logger = logging.getLogger(__name__)

LABEL = "oai-events"
MOST_MESSAGES = 256  # that wait to be taken
HIGH_BYTES, LOW_BYTES = 256 << 10, 64 << 10  # that wait to be sent
FLUSH_S = 5.0
GONE = 1001


class EventsChannel:
    """A ``Connection`` over the data channel that the client opens.

    Args:
        peer: the connection that it belongs to; nothing was negotiated yet.
        limits: of the server.
    """

    def __init__(self, peer: RTCPeerConnection, limits: ServeLimits) -> None:
        self._peer, self._limits = peer, limits
        self._channel: RTCDataChannel | None = None
        self._messages: asyncio.Queue[str | None] = asyncio.Queue()
        self._opened, self._low, self._gone = asyncio.Event(), asyncio.Event(), asyncio.Event()
        peer.on("datachannel", self._open)
        peer.on("connectionstatechange", self._look)

    def _open(self, channel: RTCDataChannel) -> None:
        if channel.label != LABEL or self._channel is not None:
            channel.close()
            return
        self._channel = channel
        channel.bufferedAmountLowThreshold = LOW_BYTES
        channel.on("message", self._take)
        channel.on("bufferedamountlow", self._low.set)
        channel.on("close", self.leave)
        self._opened.set()

    def _look(self) -> None:
        if self._peer.connectionState in ("failed", "closed"):
            self.leave()

    def _take(self, message: str | bytes) -> None:
        if len(message) > self._limits.frame_bytes or self._messages.qsize() >= MOST_MESSAGES:
            logger.info("a client sends larger messages than it may, or faster")
            self.leave()
            return
        self._messages.put_nowait(message if isinstance(message, str) else message.decode(errors="replace"))

    def leave(self) -> None:
        """Take it that the client is gone."""
        self._messages.put_nowait(None)
        for event in (self._gone, self._opened, self._low):
            event.set()

    # -----------------------------------------------------------------------------------------------------------------
    # A connection

    async def receive_text(self) -> str:
        """Return the next message."""
        message = await self._messages.get()
        if message is None:
            raise WebSocketDisconnect(GONE)
        return message

    async def send_text(self, data: str) -> None:
        """Send a message; waits for the channel, but not for ever, and while the client takes none.

        Raises:
            TimeoutError: the client does not open the channel.
        """
        async with asyncio.timeout(self._limits.connect_s):
            await self._opened.wait()
        while not self._gone.is_set() and self._channel is not None and self._channel.bufferedAmount > HIGH_BYTES:
            self._low.clear()
            await self._low.wait()
        if self._gone.is_set() or self._channel is None:
            raise WebSocketDisconnect(GONE)
        try:
            self._channel.send(data)
        except InvalidStateError:
            raise WebSocketDisconnect(GONE) from None
        except ValueError as error:  # larger than the client said it takes
            self._channel.send(_too_large(data, error))

    async def close(self, code: int, reason: str | None = None) -> None:
        """Close the channel once all messages have been sent; WebRTC knows no codes."""
        if self._channel is not None:
            self._channel.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_S):
                    await self._gone.wait()
        self.leave()


def _too_large(data: str, error: ValueError) -> str:
    told = {"type": "server_error", "code": "event_too_large", "message": str(error), "param": None, "event_id": None}
    return json.dumps({"type": "error", "event_id": json.loads(data)["event_id"], "error": told})
