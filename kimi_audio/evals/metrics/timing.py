"""Speed: percentiles of latencies, and the real-time factor."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LatencySummary:
    """Distribution of times in seconds; nan where nothing was measured."""

    measured: int
    unmeasured: int  # rows without a time
    mean_s: float
    p50_s: float
    p90_s: float
    p95_s: float
    p99_s: float
    max_s: float


def summarize_latency(times_s: Sequence[float | None]) -> LatencySummary:
    """Summarise times per row, such as those to the first sound. None stands for a row without a measurement."""
    values = np.array([time_s for time_s in times_s if time_s is not None], np.float64)
    unmeasured = len(times_s) - len(values)
    if not len(values):
        return LatencySummary(0, unmeasured, *[float("nan")] * 6)
    percentiles = np.percentile(values, (50, 90, 95, 99, 100))
    return LatencySummary(len(values), unmeasured, float(values.mean()), *map(float, percentiles))


@dataclass(frozen=True)
class RealTimeFactor:
    """How long work takes compared with the sound it is about."""

    rtf: float  # of all rows together: seconds of work per second of sound; below 1 keeps up
    p50: float  # of single rows
    p95: float
    measured: int

    @property
    def rtfx(self) -> float:
        """Seconds of sound per second of work, as the Open ASR leaderboard states it."""
        return 1 / self.rtf if self.rtf else float("inf")


def real_time_factor(times_s: Sequence[float | None], durations_s: Sequence[float | None]) -> RealTimeFactor:
    """Compare the times of work with the durations of the sound. Rows that lack one of both are left out."""
    pairs = zip(times_s, durations_s, strict=True)
    known = [(time_s, sound_s) for time_s, sound_s in pairs if time_s is not None and sound_s]
    if not known:
        return RealTimeFactor(*[float("nan")] * 3, measured=0)
    work, sound = np.array(known).T
    p50, p95 = np.percentile(work / sound, (50, 95))
    return RealTimeFactor(float(work.sum() / sound.sum()), float(p50), float(p95), len(known))
