"""Two runs side by side: differences on the same samples, and whether chance explains them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kimi_audio.evals.metrics.statistics import compare_ratios, holm
from kimi_audio.evals.report.tables import Entry
from kimi_audio.evals.store import Outcome
from kimi_audio.evals.types import Score


@dataclass(frozen=True)
class Difference:
    """A metric of two runs on the samples that both have numbers for; failed ones count as the worst answer."""

    task: str
    subset: str
    metric: str
    unit: str
    higher_is_better: bool
    a: float
    b: float
    difference: float  # b minus a
    low: float  # 95 % interval of the difference, by paired bootstrap
    high: float
    p_value: float  # two-sided, paired permutation test
    adjusted_p: float  # for all tests of the comparison at once, by Holm
    samples: int
    only_one: int  # samples that only one of both has numbers for

    @property
    def verdict(self) -> str:
        """Say which run is better, at the 5 % level."""
        if self.adjusted_p >= 0.05 or not self.difference:
            return "no significant difference"
        return "B is better" if (self.difference > 0) == self.higher_is_better else "A is better"


@dataclass(frozen=True)
class Pair:
    """A task that both runs have."""

    a: Entry
    b: Entry

    @property
    def notes(self) -> list[str]:
        """Say what else differs than the model, for then the comparison is not one of models."""
        first, second = self.a.result, self.b.result
        found = []
        for name in ("task_version", "fingerprint", "seed", "selection", "versions"):
            if (left := getattr(first, name)) != (right := getattr(second, name)):
                label = {"fingerprint": "recipe", "task_version": "version of the task"}.get(name, name)
                found.append(f"{label}: {left} and {right}")
        return found


def pair_entries(a: Sequence[Entry], b: Sequence[Entry]) -> tuple[list[Pair], list[str]]:
    """Return the tasks of both runs, and the names of those that only one of them has.

    Raises:
        ValueError: there is none in common, or a run has several models.
    """
    tables = []
    for name, entries in (("A", a), ("B", b)):
        table = {entry.result.task: entry for entry in entries if not entry.result.error}
        if len(entries) != len({entry.result.task for entry in entries}):
            raise ValueError(f"run {name} holds a task several times; give the folder of one model")
        tables.append(table)
    first, second = tables
    pairs = [Pair(first[task], second[task]) for task in first if task in second]
    if not pairs:
        raise ValueError("the two runs have no task in common")
    return pairs, sorted(set(first) ^ set(second))


def compare(pairs: Sequence[Pair]) -> list[Difference]:
    """Compare over each task and subset all metrics that are ratios; others do not add up over samples."""
    raw = [found for pair in pairs for score in pair.a.result.scores if (found := _compare_score(pair, score))]
    adjusted = holm([values["p_value"] for values in raw])
    return [Difference(**values, adjusted_p=p_value) for values, p_value in zip(raw, adjusted, strict=True)]


def _compare_score(pair: Pair, score: Score) -> dict[str, Any] | None:
    twin = next(
        (item for item in pair.b.result.scores if (item.metric, item.subset) == (score.metric, score.subset)), None
    )
    if twin is None or score.scale is None or twin.scale != score.scale:
        return None
    first, second = (_statistics(entry, score) for entry in (pair.a, pair.b))
    common = [id_ for id_ in first if id_ in second]
    if not common:
        return None
    columns = [tuple(zip(*(table[id_] for id_ in common), strict=True)) for table in (first, second)]
    a, b = ((column[0], column[1]) for column in columns)
    found = compare_ratios(a, b, higher_is_better=score.higher_is_better)
    if not math.isfinite(found.difference.estimate) or not math.isfinite(found.difference.low):
        return None
    return {
        "task": pair.a.result.task,
        "subset": score.subset,
        "metric": score.metric,
        "unit": score.unit,
        "higher_is_better": score.higher_is_better,
        "a": score.scale * sum(a[0]) / sum(a[1]),
        "b": score.scale * sum(b[0]) / sum(b[1]),
        "difference": score.scale * found.difference.estimate,
        "low": score.scale * found.difference.low,
        "high": score.scale * found.difference.high,
        "p_value": found.p_value,
        "samples": len(common),
        "only_one": len(set(first) ^ set(second)),
    }


def _statistics(entry: Entry, score: Score) -> Mapping[str, Any]:
    """Return the statistics of a metric by id of sample."""
    return {
        outcome.sample.id: outcome.values[score.metric]
        for outcome in entry.folder.read_outcomes()
        if score.metric in outcome.values and score.subset in ("", outcome.sample.subset)
    }


@dataclass(frozen=True)
class Change:
    """A sample that the two runs do not answer equally well."""

    a: Outcome
    b: Outcome
    gain: float  # of b, in the unit of the metric; positive is better


def changes(pair: Pair) -> list[Change]:
    """Return the samples whose score differs in the metric to look at, the largest changes first."""
    score = pair.a.result.scores[0]
    second = {outcome.sample.id: outcome for outcome in pair.b.folder.read_outcomes()}
    found = []
    for first in pair.a.folder.read_outcomes():
        twin = second.get(first.sample.id)
        if twin is None or score.scale is None:
            continue
        left, right = (value_of_sample(outcome, score) for outcome in (first, twin))
        if left is not None and right is not None and left != right:
            found.append(Change(first, twin, (right - left) * (1 if score.higher_is_better else -1)))
    return sorted(found, key=lambda change: -abs(change.gain))


def value_of_sample(outcome: Outcome, score: Score) -> float | None:
    """Return a metric of one sample alone, None where it is no ratio or has no weight."""
    statistic = outcome.values.get(score.metric)
    if statistic is None or score.scale is None or not statistic[1]:
        return None
    return score.scale * statistic[0] / statistic[1]
