"""The two tracks of a call: what the user says, and what the server plays."""

import asyncio
from collections.abc import Awaitable, Callable
from fractions import Fraction

from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, AudioResampler

from kimi_audio.core.units import OUTPUT_RATE_HZ
from kimi_audio.serve.playout import FRAME_S, FRAME_SAMPLES, Playout
from kimi_audio.serve.session_config import PCM_RATE_HZ

PIECE_BYTES = round(0.06 * PCM_RATE_HZ) * 2  # of sound that the session takes at once
LATE_S = 0.2  # behind its clock, the track goes on from where it is: frames in a heap would only be delay


async def hear(track: MediaStreamTrack, take: Callable[[bytes], Awaitable[None]]) -> None:
    """Pass on what comes by a track, until it ends, as 16-bit samples at 24 kHz.

    Args:
        track: of the client.
        take: takes the next samples; it may let the track wait.
    """
    resampler, kind, pending = AudioResampler("s16", "mono", PCM_RATE_HZ), None, bytearray()
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        assert isinstance(frame, AudioFrame)
        if kind != (frame.sample_rate, frame.layout.name):  # a client may change its codec
            kind, resampler = (frame.sample_rate, frame.layout.name), AudioResampler("s16", "mono", PCM_RATE_HZ)
        for piece in resampler.resample(frame):
            pending += piece.to_ndarray().tobytes()
        if len(pending) >= PIECE_BYTES:
            await take(bytes(pending))
            pending.clear()


class PlayedTrack(MediaStreamTrack):
    """Plays the play-out buffer, a frame each 20 ms, and silence while it is empty."""

    kind = "audio"

    def __init__(self, playout: Playout) -> None:
        super().__init__()
        self._playout = playout
        self._due_s: float | None = None
        self._samples = 0

    async def recv(self) -> AudioFrame:
        """Return the next frame when it is due."""
        if self.readyState != "live":
            raise MediaStreamError
        now_s = asyncio.get_running_loop().time()
        if self._due_s is None or now_s - self._due_s > LATE_S:
            self._due_s = now_s
        await asyncio.sleep(self._due_s - now_s)
        self._due_s += FRAME_S
        frame = AudioFrame("s16", "mono", FRAME_SAMPLES)
        frame.planes[0].update(self._playout.next_frame())
        frame.sample_rate, frame.time_base, frame.pts = OUTPUT_RATE_HZ, Fraction(1, OUTPUT_RATE_HZ), self._samples
        self._samples += FRAME_SAMPLES
        return frame
