"""What is to be played, frame by frame, to the clock of whoever takes the frames: the play-out buffer of WebRTC."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from kimi_audio.core.units import OUTPUT_RATE_HZ
from kimi_audio.serve.session_state import PlaybackStarted, PlaybackStopped, ms

FRAME_S = 0.02
FRAME_SAMPLES = round(FRAME_S * OUTPUT_RATE_HZ)
_SAMPLE_BYTES = 2
_FRAME_BYTES = FRAME_SAMPLES * _SAMPLE_BYTES


@dataclass
class _Speech:
    response_id: str
    left: bytearray = field(default_factory=bytearray)
    played_bytes: int = 0
    is_ended: bool = False


class Playout:
    """Sound of responses, one after the other; silence where there is none.

    Args:
        tell: is told when a response begins to be heard, and when the last of it was.
    """

    def __init__(self, tell: Callable[[PlaybackStarted | PlaybackStopped], object]) -> None:
        self._tell = tell
        self._speeches: deque[_Speech] = deque()
        self._has_moved = asyncio.Event()

    def push(self, response_id: str, sound: bytes) -> None:
        """Play sound, 16-bit samples at 24 kHz, after what is to be played already."""
        if not self._speeches or self._speeches[-1].response_id != response_id:
            self._speeches.append(_Speech(response_id))
        self._speeches[-1].left += sound

    def end(self, response_id: str) -> None:
        """Take note that no more sound of a response comes."""
        for speech in self._speeches:
            if speech.response_id == response_id:
                speech.is_ended = True

    def clear(self) -> dict[str, int]:
        """Play nothing of what is left; return how much was played of it, in milliseconds, by response."""
        played_ms = {one.response_id: ms(one.played_bytes // _SAMPLE_BYTES) for one in self._speeches}
        self._speeches.clear()
        self._has_moved.set()
        return played_ms

    async def room(self, lead_s: float) -> None:
        """Wait until no more than this is left to be played."""
        while sum(len(speech.left) for speech in self._speeches) > lead_s * OUTPUT_RATE_HZ * _SAMPLE_BYTES:
            self._has_moved.clear()
            await self._has_moved.wait()

    def next_frame(self) -> bytes:
        """Return the next 20 ms, as 480 samples of 16 bits. A piece too short for a frame waits for what follows it."""
        self._has_moved.set()
        speech = self._speeches[0] if self._speeches else None
        if speech is None or (len(speech.left) < _FRAME_BYTES and not speech.is_ended):
            return bytes(_FRAME_BYTES)
        frame = bytes(speech.left[:_FRAME_BYTES])
        del speech.left[:_FRAME_BYTES]
        if frame and not speech.played_bytes:
            self._tell(PlaybackStarted(speech.response_id))
        speech.played_bytes += len(frame)
        if speech.is_ended and not speech.left:
            self._speeches.popleft()
            self._tell(PlaybackStopped(speech.response_id))
        return frame.ljust(_FRAME_BYTES, b"\0")
