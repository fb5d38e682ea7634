"""What an operator decides: limits, keys, and who may come from where."""

from dataclasses import dataclass, field
from pathlib import Path

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, kw_only=True)
class ServeLimits:
    """What one client, and all of them together, may cost.

    Args:
        body_bytes: of a request.
        sound_s: of a recording, counted while it is decoded.
        sounds: recordings in one request.
        text_chars: to be read aloud.
        chat_chars: of all text of a conversation, instructions and tools included.
        frame_bytes: of one message over a WebSocket or a data channel.
        buffer_s: sound that a session may hold before it is committed.
        input_speed: how much faster than real time a session may send, once ``buffer_s`` have been sent at once.
        lead_s: how far the speech of a reply may be made ahead of its playback.
        requests: HTTP requests that are worked on at once.
        waiting: HTTP requests that may wait for their turn.
        sessions: conversations at once.
        items: of one conversation.
        sdp_bytes: of an offer to speak over WebRTC, and of the configuration beside it.
        connect_s: until a call is connected, once its offer was answered.
        handshake_s: until a client has said what it wants, and between two pieces of a body.
        send_s: until a client has read what is in the way of the next piece of an answer.
        idle_s: without a message of the client.
        reply_s: until a reply has ended.
        stall_s: without a new piece of what the model makes, until it is started anew.
        session_s: of a conversation.
        history_s: that a conversation is kept after it was last saved, to be taken up again.
        history_bytes: of a conversation that is kept; sounds beyond go, the oldest first.
        memory_bytes: of all conversations that are kept in memory.
        drain_s: that replies under way have left when the server is told to stop.
    """

    body_bytes: int = 25 << 20
    sound_s: float = 1800.0
    sounds: int = 16
    text_chars: int = 4096
    chat_chars: int = 100_000
    frame_bytes: int = 4 << 20
    buffer_s: float = 90.0
    input_speed: float = 4.0
    lead_s: float = 15.0
    requests: int = 4
    waiting: int = 32
    sessions: int = 16
    items: int = 1000
    sdp_bytes: int = 64 << 10
    connect_s: float = 30.0
    handshake_s: float = 10.0
    send_s: float = 60.0
    idle_s: float = 600.0
    reply_s: float = 300.0
    stall_s: float = 120.0
    session_s: float = 3600.0
    history_s: float = 3600.0
    history_bytes: int = 64 << 20
    memory_bytes: int = 512 << 20
    drain_s: float = 30.0


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """How a server runs.

    Args:
        host: the address that it listens on.
        port: 0 takes a free one.
        api_keys: without any, everybody who reaches the server may use it; allowed on loopback addresses alone.
        origins: of web pages, beside the server's own, whose scripts may use it, such as ``https://example.org``.
        voices: folder of recordings, each a voice named like its file.
        redis: address of a Redis that keeps conversations; by default they are kept in memory.
        instances: of each stage; they share the weights, and what befalls one does not befall the others.
        is_marked: whether all speech carries the mark, and files tell where they come from.
        limits: see there.

    Raises:
        ValueError: others could reach the server, and there is no key.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_keys: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    voices: Path | None = None
    redis: str | None = None
    instances: int = 1
    is_marked: bool = True
    limits: ServeLimits = field(default_factory=ServeLimits)

    def __post_init__(self) -> None:
        if not self.api_keys and not self.is_local:
            raise ValueError(
                f"other machines can reach {self.host}, so keys are needed: set KIMI_AUDIO_API_KEY to one, or several "
                "separated by commas, or name a file of keys with --api-key-file"
            )
        if any(len(key) < 8 or not key.isascii() or not key.isprintable() for key in self.api_keys):
            raise ValueError("a key has at least 8 printable ASCII characters")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in LOOPBACK
