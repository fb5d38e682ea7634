"""What happens to speech while it is made: another speed at the same pitch, the mark. Shapes: L samples at 24 kHz."""

import importlib.util
from collections.abc import AsyncIterator
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kimi_audio.audio.marking import Marker
from kimi_audio.core.units import OUTPUT_RATE_HZ
from kimi_audio.serve.http_errors import ApiError


async def at_speed(sounds: AsyncIterator[Tensor], speed: float) -> AsyncIterator[Tensor]:
    """Yield sounds [L] at another speed, by FFmpeg's ``atempo``.

    Raises:
        ApiError: PyAV is missing.
    """
    if speed == 1:
        async for wav in sounds:
            yield wav
        return
    if importlib.util.find_spec("av") is None:
        raise ApiError(
            "This server speaks at speed 1 only: PyAV is not installed (pip install 'kimi-audio[media]').",
            501,
            code="unsupported_value",
            param="speed",
        )
    tempo = Tempo(speed)
    async for wav in sounds:
        yield tempo.push(wav)
    yield tempo.finish()


async def marked(sounds: AsyncIterator[Tensor], marker: Marker | None) -> AsyncIterator[Tensor]:
    """Yield sounds [L] with the mark, if there is something that marks them."""
    async for wav in sounds:
        yield wav if marker is None else marker.push(wav)
    if marker is not None:
        yield marker.push(torch.zeros(0), is_final=True)


class Tempo:
    """Changes the speed of one sound."""

    def __init__(self, speed: float) -> None:
        from av.filter import Graph

        self._graph: Any = Graph()
        time_base = Fraction(1, OUTPUT_RATE_HZ)
        source = self._graph.add_abuffer(format="flt", sample_rate=OUTPUT_RATE_HZ, layout="mono", time_base=time_base)
        steps = [speed] if speed >= 0.5 else [speed / 0.5, 0.5]  # one filter slows down to a half at most
        filters = [self._graph.add("atempo", str(step)) for step in steps]
        chain = [source, *filters, self._graph.add("abuffersink")]
        self._graph.link_nodes(*chain).configure()
        self._count = 0

    def push(self, wav: Tensor) -> Tensor:
        """Return what the next samples complete."""
        import av

        if not len(wav):
            return wav
        frame = av.AudioFrame.from_ndarray(wav.float().numpy()[None], "flt", "mono")
        frame.sample_rate, frame.pts, frame.time_base = OUTPUT_RATE_HZ, self._count, Fraction(1, OUTPUT_RATE_HZ)
        self._count += len(wav)
        self._graph.push(frame)
        return self._pulled()

    def finish(self) -> Tensor:
        """Return the rest."""
        self._graph.push(None)
        return self._pulled()

    def _pulled(self) -> Tensor:
        from av.error import BlockingIOError, EOFError

        parts: list[Any] = []
        while True:
            try:
                parts.append(self._graph.pull().to_ndarray()[0])
            except (BlockingIOError, EOFError):
                return torch.from_numpy(np.concatenate(parts)) if parts else torch.zeros(0)
