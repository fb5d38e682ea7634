"""What the plots of a page show, as places in percent of their axes; the templates draw it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kimi_audio.evals.report.tables import ScoreRow


@dataclass(frozen=True)
class Mark:
    """A score on its axis: a dot with the 95 % interval."""

    subset: str
    model: str
    value: float
    low: float
    high: float
    is_published: bool = False


@dataclass(frozen=True)
class Group:
    """Scores that share an axis, from ``start`` to ``end``."""

    task: str
    metric: str
    unit: str
    start: float
    end: float
    marks: list[Mark]

    def place(self, value: float) -> str:
        """Return where a value lies, in percent of the axis."""
        return f"{100 * (value - self.start) / (self.end - self.start):.2f}"


def forest(rows: Iterable[ScoreRow]) -> list[Group]:
    """Return the groups of a forest plot, one per task and metric; in it the models of a subset follow each other."""
    groups: dict[tuple[str, str, str], list[Mark]] = {}
    for row in rows:
        score, marks = row.score, groups.setdefault((row.result.task, row.score.metric, row.score.unit), [])
        if score.value is not None:
            low, high = (score.value if end is None else end for end in (score.low, score.high))
            marks.append(Mark(score.subset, row.label, score.value, low, high))
        if row.published and row.published.metric == score.metric:
            stated = [Mark(score.subset, *item, item[1], item[1], True) for item in row.published.values.items()]
            marks += [mark for mark in stated if mark not in marks]
    for marks in groups.values():
        marks.sort(key=lambda mark: (mark.subset, mark.is_published))
    return [Group(*key, *_axis(marks), marks) for key, marks in groups.items() if marks]


def _axis(marks: Sequence[Mark]) -> tuple[float, float]:
    """Return round ends of an axis: 0, unless there is less, and the next of 1, 2, 5, 10, 20, ... above all."""
    start, end = min(0.0, *(mark.low for mark in marks)), max(mark.high for mark in marks)
    step = 10.0 ** math.floor(math.log10(end)) if end > 0 else 1.0
    return start, next(factor * step for factor in (1, 2, 5, 10) if factor * step >= end)


def histogram(values: Sequence[float]) -> tuple[list[int], float, float] | None:
    """Return how many samples have a score in each of some equal bins, and the ends; None for fewer than two."""
    if len(values) < 2:
        return None
    counts, edges = np.histogram(values, bins=min(20, max(5, len(values) // 5)))
    return counts.tolist(), edges[0], edges[-1]


def times(times_s: Mapping[str, Sequence[float]]) -> tuple[dict[str, str], float] | None:
    """Return the share of answers that are there after some seconds, and the seconds of the last; None without times.

    A quantity is a polyline, its points in percent of both axes, y downwards.
    """
    measured = {name: np.sort(values) for name, values in times_s.items() if len(values) > 1}
    end_s = max((values[-1] for values in measured.values()), default=0.0)
    if end_s <= 0:
        return None
    curves = {}
    for name, values in measured.items():
        x = np.repeat([0.0, *values, end_s], 2)[1:-1] / end_s * 100
        y = 100 - np.repeat(np.arange(len(values) + 1), 2) / len(values) * 100
        curves[name] = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return curves, float(end_s)
