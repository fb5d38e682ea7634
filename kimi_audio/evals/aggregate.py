"""From the statistics of samples to scores with intervals, over all samples and over each subset."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kimi_audio.evals.metrics.accuracy import accuracy
from kimi_audio.evals.metrics.statistics import Comparison, bootstrap, bootstrap_ratio, compare, compare_ratios
from kimi_audio.evals.store import Outcome, State
from kimi_audio.evals.types import Counts, Metric, Score, Scorer, ratio


def subsets_of(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Return the outcomes by subset, all of them under the empty name."""
    groups: dict[str, list[Outcome]] = {"": list(outcomes)}
    for outcome in outcomes:
        if outcome.sample.subset:
            groups.setdefault(outcome.sample.subset, []).append(outcome)
    return groups


def count(outcomes: Sequence[Outcome]) -> Counts:
    """Count the outcomes."""
    states = [outcome.state for outcome in outcomes]
    return Counts(
        total=len(states),
        empty=sum(outcome.is_empty for outcome in outcomes),
        **{state.value: states.count(state) for state in State},
    )


def make_score(metric: Metric, subset: str, outcomes: Sequence[Outcome], scorer: Scorer) -> Score:
    """Return a metric over the outcomes of a subset, counted in the three ways of POLICY."""
    answered = _statistics(metric, outcomes, State.scored)
    counted = answered + _statistics(metric, outcomes, State.failed)
    left_out = [scorer.worst(item.sample) for item in outcomes if item.state in (State.unscored, State.skipped)]
    worst = [values[metric.name] for values in left_out if metric.name in values]
    low, high = interval(metric, counted)
    return Score(
        metric=metric.name,
        subset=subset,
        value=value_of(metric, counted),
        low=low,
        high=high,
        samples=len(counted),
        answered=value_of(metric, answered),
        pessimistic=value_of(metric, counted + worst),
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        scale=metric.scale if metric.is_ratio else None,
    )


def _statistics(metric: Metric, outcomes: Sequence[Outcome], state: State) -> list[Any]:
    return [item.values[metric.name] for item in outcomes if item.state is state and metric.name in item.values]


def value_of(metric: Metric, statistics: Sequence[Any]) -> float | None:
    """Return the metric of some samples, None where it is not a number."""
    if not statistics:
        return None
    value = metric.scale * metric.combine(metric.settle(statistics))
    return value if math.isfinite(value) else None


def interval(metric: Metric, statistics: Sequence[Any]) -> tuple[float | None, float | None]:
    """Return the 95 % interval, the same in every run: of shares of samples Wilson's, else by bootstrap over samples.

    The bootstrap knows nothing but what it saw: that two of two answers are right would be certain to it.
    """
    if len(statistics) < 2:
        return None, None
    settled = metric.settle(statistics)
    if metric.combine is ratio:
        numerators, weights = zip(*settled, strict=True)
        is_share = set(weights) == {1} and set(numerators) <= {0, 1}
        found = accuracy([bool(one) for one in numerators]) if is_share else bootstrap_ratio(numerators, weights)
    else:
        found = bootstrap(lambda index: _resampled(metric, settled, index), len(settled))
    if not math.isfinite(found.low):
        return None, None
    return metric.scale * found.low, metric.scale * found.high


def difference(metric: Metric, first: Sequence[Any], second: Sequence[Any]) -> Comparison:
    """Compare the statistics of two models for the same samples in the same order, in units of the metric."""
    a, b = metric.settle(first), metric.settle(second)
    if metric.combine is ratio:
        left, right = (tuple(zip(*rows, strict=True)) for rows in (a, b))
        found = compare_ratios((left[0], left[1]), (right[0], right[1]), higher_is_better=metric.higher_is_better)
    else:
        rows = [*a, *b]
        found = compare(lambda index: _resampled(metric, rows, index), len(a), higher_is_better=metric.higher_is_better)
    gap = found.difference
    scaled = replace(gap, **{name: metric.scale * getattr(gap, name) for name in ("estimate", "low", "high")})
    return replace(found, difference=scaled)


def _resampled(metric: Metric, statistics: Sequence[Any], index: np.ndarray) -> np.ndarray:
    """Return the metric of each resample; ``index`` [R, N] holds row numbers."""
    return np.array([metric.combine([statistics[place] for place in row]) for row in index])
