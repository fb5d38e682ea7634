"""What a recording of speech shows without being understood: duration, pitch, level, voicing.

Distances between two recordings of the assistant tell whether a reply was spoken in the style that was asked for.
"""

from dataclasses import dataclass

import numpy as np

FRAME_S = 0.040  # two periods of the lowest pitch
HOP_S = 0.010
LOWEST_HZ, HIGHEST_HZ = 60.0, 400.0
VOICED = 0.5  # of the autocorrelation at lag 0
SILENCE_DB = -35.0  # below the loudest frame


@dataclass(frozen=True)
class Measures:
    """One recording: ``pitch_hz`` is the median, 0 where nothing is voiced; ``level_db`` is relative to full scale."""

    duration_s: float  # without silent ends
    pitch_hz: float
    pitch_deviation: float  # standard deviation of the pitch, in octaves
    level_db: float  # root mean square between the silent ends
    voicing: float  # share of the sounding frames that are voiced
    brightness: float  # share of the power above 2 kHz


def measure(samples: np.ndarray, rate_hz: int) -> Measures:
    """Measure [T] float samples.

    Raises:
        ValueError: the recording is silent or shorter than a frame.
    """
    frame, hop = round(FRAME_S * rate_hz), round(HOP_S * rate_hz)
    if len(samples) < frame or not np.any(samples):
        raise ValueError("a silent or empty recording has no pitch, level or rate; check that speech was generated")
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), frame)[::hop]  # [N, L]
    power = (frames**2).mean(1)
    sounding = power > power.max() * 10 ** (SILENCE_DB / 10)
    first, last = np.flatnonzero(sounding)[[0, -1]]
    pitches_hz = _pitches_hz(frames[sounding], rate_hz)
    voiced = pitches_hz[pitches_hz > 0]
    spectrum = np.abs(np.fft.rfft(frames[sounding] * np.hanning(frame))) ** 2
    split = round(2000 * frame / rate_hz)
    return Measures(
        duration_s=float((last - first) * HOP_S + FRAME_S),
        pitch_hz=float(np.median(voiced)) if len(voiced) else 0.0,
        pitch_deviation=float(np.std(np.log2(voiced))) if len(voiced) else 0.0,
        level_db=float(10 * np.log10(power[first : last + 1].mean())),
        voicing=float(len(voiced) / sounding.sum()),
        brightness=float(spectrum[:, split:].sum() / spectrum.sum()),
    )


def _pitches_hz(frames: np.ndarray, rate_hz: int) -> np.ndarray:
    """Return the pitch of each of [N, L] frames, 0 where it is unvoiced, from the peak of the autocorrelation."""
    length = frames.shape[1]
    # Voices are periodic below 1 kHz; noise and hiss above would only blur the peak.
    spectrum = np.fft.rfft((frames - frames.mean(1, keepdims=True)) * np.hanning(length), 2 * length)
    spectrum[:, round(1000 * 2 * length / rate_hz) :] = 0
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[:, :length]
    window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(length), 2 * length)) ** 2)[:length]
    correlation /= np.maximum(correlation[:, :1], 1e-12) * (window / window[0]).clip(0.05)
    shortest, longest = int(rate_hz / HIGHEST_HZ), min(int(rate_hz / LOWEST_HZ), length // 2 + length // 8)
    lags = correlation[:, shortest : longest + 1]
    height = lags.max(1)
    # The first peak nearly as high as the highest: multiples of the period are as high.
    best = np.argmax(lags >= 0.9 * height[:, None], axis=1)
    # From the rising flank to the top.
    for _ in range(longest):
        following = np.minimum(best + 1, lags.shape[1] - 1)
        rising = lags[np.arange(len(lags)), following] > lags[np.arange(len(lags)), best]
        if not rising.any():
            break
        best = np.where(rising, following, best)
    pitches_hz = rate_hz / (best + shortest)
    return np.where(height >= VOICED, pitches_hz, 0.0)
