"""Averages over tasks, of our scores and of published ones."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kimi_audio.evals.contract.types import Average, Result, Score
from kimi_audio.evals.report.published import find_published


@dataclass(frozen=True)
class AverageScore:
    """An average of one model, or why there is none."""

    average: Average
    value: float | None
    missing: tuple[str, ...] = ()  # terms without a score


def find_score(result: Result, subset: str = "", metric: str = "") -> Score | None:
    """Return the score of a subset; without a metric, of the one to look at."""
    fitting = (score for score in result.scores if score.subset == subset and metric in ("", score.metric))
    return next(fitting, None)


def parse_term(term: str) -> tuple[str, str, str]:
    """Return task, subset and metric of a term; what it leaves out is empty."""
    task, _, rest = term.partition("/")
    subset, _, metric = rest.partition("/")
    return task, subset, metric


def average_of(average: Average, results: Iterable[Result]) -> AverageScore:
    """Return the average over the results of one model."""
    by_task = {result.task: result for result in results}
    values: dict[str, float] = {}
    for term in average.terms:
        task, subset, metric = parse_term(term)
        score = find_score(by_task[task], subset, metric) if task in by_task else None
        if score and score.value is not None:
            values[term] = score.value
    return _weighted(average, values)


def published_averages(average: Average) -> dict[str, float]:
    """Return the average by model, from the published columns."""
    columns = {term: find_published(*parse_term(term)[:2]) for term in average.terms}
    if not all(columns.values()):
        return {}
    tables: Sequence[Mapping[str, float]] = [column.values for column in columns.values() if column]
    models = [model for model in tables[0] if all(model in table for table in tables)]
    found = {model: {term: column.values[model] for term, column in columns.items() if column} for model in models}
    return {model: value for model in models if (value := _weighted(average, found[model]).value) is not None}


def _weighted(average: Average, values: Mapping[str, float]) -> AverageScore:
    if missing := tuple(term for term in average.terms if term not in values):
        return AverageScore(average, None, missing)
    return AverageScore(average, sum(weight * values[term] for term, weight in average.terms.items()))
