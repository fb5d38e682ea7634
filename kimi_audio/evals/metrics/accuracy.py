"""Share of right answers, with Wilson's interval."""

from collections.abc import Sequence
from dataclasses import dataclass

from kimi_audio.evals.metrics.libraries import eval_extra


@dataclass(frozen=True)
class Accuracy:
    """A share with its confidence interval."""

    correct: int
    total: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        """Correct of total; nan without rows."""
        return self.correct / self.total if self.total else float("nan")


def accuracy(correct: Sequence[bool], confidence: float = 0.95) -> Accuracy:
    """Count right rows. The interval is Wilson's, which holds for small samples and for shares of 0 and 1."""
    with eval_extra():
        from scipy.stats import binomtest
    right, total = sum(correct), len(correct)
    if not total:
        return Accuracy(0, 0, float("nan"), float("nan"))
    interval = binomtest(right, total).proportion_ci(confidence, method="wilson")
    return Accuracy(right, total, float(interval.low), float(interval.high))
