"""What a Realtime session needs of the way to its client: WebSocket and WebRTC both have it."""

from typing import Protocol

TOO_SLOW = 1008  # a code of WebSockets


class Connection(Protocol):
    """The way to a client: a WebSocket, or like one. It raises ``WebSocketDisconnect`` when the client is gone."""

    async def receive_text(self) -> str:
        """Return the next message."""
        ...

    async def send_text(self, data: str) -> None:
        """Send a message; waits while the client takes none."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Close it once all messages have been sent."""
        ...


class ReplyPlayer(Protocol):
    """Plays replies where the client does not."""

    def push(self, response_id: str, sound: bytes) -> None:
        """Play sound, 16-bit samples at 24 kHz, after what is to be played already."""
        ...

    def end(self, response_id: str) -> None:
        """Take note that no more sound of a response comes."""
        ...

    def clear(self) -> dict[str, int]:
        """Play nothing of what is left; return how much was played of it, in milliseconds, by response."""
        ...

    async def room(self, lead_s: float) -> None:
        """Wait until no more than this is left to be played."""
        ...
