"""A client over WebRTC by unmodified aiortc: it speaks samples, and keeps the events and the sound that come back."""

import asyncio
import json
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, AudioResampler

RATE_HZ, FRAME_SAMPLES = 48_000, 960
WAIT_S = 30.0


class Microphone(MediaStreamTrack):
    """Speaks what it is given, 48 kHz, and is silent otherwise."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._left = np.zeros(0, np.int16)
        self._count, self._begin_s = 0, time.monotonic()

    def say(self, samples: np.ndarray) -> None:
        self._left = np.concatenate([self._left, (samples * 32767).astype(np.int16)])

    async def recv(self) -> AudioFrame:
        await asyncio.sleep(self._begin_s + self._count * FRAME_SAMPLES / RATE_HZ - time.monotonic())
        now, self._left = self._left[:FRAME_SAMPLES], self._left[FRAME_SAMPLES:]
        frame = AudioFrame.from_ndarray(np.pad(now, (0, FRAME_SAMPLES - len(now)))[None], "s16", "mono")
        frame.sample_rate, frame.time_base = RATE_HZ, Fraction(1, RATE_HZ)
        frame.pts = self._count * FRAME_SAMPLES
        self._count += 1
        return frame


class Caller:
    """One call.

    Args:
        begin: sends an offer and returns the answer and the number of the call.
    """

    def __init__(self, begin: Callable[[str], tuple[str, str]]) -> None:
        self._begin = begin
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.microphone = Microphone()
        self.events: list[dict[str, Any]] = []
        self.heard = np.zeros(0, np.int16)  # at 24 kHz
        self.is_over = asyncio.Event()
        self.id = ""
        self._taken = 0  # events that were waited for
        self._changed = asyncio.Condition()
        self._tasks: list[asyncio.Task[Any]] = []

    async def __aenter__(self) -> "Caller":
        self.peer.addTrack(self.microphone)
        self.peer.on("track", lambda track: self._tasks.append(asyncio.create_task(self._listen(track))))
        self.channel = self.peer.createDataChannel("oai-events")
        self.channel.on("message", lambda text: self._tasks.append(asyncio.create_task(self._take(text))))
        self.channel.on("close", self.is_over.set)
        await self.peer.setLocalDescription(await self.peer.createOffer())
        answer, self.id = await asyncio.to_thread(self._begin, self.peer.localDescription.sdp)
        await self.peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.peer.close()
        for task in self._tasks:
            task.cancel()

    async def _take(self, text: str) -> None:
        async with self._changed:
            self.events.append(json.loads(text))
            self._changed.notify_all()

    async def _listen(self, track: MediaStreamTrack) -> None:
        resampler = AudioResampler("s16", "mono", 24_000)
        while True:
            try:
                frame: Any = await track.recv()
            except MediaStreamError:
                return
            for piece in resampler.resample(frame):
                self.heard = np.concatenate([self.heard, piece.to_ndarray()[0]])

    def send(self, type: str, **values: Any) -> None:
        self.channel.send(json.dumps({"type": type} | values))

    async def until(self, type: str) -> dict[str, Any]:
        """Return the next event of a name."""
        try:
            async with asyncio.timeout(WAIT_S), self._changed:
                while True:
                    for number in range(self._taken, len(self.events)):
                        if self.events[number]["type"] == type:
                            self._taken = number + 1
                            return self.events[number]
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"no {type} after {self.types()[self._taken :]}") from None

    def types(self) -> list[str]:
        return [event["type"] for event in self.events]
