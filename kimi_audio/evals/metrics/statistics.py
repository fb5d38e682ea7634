"""How sure a score is, and whether one model beats another.

Rows are resampled, and the score of the whole corpus is computed anew. Most scores are sums over rows divided by sums
over rows: error rates (errors, tokens), accuracies (1 or 0, 1), mean ratings (rating, 1). For those it is quick; others
(BLEU) are computed resample by resample. Draws come from a seed: the same call, the same numbers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_CELLS = 2_000_000  # resampled rows held at a time, to bound the memory
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate with its bootstrap percentile interval."""

    estimate: float
    low: float
    high: float
    confidence: float
    resamples: int


@dataclass(frozen=True)
class Comparison:
    """Model B against model A on the same rows."""

    difference: Interval  # B minus A
    p_improvement: float  # share of resamples in which B is better; ties count half
    p_value: float  # two-sided, of the paired permutation test: how often chance alone differs as much


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], Floats],
    rows: int,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Bootstrap any statistic of rows.

    Args:
        statistic: maps row numbers [R, N] to one value per resample [R]; nan for a resample that has none.
        rows: how many there are.
        confidence: of the interval.
        resamples: how many are drawn.
        seed: of the draws.
    """
    estimate = float(statistic(np.arange(rows)[None])[0]) if rows else float("nan")
    values = _resampled(statistic, rows, resamples, seed) if rows else np.empty(0)
    return _interval(estimate, values, confidence)


def bootstrap_ratio(
    numerators: ArrayLike,
    weights: ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Bootstrap sum(numerators) / sum(weights), such as errors by reference tokens, one pair per row."""
    above, below = _pairs(numerators, weights)
    return bootstrap(
        lambda index: _ratio(above[index], below[index]),
        len(above),
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


def compare(
    statistic: Callable[[NDArray[np.int64]], Floats],
    rows: int,
    *,
    higher_is_better: bool,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare two models on the same rows: paired bootstrap and paired permutation test.

    Args:
        statistic: maps row numbers [R, N] to one score per resample [R]. Row n of model A is number n, that of model B
            is number ``rows`` + n.
        rows: how many each model has.
        higher_is_better: False for error rates.
        confidence: of the interval of the difference.
        resamples: of the bootstrap, and permutations of the test.
        seed: of the draws.
    """
    if not rows:
        raise ValueError("a paired test needs at least one row")

    def difference(index: NDArray[np.int64]) -> Floats:
        return statistic(index + rows) - statistic(index)

    own = np.arange(rows)[None]
    observed = float(difference(own)[0])
    values = _resampled(difference, rows, resamples, seed)
    gains = values if higher_is_better else -values
    extreme = 0
    for swap in _coins(rows, resamples, seed):
        swapped = statistic(np.where(swap, own, own + rows)) - statistic(np.where(swap, own + rows, own))
        # Rounding must not make a permutation less extreme than the observation it equals.
        extreme += int(np.sum(np.abs(swapped) >= abs(observed) - 1e-12))
    return Comparison(
        difference=_interval(observed, values, confidence),
        p_improvement=float(np.mean((gains > 0) + 0.5 * (gains == 0))),
        p_value=(extreme + 1) / (resamples + 1),
    )


def compare_ratios(
    a: tuple[ArrayLike, ArrayLike],
    b: tuple[ArrayLike, ArrayLike],
    *,
    higher_is_better: bool,
    resamples: int = 2000,
) -> Comparison:
    """Compare sums of numerators over sums of weights, given for model A and, in the same order, for model B."""
    (above_a, below_a), (above_b, below_b) = _pairs(*a), _pairs(*b)
    if len(above_a) != len(above_b):
        raise ValueError(f"a paired test needs the same rows: model A has {len(above_a)}, model B {len(above_b)}")
    above, below = np.concatenate([above_a, above_b]), np.concatenate([below_a, below_b])
    return compare(
        lambda index: _ratio(above[index], below[index]),
        len(above_a),
        higher_is_better=higher_is_better,
        resamples=resamples,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for that many tests at once (Holm), in the same order."""
    adjusted = [0.0] * len(p_values)
    floor = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = floor
    return adjusted


def _pairs(numerators: ArrayLike, weights: ArrayLike) -> tuple[Floats, Floats]:
    above, below = np.asarray(numerators, np.float64), np.asarray(weights, np.float64)
    if above.ndim != 1 or above.shape != below.shape:
        raise ValueError(f"give one numerator and one weight per row, not {above.shape} and {below.shape}")
    return above, below


def _ratio(numerators: Floats, weights: Floats) -> Floats:
    """Return the ratios of sums over the last axis; nan where the weights are 0."""
    below = weights.sum(-1)
    return np.divide(numerators.sum(-1), below, out=np.full(below.shape, np.nan), where=below != 0)


def _resampled(statistic: Callable[[NDArray[np.int64]], Floats], rows: int, resamples: int, seed: int) -> Floats:
    generator = np.random.default_rng(seed)
    sizes = _chunks(rows, resamples)
    values = np.concatenate([statistic(generator.integers(0, rows, (size, rows))) for size in sizes])
    return values[~np.isnan(values)]


def _coins(rows: int, resamples: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    """Yield which rows change sides, [R, N]."""
    generator = np.random.default_rng(seed)
    for size in _chunks(rows, resamples):
        yield generator.integers(0, 2, (size, rows)).astype(bool)


def _chunks(rows: int, resamples: int) -> list[int]:
    size = max(1, _CELLS // rows)
    return [min(size, resamples - start) for start in range(0, resamples, size)]


def _interval(estimate: float, values: Floats, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, (tail, 1 - tail)) if len(values) else (np.nan, np.nan)
    return Interval(estimate, float(low), float(high), confidence, len(values))
