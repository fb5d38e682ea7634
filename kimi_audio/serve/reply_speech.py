"""The sound of one reply: which codes make a chunk, when it may be heard, and where it is made.

An instance that fails may have had other speech under way, which is made again elsewhere up to where it was.
"""

import secrets
import time
from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from kimi_audio.answers import StreamChunk
from kimi_audio.core.units import OUTPUT_RATE_HZ
from kimi_audio.serve.instance import SpeakJob, VoiceJob
from kimi_audio.serve.local_instance import Cutting
from kimi_audio.serve.scheduler import BegunElsewhereError, Route, Scheduler, all_of


class ReplySpeech:
    """Speech of one reply.

    Args:
        stage: makes it.
        cutting: of the codes.
        voice: begins it.
    """

    def __init__(self, stage: Scheduler, cutting: Cutting, voice: VoiceJob) -> None:
        seed = secrets.randbits(31) if voice.seed is None else voice.seed  # made again, it is the same
        self._stage, self._cutting, self._voice = stage, cutting, replace(voice, seed=seed)
        self._beginning = _Beginning(cutting)
        self._route, self._id = Route(), ""
        self._said: list[list[int]] = []

    async def begin(self) -> None:
        """Let an instance begin; errors as for ``Scheduler.stream``."""
        self._id = secrets.token_hex(8)
        await all_of(self._stage.stream(self._voice, self._route, self._id))

    async def sounds(self, chunk: StreamChunk) -> list[Tensor]:
        """Return the sounds [L] that may be heard now that there are more codes; errors as for ``Scheduler.stream``."""
        self._beginning.notice(chunk)
        made = []
        for codes, is_final in _cut(self._cutting, chunk):
            made += await self._made(codes, is_final)
            self._said.append(codes)
        return self._beginning.released(made, chunk.is_final)

    def end(self) -> None:
        """Let the instance forget it."""
        self._stage.cancel(self._id)
        self._route.move(None)

    async def _made(self, codes: list[int], is_final: bool) -> list[Tensor]:
        try:
            return await self._rendered(codes, is_final)
        except BegunElsewhereError:
            pass
        await self.begin()
        for before in self._said:
            await self._rendered(before, is_final=False)
        return await self._rendered(codes, is_final)

    async def _rendered(self, codes: list[int], is_final: bool) -> list[Tensor]:
        return await all_of(self._stage.stream(SpeakJob(self._id, codes, is_final), self._route))


class _Beginning:
    """Keeps the first sounds of a reply until no gap is expected: a busy machine speaks later, but not haltingly."""

    def __init__(self, cutting: Cutting) -> None:
        self._cutting = cutting
        self._first_code_s: float | None = None
        self._kept: list[Tensor] = []
        self._has_begun = False

    def notice(self, chunk: StreamChunk) -> None:
        """Take the time of the first code."""
        if chunk.codes and self._first_code_s is None:
            self._first_code_s = time.monotonic()

    def released(self, sounds: list[Tensor], is_final: bool) -> list[Tensor]:
        """Return what may be played of the sounds that were made now and before."""
        if self._has_begun:
            return sounds
        self._kept += sounds
        if not is_final:
            samples = sum(map(len, self._kept))
            if not samples or self._first_code_s is None:
                return []
            elapsed_s = time.monotonic() - self._first_code_s
            if not self._cutting.may_begin(samples / OUTPUT_RATE_HZ, elapsed_s):
                return []
        self._has_begun = True
        return self._kept


def _cut(cutting: Cutting, chunk: StreamChunk) -> Iterator[tuple[list[int], bool]]:
    """Yield what the codes of a chunk complete."""
    for number, code in enumerate(chunk.codes, 1):
        yield from cutting.push(code, chunk.is_final and number == len(chunk.codes))
    if chunk.is_final and not chunk.codes:
        yield from cutting.push(None, is_final=True)
