"""Hearing what is still being said: sound is encoded as it arrives, as far as no later sound changes the result.

The encoders see windows of 30 s, each alone, so a window that is complete is final. The last one is encoded at the end:
the acoustic encoder attends to all of it. Nor is a window final while the recording may yet have to be made louder.
Shapes: L samples, N tokens, D acoustic feature size.
"""

from collections.abc import Callable, Sequence

import numpy as np
import soxr
import torch
from torch import Tensor

from kimi_audio.core.numbers import whole_number
from kimi_audio.core.sequence import AudioTokens
from kimi_audio.core.units import INPUT_RATE_HZ, SAMPLES_PER_WINDOW
from kimi_audio.lm.worker import ReplyEvents

MAX_LEVEL = 32.0  # beyond, the numbers are not those of sound in [-1, 1]


class ArrivingAudio:
    """A recording that is given piece by piece. ``KimiAudio.hear`` makes it.

    Args:
        rate_hz: of the pieces.
        least_peak: a quieter recording is made louder, see ``KimiAudio.encode_audio``.
        encode: returns the tokens of sound [L] at 16 kHz, given whether whole windows came before.
        heard: is told all tokens so far whenever a window is final.
        running: the replies, of one step, that compute what is known; they are waited for in the end.
    """

    def __init__(
        self,
        rate_hz: int,
        least_peak: float,
        encode: Callable[[Tensor, bool], AudioTokens],
        heard: Callable[[AudioTokens], object],
        running: Sequence[ReplyEvents] = (),
    ) -> None:
        rate_hz = whole_number("the rate", rate_hz, 1000, 768_000)
        self._resampler = None if rate_hz == INPUT_RATE_HZ else soxr.ResampleStream(rate_hz, INPUT_RATE_HZ, 1)
        self._least_peak, self._encode, self._heard, self._running = least_peak, encode, heard, running
        self._waiting = torch.zeros(0)
        self._peak = 0.0
        self._parts: list[AudioTokens] = []
        self._is_over = False

    def push(self, samples: "np.ndarray | Tensor") -> None:
        """Take the next samples [L], any number of them; complete windows are encoded before this returns.

        Raises:
            ValueError: they are no row of finite samples in [-1, 1], or the recording is over or too long.
        """
        if self._is_over:
            raise ValueError("the recording is over; begin another one")
        array = np.asarray(samples, dtype=np.float32)
        if array.ndim != 1 or not np.isfinite(array).all() or np.abs(array).max(initial=0.0) > MAX_LEVEL:
            raise ValueError("pieces of a recording must be rows of finite samples in [-1, 1]")
        self._take(array, is_last=False)
        while len(self._waiting) >= SAMPLES_PER_WINDOW and self._peak >= self._least_peak:
            self._encode_next(SAMPLES_PER_WINDOW)
            self._heard(self.tokens)

    def finish(self) -> AudioTokens:
        """End the recording; return its codes [N] and features [N, D], those of ``KimiAudio.encode_audio``.

        Raises:
            ValueError: there was no sample.
        """
        self._is_over = True
        self._take(np.zeros(0, np.float32), is_last=True)
        if 0 < self._peak < self._least_peak:  # then all of it waits
            self._waiting = self._waiting * (self._least_peak / self._peak)
            self._peak = self._least_peak
        if not (self._parts or len(self._waiting)):
            raise ValueError("the recording holds no samples")
        while len(self._waiting):
            self._encode_next(SAMPLES_PER_WINDOW)
        for events in self._running:
            events.reply()
        return self.tokens

    @property
    def final_tokens(self) -> int:
        """How many tokens are final so far."""
        return sum(len(part.codes) for part in self._parts)

    @property
    def tokens(self) -> AudioTokens:
        """What is final so far; at least one window must be."""
        features = [part.features for part in self._parts if part.features is not None]
        return AudioTokens(torch.cat([part.codes for part in self._parts]), torch.cat(features))

    def _take(self, array: np.ndarray, *, is_last: bool) -> None:
        if self._resampler is not None:
            array = self._resampler.resample_chunk(array, last=is_last)
        if len(array):
            self._peak = max(self._peak, float(np.abs(array).max()))
            self._waiting = torch.cat([self._waiting, torch.from_numpy(array.copy())])

    def _encode_next(self, samples: int) -> None:
        window, self._waiting = self._waiting[:samples], self._waiting[samples:]
        self._parts.append(self._encode(window, bool(self._parts)))
