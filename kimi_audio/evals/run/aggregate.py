"""From the statistics of samples to scores with intervals, over all samples and over each subset."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kimi_audio.evals.contract.types import Counts, Metric, Score, Scorer, ratio
from kimi_audio.evals.metrics.statistics import Comparison, bootstrap, compare, compare_ratios, ratio_interval
from kimi_audio.evals.run.store import SampleOutcome, State

MIN_RESAMPLED = 50  # fewer samples say too little about the samples that were not drawn


def subsets_of(outcomes: Sequence[SampleOutcome]) -> dict[str, list[SampleOutcome]]:
    """Return the outcomes by subset, all of them under the empty name."""
    groups: dict[str, list[SampleOutcome]] = {"": list(outcomes)}
    for outcome in outcomes:
        if outcome.sample.subset:
            groups.setdefault(outcome.sample.subset, []).append(outcome)
    return groups


def count(outcomes: Sequence[SampleOutcome]) -> Counts:
    """Count the outcomes."""
    states = [outcome.state for outcome in outcomes]
    return Counts(
        total=len(states),
        empty=sum(outcome.is_empty for outcome in outcomes),
        **{state.value: states.count(state) for state in State},
    )


def make_score(metric: Metric, subset: str, outcomes: Sequence[SampleOutcome], scorer: Scorer) -> Score:
    """Return a metric over the outcomes of a subset, counted in the three ways of POLICY."""
    answered = _statistics(metric, outcomes, State.scored, State.unscored)
    counted = answered + _statistics(metric, outcomes, State.failed)
    left_out = [
        scorer.worst(item.sample)
        for item in outcomes
        if item.state in (State.unscored, State.skipped) and metric.name not in item.values
    ]
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


def _statistics(metric: Metric, outcomes: Sequence[SampleOutcome], *states: State) -> list[Any]:
    return [item.values[metric.name] for item in outcomes if item.state in states and metric.name in item.values]


def value_of(metric: Metric, statistics: Sequence[Any]) -> float | None:
    """Return the metric of some samples, None where it is not a number."""
    if not statistics:
        return None
    value = metric.scale * metric.combine(metric.settle(statistics))
    return value if math.isfinite(value) else None


def interval(metric: Metric, statistics: Sequence[Any]) -> tuple[float | None, float | None]:
    """Return the 95 % interval, the same in every run; that of a score of a corpus needs ``MIN_RESAMPLED`` samples.

    See ``metrics/statistics.py`` for the kinds of intervals.
    """
    if value_of(metric, statistics) is None:
        return None, None
    settled = metric.settle(statistics)
    if metric.combine is ratio:
        low, high = ratio_interval(*_columns(settled))
    elif len(settled) >= MIN_RESAMPLED:
        low, high = bootstrap(lambda index: _resampled(metric, settled, index), len(settled))
    else:
        return None, None
    return (metric.scale * low, metric.scale * high) if math.isfinite(low) else (None, None)


def difference(metric: Metric, first: Sequence[Any], second: Sequence[Any], permutations: int) -> Comparison:
    """Compare the statistics of two models for the same samples in the same order, in units of the metric.

    Args:
        metric: what is compared.
        first: the statistics of model A.
        second: those of model B.
        permutations: of the test.
    """
    a, b = metric.settle(first), metric.settle(second)
    if metric.combine is ratio:
        found = compare_ratios(_columns(a), _columns(b), permutations=permutations)
    else:
        rows = [*a, *b]
        found = compare(lambda index: _resampled(metric, rows, index), len(a), permutations=permutations)
    low, high = found.interval
    return replace(
        found, difference=metric.scale * found.difference, interval=(metric.scale * low, metric.scale * high)
    )


def _columns(rows: Sequence[Sequence[Any]]) -> tuple[list[float], list[float]]:
    return [row[0] for row in rows], [row[1] for row in rows]


def _resampled(metric: Metric, statistics: Sequence[Any], index: np.ndarray) -> np.ndarray:
    """Return the metric of each resample; ``index`` [R, N] holds row numbers."""
    return np.array([metric.combine([statistics[place] for place in row]) for row in index])
