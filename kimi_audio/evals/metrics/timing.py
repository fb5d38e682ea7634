"""Speed: percentiles of latencies, and the real-time factor."""

from collections.abc import Sequence

import numpy as np

NAN = float("nan")


def summarize_latency(times_s: Sequence[float | None]) -> dict[str, float]:
    """Return the distribution of times per row, such as those to the first sound; nan where nothing was measured.

    None stands for a row without a measurement.
    """
    values = np.array([time_s for time_s in times_s if time_s is not None], np.float64)
    percentiles = np.percentile(values, (50, 90, 95, 99, 100)) if len(values) else [NAN] * 5
    names = ("p50_s", "p90_s", "p95_s", "p99_s", "max_s")
    return {
        "measured": len(values),
        "unmeasured": len(times_s) - len(values),  # rows without a time
        "mean_s": float(values.mean()) if len(values) else NAN,
        **dict(zip(names, map(float, percentiles), strict=True)),
    }


def real_time_factor(times_s: Sequence[float | None], durations_s: Sequence[float | None]) -> dict[str, float]:
    """Return how long work takes compared with the sound it is about. Rows that lack one of both are left out.

    ``rtf`` is that of all rows together: seconds of work per second of sound; below 1 keeps up. ``p50`` and ``p95`` are
    those of single rows.
    """
    pairs = zip(times_s, durations_s, strict=True)
    known = [(time_s, sound_s) for time_s, sound_s in pairs if time_s is not None and sound_s]
    if not known:
        return {"rtf": NAN, "p50": NAN, "p95": NAN, "measured": 0}
    work, sound = np.array(known).T
    p50, p95 = np.percentile(work / sound, (50, 95))
    return {"rtf": float(work.sum() / sound.sum()), "p50": float(p50), "p95": float(p95), "measured": len(known)}
