import math

import pytest

from kimi_audio.evals.metrics.timing import real_time_factor, summarize_latency


def test_latency_percentiles():
    summary = summarize_latency([*(number / 100 for number in range(101)), None])
    assert (summary["measured"], summary["unmeasured"]) == (101, 1)
    assert (summary["mean_s"], summary["p50_s"], summary["p90_s"]) == pytest.approx((0.5, 0.5, 0.9))
    assert (summary["p95_s"], summary["p99_s"], summary["max_s"]) == pytest.approx((0.95, 0.99, 1.0))
    assert math.isnan(summarize_latency([None])["p50_s"])


def test_real_time_factor_weighs_rows_by_their_sound():
    factor = real_time_factor([1.0, 1.0, None, 5.0], [1.0, 9.0, 3.0, None])
    assert factor["rtf"] == pytest.approx(2 / 10)
    assert factor["p50"] == pytest.approx((1 + 1 / 9) / 2)
    assert factor["measured"] == 2
    assert math.isnan(real_time_factor([], [])["rtf"])
