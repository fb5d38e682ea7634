"""What stands beside our scores: the tables of the technical report (``published.json``), averages of them, and aims.

An aim is what a score is to reach, as the modules of tasks say. An error rate is to be that low, others that high; an
aim of 0 of a difference, such as a gain over chance, is met above it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kimi_audio.evals.contract.types import Average, Result, Score
from kimi_audio.evals.registry import all_aims


@dataclass(frozen=True)
class Published:
    """One column of a published table: a metric of a test set, by model."""

    task: str
    subset: str
    metric: str
    unit: str
    higher_is_better: bool
    values: Mapping[str, float]
    source: str


@cache
def published() -> tuple[Published, ...]:
    """Return all published numbers; a task that is none of ours is listed, too."""
    document = json.loads(Path(__file__).with_name("published.json").read_text("utf-8"))
    return tuple(Published(source=f"{document['source']}, Table {row.pop('table')}", **row) for row in document["rows"])


def find_published(task: str, subset: str) -> Published | None:
    """Return what was published about a subset of a task."""
    return next((row for row in published() if (row.task, row.subset) == (task, subset)), None)


def parse_term(term: str) -> tuple[str, str, str]:
    """Return task, subset and metric of a term; what it leaves out is empty."""
    task, subset, metric, *_ = [*term.split("/", 2), "", ""]
    return task, subset, metric


def average_of(average: Average, results: Iterable[Result]) -> float | None:
    """Return the average over the results of one model; None if a term has no score."""
    by_task = {result.task: result for result in results}
    values: dict[str, float] = {}
    for term in average.terms:
        task, subset, metric = parse_term(term)
        scores = by_task[task].scores if task in by_task else ()
        # Without a metric, the one to look at.
        fitting = (item.value for item in scores if item.subset == subset and metric in ("", item.metric))
        if (value := next(fitting, None)) is not None:
            values[term] = value
    return _weighted(average, values)


def published_averages(average: Average) -> dict[str, float]:
    """Return the average by model, from the published columns."""
    columns = {term: find_published(*parse_term(term)[:2]) for term in average.terms}
    models = dict.fromkeys(model for column in columns.values() if column for model in column.values)
    found = {}
    for model in models:
        values = {term: column.values[model] for term, column in columns.items() if column and model in column.values}
        if (value := _weighted(average, values)) is not None:
            found[model] = value
    return found


def _weighted(average: Average, values: Mapping[str, float]) -> float | None:
    if values.keys() != average.terms.keys():
        return None
    return sum(weight * values[term] for term, weight in average.terms.items())


def find_aim(task: str, score: Score) -> float | None:
    """Return what a score is to reach, None if nobody said."""
    return all_aims().get((task, score.subset, score.metric))


def is_met(score: Score, aim: float) -> bool:
    """Tell whether a score reaches its aim; one that is missing does not."""
    if score.value is None:
        return False
    if not score.higher_is_better:
        return score.value <= aim
    return score.value >= aim if aim else score.value > aim
