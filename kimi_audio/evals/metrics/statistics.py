"""How sure a score is, and whether one model beats another.

Most scores are sums over samples divided by sums over samples: error rates (errors, tokens), accuracies (1 or 0, 1),
mean ratings (rating, 1). Their intervals come from the residuals of the samples, on a logarithmic scale and with
Student's t, for error rates are skewed: the percentile bootstrap covers 79 % instead of 95 at 10 samples, 91 at 50.
Shares of samples have Wilson's. Others (BLEU) are computed anew for resamples of the samples. Draws come from a seed:
the same call, the same numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kimi_audio.evals.metrics.libraries import eval_extra

_CELLS = 2_000_000  # resampled rows held at a time, to bound the memory
_Z = 1.959963984540054  # 95 % of a normal distribution are within
RESAMPLES = 2000
MIN_ROWS = 10  # fewer say nothing about the rows that were not seen
Floats = NDArray[np.float64]
Statistic = Callable[[NDArray[np.int64]], Floats]  # from row numbers [R, N] to one value per resample [R]; nan: none
Interval = tuple[float, float]  # of 95 %
NO_INTERVAL: Interval = (float("nan"), float("nan"))


@dataclass(frozen=True)
class Comparison:
    """Model B against model A on the same rows."""

    difference: float  # B minus A
    interval: Interval
    p_value: float  # two-sided, of the paired permutation test: how often chance alone differs as much


def wilson(successes: float, total: float) -> Interval:
    """Return Wilson's interval of a share, which holds for small samples and for shares of 0 and 1."""
    share, shrink = successes / total, _Z**2 / total
    centre = (share + shrink / 2) / (1 + shrink)
    spread = _Z / (1 + shrink) * np.sqrt(share * (1 - share) / total + shrink / (4 * total))
    return float(centre - spread) if share > 0 else 0.0, float(centre + spread) if share < 1 else 1.0


def ratio_interval(numerators: ArrayLike, weights: ArrayLike) -> Interval:
    """Return the interval of sum(numerators) / sum(weights), such as errors by reference tokens, one pair per row.

    Below ``MIN_ROWS``, only shares of rows have one. Where all rows are equally good there are no residuals: shares of
    0 and 1 then have Wilson's of all weights, others no interval.
    """
    above, below = _pairs(numerators, weights)
    if len(above) < 2 or below.sum() <= 0:
        return NO_INTERVAL
    is_share = bool(np.all((above >= 0) & (above <= below)))
    if is_share and set(below) == {1} and set(above) <= {0, 1}:
        return wilson(above.sum(), len(above))
    if len(above) < MIN_ROWS:
        return NO_INTERVAL
    rate, margin = above.sum() / below.sum(), _margin(_influence(above, below))
    if not margin:
        return wilson(above.sum(), below.sum()) if is_share and rate in (0, 1) else NO_INTERVAL
    if is_share and rate > 0.5:  # what is missing to 1 is what is skewed
        low, high = _log_interval(1 - rate, margin)
        return max(0.0, 1 - high), 1 - low
    if rate > 0 and np.all(above >= 0):
        low, high = _log_interval(rate, margin)
        return low, min(1.0, high) if is_share else high
    return rate - margin, rate + margin


def _log_interval(rate: float, margin: float) -> Interval:
    return float(rate * np.exp(-margin / rate)), float(rate * np.exp(margin / rate))


def _influence(above: Floats, below: Floats) -> Floats:
    """Return what each row adds to the ratio of the sums; nothing of rows without weight if there are no weights."""
    weight = below.sum()
    return (above - above.sum() / weight * below) / weight


def _margin(influence: Floats) -> float:
    """Return how far the 95 % interval reaches to either side."""
    with eval_extra():
        from scipy.stats import t
    rows = len(influence)
    deviation = np.sqrt(rows / (rows - 1) * np.sum(influence**2))
    # Rounding leaves traces where all rows are equally good.
    return float(t.ppf(0.975, rows - 1) * deviation) if deviation > 1e-12 else 0.0


def bootstrap(statistic: Statistic, rows: int, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Return the percentile interval of any statistic of rows; it is too narrow below about 100 rows.

    Args:
        statistic: what is asked about.
        rows: how many there are.
        resamples: how many are drawn.
        seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    drawn = [statistic(generator.integers(0, rows, (size, rows))) for size in _chunks(rows, resamples)]
    values = np.concatenate(drawn)
    values = values[~np.isnan(values)]
    low, high = np.quantile(values, (0.025, 0.975)) if len(values) else NO_INTERVAL
    return float(low), float(high)


def compare(
    statistic: Statistic, rows: int, *, resamples: int = RESAMPLES, permutations: int = RESAMPLES, seed: int = 0
) -> Comparison:
    """Compare two models on the same rows: paired bootstrap and paired permutation test.

    Args:
        statistic: of row numbers. Row n of model A is number n, that of model B is number ``rows`` + n.
        rows: how many each model has.
        resamples: of the bootstrap.
        permutations: of the test; its p-value is no smaller than 1 / (permutations + 1).
        seed: of the draws.
    """
    if not rows:
        raise ValueError("a paired test needs at least one row")

    def difference(index: NDArray[np.int64]) -> Floats:
        return statistic(index + rows) - statistic(index)

    observed = float(difference(np.arange(rows)[None])[0])
    interval = bootstrap(difference, rows, resamples=resamples, seed=seed)
    return Comparison(observed, interval, _permutation_test(statistic, rows, observed, permutations, seed))


def compare_ratios(
    a: tuple[ArrayLike, ArrayLike], b: tuple[ArrayLike, ArrayLike], *, permutations: int = RESAMPLES, seed: int = 0
) -> Comparison:
    """Compare sums of numerators over sums of weights, given for model A and, in the same order, for model B."""
    (above_a, below_a), (above_b, below_b) = _pairs(*a), _pairs(*b)
    if len(above_a) != len(above_b):
        raise ValueError(f"a paired test needs the same rows: model A has {len(above_a)}, model B {len(above_b)}")
    rows = len(above_a)
    above, below = np.concatenate([above_a, above_b]), np.concatenate([below_a, below_b])
    if not rows or below_a.sum() <= 0 or below_b.sum() <= 0:
        raise ValueError("a paired test needs at least one row with weight of each model")
    observed = float(above_b.sum() / below_b.sum() - above_a.sum() / below_a.sum())
    margin = _margin(_influence(above_b, below_b) - _influence(above_a, below_a)) if rows > 1 else float("inf")
    p_value = _permutation_test(lambda index: _ratio(above[index], below[index]), rows, observed, permutations, seed)
    return Comparison(observed, (observed - margin, observed + margin), p_value)


def _permutation_test(statistic: Statistic, rows: int, observed: float, permutations: int, seed: int) -> float:
    """Return the share of random exchanges of the two models, row by row, that differ as much as observed."""
    generator, own, extreme = np.random.default_rng(seed), np.arange(rows)[None], 0
    for size in _chunks(rows, permutations):
        swap = generator.integers(0, 2, (size, rows), np.uint8).astype(bool)
        swapped = statistic(np.where(swap, own, own + rows)) - statistic(np.where(swap, own + rows, own))
        # Rounding must not make a permutation less extreme than the observation it equals.
        extreme += int(np.sum(np.abs(swapped) >= abs(observed) - 1e-12))
    return (extreme + 1) / (permutations + 1)


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


def _chunks(rows: int, resamples: int) -> list[int]:
    size = max(1, _CELLS // rows)
    return [min(size, resamples - start) for start in range(0, resamples, size)]
