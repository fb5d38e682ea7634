"""How well scores follow human ratings."""

from collections.abc import Sequence
from dataclasses import dataclass

from kimi_audio.evals.metrics.libraries import eval_extra


@dataclass(frozen=True)
class Correlation:
    """Correlations with their p-values; nan where one side is constant."""

    pearson: float
    pearson_p: float
    spearman: float
    spearman_p: float
    size: int


def correlate(scores: Sequence[float], ratings: Sequence[float]) -> Correlation:
    """Compare two columns: linearly (Pearson) and by rank (Spearman)."""
    with eval_extra():
        from scipy.stats import pearsonr, spearmanr
    if len(scores) != len(ratings) or len(scores) < 3:
        raise ValueError(f"a correlation needs at least 3 pairs, not {len(scores)} scores and {len(ratings)} ratings")
    if len(set(scores)) == 1 or len(set(ratings)) == 1:
        return Correlation(*[float("nan")] * 4, size=len(scores))
    linear, ranked = pearsonr(scores, ratings), spearmanr(scores, ratings)
    values = (linear.statistic, linear.pvalue, ranked.statistic, ranked.pvalue)  # pyright: ignore[reportAttributeAccessIssue]
    return Correlation(*map(float, values), size=len(scores))
