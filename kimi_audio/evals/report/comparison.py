"""Two runs side by side: differences on the same samples, and whether chance explains them."""

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from kimi_audio.core.numbers import counted
from kimi_audio.evals import registry
from kimi_audio.evals.contract.types import EvalSample, Metric, Score
from kimi_audio.evals.metrics.statistics import RESAMPLES, holm
from kimi_audio.evals.report.tables import Entry
from kimi_audio.evals.run.aggregate import difference, value_of
from kimi_audio.evals.run.store import SampleOutcome

_PERMUTATIONS_PER_TASK = 100  # then the smallest p-value, adjusted for all tasks, is 1 %


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
    low: float  # 95 % interval of the difference
    high: float
    p_value: float  # two-sided, paired permutation test
    adjusted_p: float | None  # of the headline of each task, for all tasks at once, by Holm; other rows have none
    samples: int
    only_one: int  # samples that only one of both has numbers for

    @property
    def is_headline(self) -> bool:
        """Tell whether this is the first metric of a task, over all its samples."""
        return self.adjusted_p is not None

    @property
    def verdict(self) -> str:
        """Say which run is better, at the 5 % level; of rows beside the headline, by their own p-value."""
        p_value = self.p_value if self.adjusted_p is None else self.adjusted_p
        if p_value >= 0.05 or not self.difference:
            return "no significant difference"
        better = "B is better" if (self.difference > 0) == self.higher_is_better else "A is better"
        return better if self.is_headline else f"{better}, taken alone"


@dataclass(frozen=True)
class Pair:
    """A task that both runs have."""

    a: Entry
    b: Entry

    @cached_property
    def differing(self) -> frozenset[str]:
        """The ids under which the two runs ask something else, such as lines that are numbered in both."""
        second = {item.id: _asked(item) for item in self.b.folder.read_asked()}
        return frozenset(
            item.id for item in self.a.folder.read_asked() if item.id in second and second[item.id] != _asked(item)
        )

    @property
    def notes(self) -> list[str]:
        """Say what else differs than the model, for then the comparison is not one of models."""
        first, second = self.a.result, self.b.result
        found = []
        for name in ("task_version", "fingerprint", "seed", "selection", "versions"):
            if (left := getattr(first, name)) != (right := getattr(second, name)):
                label = {"fingerprint": "recipe", "task_version": "version of the task"}.get(name, name)
                found.append(f"{label}: {left} and {right}")
        if self.differing:
            few = counted(len(self.differing), "sample")
            found.append(f"what is asked: {few} of the same id, such as {min(self.differing)!r}; they are left out")
        return found


def _asked(sample: EvalSample) -> Sequence[Any]:
    """Return what tells a question from another one of the same id."""
    return sample.references, sample.text, sample.meta.get("question"), sample.meta.get("choices")


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
    """Compare all metrics over each task and subset.

    One question is asked of each task, that of its first metric over all samples; only their p-values are adjusted for
    each other. With as many permutations as that takes, for a p-value cannot be smaller than one of them.
    """
    permutations = max(RESAMPLES, _PERMUTATIONS_PER_TASK * len(pairs))
    rows = [row for pair in pairs for score in _distinct(pair) if (row := _compare_score(pair, score, permutations))]
    first = {row.task: row for row in reversed(rows) if not row.subset}  # the first of each task wins
    headlines = [row for row in rows if first.get(row.task) is row]
    adjusted = iter(holm([row.p_value for row in headlines]))
    return [replace(row, adjusted_p=next(adjusted)) if first.get(row.task) is row else row for row in rows]


def _distinct(pair: Pair) -> list[Score]:
    """Return the scores of a task without those of a subset that holds all samples, which are there already."""
    counts = pair.a.result.counts
    return [item for item in pair.a.result.scores if not item.subset or counts[item.subset].total < counts[""].total]


def not_compared(pairs: Sequence[Pair]) -> list[str]:
    """Return the metrics of tasks that are not installed, which nobody knows how to compute."""
    scores = ((pair.a.result.task, score) for pair in pairs for score in pair.a.result.scores)
    return list(dict.fromkeys(f"{task} {score.metric}" for task, score in scores if _metric_of(task, score) is None))


def too_few(pairs: Sequence[Pair], rows: Iterable[Difference]) -> list[str]:
    """Return the tasks that no row is about, though they are installed."""
    told = {row.task for row in rows} | {name.partition(" ")[0] for name in not_compared(pairs)}
    return [pair.a.result.task for pair in pairs if pair.a.result.task not in told]


def _metric_of(task: str, score: Score) -> Metric | None:
    """Return the metric of a score: as the score describes it, or, if it is no ratio, as its task does."""
    if score.scale is not None:
        return Metric(score.metric, score.unit, score.scale, score.higher_is_better)
    known = registry.all_tasks().get(task)
    metrics = known.scorer.metrics if known else ()
    return next((metric for metric in metrics if metric.name == score.metric), None)


def _compare_score(pair: Pair, score: Score, permutations: int) -> Difference | None:
    names = {(item.metric, item.subset, item.scale) for item in pair.b.result.scores}
    task = pair.a.result.task
    metric = _metric_of(task, score)
    if metric is None or (score.metric, score.subset, score.scale) not in names:
        return None
    first, second = (_statistics(entry, score, pair.differing) for entry in (pair.a, pair.b))
    common = [id_ for id_ in first if id_ in second]
    a, b = ([table[id_] for id_ in common] for table in (first, second))
    if (value_a := value_of(metric, a)) is None or (value_b := value_of(metric, b)) is None:
        return None
    found = difference(metric, a, b, permutations if score.scale is not None else RESAMPLES)
    if not math.isfinite(found.interval[0]):
        return None
    return Difference(
        task,
        score.subset,
        score.metric,
        score.unit,
        score.higher_is_better,
        value_a,
        value_b,
        found.difference,
        *found.interval,
        found.p_value,
        None,
        len(common),
        len(set(first) ^ set(second)),
    )


def _statistics(entry: Entry, score: Score, left_out: Container[str]) -> Mapping[str, Any]:
    """Return the statistics of a metric by id of sample."""
    return {
        outcome.sample.id: outcome.values[score.metric]
        for outcome in entry.folder.read_outcomes()
        if score.metric in outcome.values
        and score.subset in ("", outcome.sample.subset)
        and outcome.sample.id not in left_out
    }


@dataclass(frozen=True)
class Change:
    """A sample that the two runs do not answer equally well."""

    a: SampleOutcome
    b: SampleOutcome
    gain: float  # of b, in the unit of the metric; positive is better


def changes(pair: Pair) -> list[Change]:
    """Return the samples whose score differs, the largest changes first."""
    score = pair.a.sample_score
    second = {outcome.sample.id: outcome for outcome in pair.b.folder.read_outcomes()}
    found = []
    for first in pair.a.folder.read_outcomes():
        twin = second.get(first.sample.id)
        if twin is None or first.sample.id in pair.differing:
            continue
        left, right = (value_of_sample(outcome, score) for outcome in (first, twin))
        if left is not None and right is not None and left != right:
            found.append(Change(first, twin, (right - left) * (1 if score.higher_is_better else -1)))
    return sorted(found, key=lambda change: -abs(change.gain))


def value_of_sample(outcome: SampleOutcome, score: Score) -> float | None:
    """Return a metric of one sample alone, None where it is no ratio or has no weight."""
    statistic = outcome.values.get(score.metric)
    if statistic is None or score.scale is None or not statistic[1]:
        return None
    return score.scale * statistic[0] / statistic[1]
