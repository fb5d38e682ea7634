"""An inaudible mark in generated speech, and how it is found again. Shapes: L samples, T frames of 20 ms, B bands.

The loudness of 30 bands between 300 and 3300 Hz is moved up or down by a little more than a decibel, in cells of 60 ms,
by a pattern that repeats every 3.12 s. Neighbours move in opposite directions, in time and in frequency, because speech
itself changes less between neighbours. That part of the spectrum is what telephones keep, and codecs keep its loudness
even where they do not keep the waveform. The detector compares how loud cells are beside their neighbours with the
pattern, at every offset, and judges the best fit by how well patterns fit that nobody writes.

It is a sign for honest use: who wants to remove it can.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from kimi_audio.core.units import OUTPUT_RATE_HZ

STRENGTH_DB = 1.2
DETECTION_RATE_HZ = 8000
FRAME_S = 0.02  # half a window
FIRST_BIN, BINS, BANDS = 12, 4, 30  # of 25 Hz
CELL_FRAMES, CELLS = 3, 52
PERIOD = CELL_FRAMES * CELLS  # frames
LEAST_S = 1.0  # of sound, to say anything about it
THRESHOLD = 4.7  # see docs/RELIABILITY.md
_DECOYS = 64
_KEY = 20_261_127
_NEIGHBOUR_FRAMES, _NEIGHBOUR_BANDS = 13, 3  # that a cell is compared with
_CLIP_DB = 5.0
_QUIET_DB = 45.0  # below the loudest: nothing to be heard there, nor to be measured


@lru_cache
def pattern(key: int = _KEY) -> np.ndarray:
    """Return the signs of the cells [CELLS, BANDS]: in blocks of two by two, whose neighbours have opposite signs."""
    generator = np.random.Generator(np.random.PCG64(key))
    signs = np.repeat([1.0, -1.0], CELLS // 4)
    blocks = np.stack([generator.permutation(signs) for _ in range(BANDS // 2)], axis=1)
    return np.kron(blocks, [[1.0, -1.0], [-1.0, 1.0]])


# ---------------------------------------------------------------------------------------------------------------------
# Writing


class Marker:
    """Marks one sound at 24 kHz while it is made; what comes out is 40 ms late, and complete at the end.

    Args:
        strength_db: how far the bands are moved.
    """

    HOP = int(FRAME_S * OUTPUT_RATE_HZ)

    def __init__(self, strength_db: float = STRENGTH_DB) -> None:
        self._gains = _gains(strength_db)
        self._window = torch.hann_window(2 * self.HOP).sqrt()
        self._rest = torch.zeros(self.HOP)  # not yet in a frame that is done; the first frame begins before the sound
        self._overlap = torch.zeros(self.HOP)
        self._frames = 0
        self._skip = self.HOP  # of what comes out: it lies before the sound
        self._owed = 0

    def push(self, wav: Tensor, *, is_final: bool = False) -> Tensor:
        """Return what the next samples [L] complete; at the end, all that is left."""
        self._owed += len(wav)
        rest = torch.cat([self._rest, wav.float()])
        if is_final:
            rest = torch.cat([rest, torch.zeros(2 * self.HOP + -len(rest) % self.HOP)])
        count = max(0, len(rest) // self.HOP - 1)
        self._rest = rest[count * self.HOP :]
        out = self._done(rest.unfold(0, 2 * self.HOP, self.HOP)[:count]) if count else torch.zeros(0)
        skipped = min(self._skip, len(out))
        self._skip -= skipped
        out = out[skipped:][: self._owed]
        self._owed -= len(out)
        return out

    def _done(self, frames: Tensor) -> Tensor:
        """Return the samples [T * HOP] that frames [T, 2 * HOP] complete."""
        places = (self._frames + torch.arange(len(frames))) % PERIOD
        self._frames += len(frames)
        spectra = torch.fft.rfft(frames * self._window) * self._gains[places]
        parts = torch.fft.irfft(spectra, 2 * self.HOP) * self._window
        head, tail = parts[:, : self.HOP], parts[:, self.HOP :]
        out = head + torch.cat([self._overlap[None], tail[:-1]])
        self._overlap = tail[-1]
        return out.flatten()


@lru_cache
def _gains(strength_db: float) -> Tensor:
    """Return the factors [PERIOD, HOP + 1] of the bins of frames at 24 kHz."""
    db = np.zeros((PERIOD, Marker.HOP + 1))
    signs = np.repeat(np.repeat(pattern(), CELL_FRAMES, axis=0), BINS, axis=1)
    db[:, FIRST_BIN : FIRST_BIN + BANDS * BINS] = strength_db * signs
    return torch.from_numpy(10 ** (db / 20)).float()


def marked(wav: Tensor) -> Tensor:
    """Return a whole sound [L] at 24 kHz with the mark."""
    return Marker().push(wav, is_final=True)


# ---------------------------------------------------------------------------------------------------------------------
# Finding


@dataclass(frozen=True)
class Detection:
    """What was found in a sound.

    Args:
        score: how far the pattern fits better than others, in standard deviations of those.
        sound_s: how much was looked at.
    """

    score: float
    sound_s: float

    @property
    def is_marked(self) -> bool:
        """Whether the mark is there."""
        return self.score >= THRESHOLD


def detect(wav: Tensor) -> Detection:
    """Look for the mark in a sound [L] at 8 kHz.

    Raises:
        ValueError: it is too short to say anything about it.
    """
    sound_s = len(wav) / DETECTION_RATE_HZ
    if sound_s < LEAST_S:
        raise ValueError(f"the recording lasts {sound_s:.2f} s; at least {LEAST_S:g} s are needed to look for the mark")
    return Detection(float(scores(wav, (_KEY,))[0]), sound_s)


def scores(wav: Tensor, keys: Sequence[int]) -> np.ndarray:
    """Return how well the patterns of keys fit a sound [L] at 8 kHz, at their best offsets, beside those of others."""
    # Frames need not lie as they lay when the mark was written.
    return np.max([_scores(wav[shift:], keys) for shift in (0, int(FRAME_S * DETECTION_RATE_HZ / 2))], axis=0)


def _scores(wav: Tensor, keys: Sequence[int]) -> np.ndarray:
    values, weights = _loudness(wav)
    spectrum = np.fft.rfft(_folded(values * weights), axis=0)
    others = np.concatenate([_fits(spectrum, key) for key in range(_DECOYS)]).std()
    return np.array([_fits(spectrum, key).max() / (others or np.inf) for key in keys])


def _fits(spectrum: np.ndarray, key: int) -> np.ndarray:
    """Return how well a pattern fits at every offset [PERIOD]."""
    return np.fft.irfft((spectrum * np.conj(_template(key))).sum(1), PERIOD)


@lru_cache(maxsize=256)
def _template(key: int) -> np.ndarray:
    signs = np.tile(np.repeat(pattern(key), CELL_FRAMES, axis=0), (3, 1))  # so that its ends have neighbours
    return np.fft.rfft(_beside_neighbours(signs)[PERIOD : 2 * PERIOD], axis=0)


def _folded(values: np.ndarray) -> np.ndarray:
    """Return the sums [PERIOD, B] of frames [T, B] that see the same cell."""
    padded = np.pad(values, ((0, -len(values) % PERIOD), (0, 0)))
    return padded.reshape(-1, PERIOD, values.shape[1]).sum(0)


def _loudness(wav: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return how much louder cells are than their neighbours, in dB [T, B], and how much that counts [T, B]."""
    hop = int(FRAME_S * DETECTION_RATE_HZ)
    frames = wav.float().unfold(0, 2 * hop, hop) * torch.hann_window(2 * hop)
    power = torch.fft.rfft(frames).abs().square()[:, FIRST_BIN : FIRST_BIN + BANDS * BINS]
    bins = power.reshape(len(power), BANDS, BINS).double().numpy()
    bands = bins.sum(2)
    loudest = np.quantile(bands, 0.99) or 1.0
    db = 10 * np.log10(bins + 1e-7 * loudest).mean(
        2
    )  # the mean of logarithms: one strong harmonic is not all of a band
    weights = (bands > 10 ** (-_QUIET_DB / 10) * loudest).astype(float)
    return np.clip(_beside_neighbours(db), -_CLIP_DB, _CLIP_DB), weights


def _beside_neighbours(values: np.ndarray) -> np.ndarray:
    """Return how much frames [T, B] differ from the mean of those around them, in time and then in frequency."""
    values = values - _smoothed(values, _NEIGHBOUR_FRAMES)
    return values - _smoothed(values.T, _NEIGHBOUR_BANDS).T


def _smoothed(values: np.ndarray, length: int) -> np.ndarray:
    """Return moving averages [T, B] along the first axis."""
    half = length // 2
    sums = np.cumsum(np.pad(values, ((half + 1, half), (0, 0)), mode="edge"), axis=0)
    return (sums[length:] - sums[:-length]) / length
