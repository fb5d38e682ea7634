"""Results as rows, and what stands in their cells."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kimi_audio.core.numbers import counted
from kimi_audio.evals.contract.types import Average, Counts, Result, Score
from kimi_audio.evals.metrics.error_rate import AlignedStep
from kimi_audio.evals.registry import all_suites
from kimi_audio.evals.report.references import (
    Published,
    average_of,
    find_aim,
    find_published,
    is_met,
    parse_term,
    published_averages,
)
from kimi_audio.evals.run.store import SampleOutcome, TaskFolder, read_result

FEW_SAMPLES = 10  # say nothing about an aim
SPEEDS = {  # where the result has a number, and what it is called
    "first_text_p50_s": ("first_text_s", "p50_s", "first text, s"),
    "first_sound_p50_s": ("first_sound_s", "p50_s", "first sound, s"),
    "total_p50_s": ("total_s", "p50_s", "answer, s"),
    "total_p95_s": ("total_s", "p95_s", "answer, s (95 % within)"),
    "rtf_heard": ("real_time_factor_heard", "rtf", "RTF heard"),
    "rtf_spoken": ("real_time_factor_spoken", "rtf", "RTF spoken"),
}
SPEED_HEAD = tuple(title for *_, title in SPEEDS.values())
EXPLANATION = (
    "Medians over the samples. The real-time factor (RTF) is seconds of work per second of sound, heard or spoken; a "
    "batch shares its seconds."
)


@dataclass(frozen=True)
class Entry:
    """A result and the folder of what it was made from."""

    folder: TaskFolder
    result: Result

    @property
    def sample_score(self) -> Score:
        """The first score that says how good a sample alone is; the first of all, if none does."""
        scores = self.result.scores
        return next((score for score in scores if score.scale is not None), scores[0])


@dataclass(frozen=True)
class ScoreRow:
    """One score with what has to stand beside it."""

    result: Result
    score: Score
    published: Published | None
    aim: float | None  # what the score is to reach

    @property
    def label(self) -> str:
        """The model, and whether it also spoke."""
        return self.result.model + (", with speech" if self.result.recipe.output == "both" else "")

    @property
    def is_met(self) -> bool | None:
        """Whether the score reaches its aim; None without one, or with too few samples to tell."""
        return None if self.aim is None or self.score.samples < FEW_SAMPLES else is_met(self.score, self.aim)

    @property
    def is_headline(self) -> bool:
        """Tell whether this is one to look at first: the first metric of a task, aims, and what others published."""
        return self.published is not None or self.aim is not None or self.score.metric == self.result.scores[0].metric

    @property
    def counts(self) -> Counts:
        """Where the samples of the subset went."""
        return self.result.counts[self.score.subset]


@dataclass(frozen=True)
class SpeedRow:
    """How fast a model answered in a task. None: not measured."""

    task: str
    model: str
    numbers: dict[str, float | None]  # by the names of ``SPEEDS``


@dataclass(frozen=True)
class AverageRow:
    """An average over tasks of one run, with the published ones."""

    model: str
    selection: str  # "all", or how the samples were chosen
    name: str
    source: str
    value: float
    published: dict[str, float]


def collect(folder: Path) -> list[Entry]:
    """Return all results in a folder and below, by task and model.

    Raises:
        ValueError: there is none, or a file is damaged.
    """
    paths = sorted(folder.rglob("result.json"))
    if not paths:
        raise ValueError(f"there is no result.json in {folder} or below; 'kimi-audio eval run' makes some")
    entries = [Entry(TaskFolder(path.parent), read_result(path)) for path in paths]
    return sorted(entries, key=lambda entry: (entry.result.task, entry.result.model))


def alignments_of(outcomes: Iterable[SampleOutcome]) -> dict[str, list[AlignedStep]]:
    """Return the alignments of transcripts by id of sample; none where the scorer gave none."""
    found = ((outcome.sample.id, outcome.details.get("alignment")) for outcome in outcomes)
    return {id_: [AlignedStep(*step) for step in steps] for id_, steps in found if steps}


def score_rows(results: Iterable[Result]) -> list[ScoreRow]:
    """Return all scores, each with its aim, and with what was published beside the metric that it was measured in."""
    return [
        ScoreRow(result, score, _published(result, score), find_aim(result.task, score))
        for result in results
        for score in result.scores
    ]


def _published(result: Result, score: Score) -> Published | None:
    """Return the published numbers of a metric; of the one to look at, if there is none of the published name."""
    row = find_published(result.task, score.subset)
    if row is None:
        return None
    names = [item.metric for item in result.scores]
    return row if score.metric == (row.metric if row.metric in names else names[0]) else None


@dataclass(frozen=True)
class MatrixRow:
    """A metric over a task or subset, with the scores of every model."""

    task: str
    score: Score  # of one of the models, for what all share
    measured: dict[str, list[ScoreRow]]  # by label of the model
    published: dict[str, float]  # by model
    published_metric: str

    @property
    def best(self) -> float | None:
        """The best number of the row."""
        values = [row.score.value for rows in self.measured.values() for row in rows if row.score.value is not None]
        if self.published_metric == self.score.metric:
            values += self.published.values()
        return (max if self.score.higher_is_better else min)(values, default=None)


def matrix(rows: Iterable[ScoreRow]) -> list[MatrixRow]:
    """Return scores with a row per task, subset and metric, in which the models stand side by side."""
    found: dict[tuple[str, str, str], MatrixRow] = {}
    for row in rows:
        key = (row.result.task, row.score.subset, row.score.metric)
        values, metric = (row.published.values, row.published.metric) if row.published else ({}, "")
        item = found.setdefault(key, MatrixRow(row.result.task, row.score, {}, dict(values), metric))
        item.measured.setdefault(row.label, []).append(row)
    return list(found.values())


def speeds_of(result: Result) -> dict[str, float | None]:
    """Return how fast a model answered: latencies, the first sound, real-time factors."""
    return {name: result.timings.get(quantity, {}).get(kind) for name, (quantity, kind, _) in SPEEDS.items()}


def speed_rows(results: Iterable[Result]) -> list[SpeedRow]:
    """Return the speed of all results that were timed."""
    rows = [SpeedRow(result.task, result.model, speeds_of(result)) for result in results]
    return [row for row in rows if any(value is not None for value in row.numbers.values())]


def average_rows(entries: Sequence[Entry]) -> list[AverageRow]:
    """Return the averages of all suites that a run has all scores for; runs of one model are not mixed."""
    runs: dict[tuple[str, Path], list[Result]] = {}
    for entry in entries:
        runs.setdefault((entry.result.model, entry.folder.path.parent), []).append(entry.result)
    averages = [average for suite in all_suites().values() for average in suite.averages]
    return [
        AverageRow(model, _selection_of(average, own), average.name, average.source, value, published_averages(average))
        for (model, _), own in sorted(runs.items())
        for average in averages
        if (value := average_of(average, own)) is not None
    ]


def _selection_of(average: Average, results: Iterable[Result]) -> str:
    """Return how the samples of the averaged tasks were chosen, without their numbers, which differ by task."""
    tasks = {parse_term(term)[0] for term in average.terms}
    ways = {result.selection.partition(" (")[2].removesuffix(")") for result in results if result.task in tasks}
    return "; ".join(sorted(ways - {""})) or "all"


# ---------------------------------------------------------------------------------------------------------------------
# Cells


def number(value: float | None) -> str:
    """Return a number with two decimals, a dash where there is none."""
    return "-" if value is None else f"{value:.2f}"


def interval_text(score: Score) -> str:
    """Return the 95 % interval."""
    return "-" if score.low is None or score.high is None else f"{score.low:.2f} to {score.high:.2f}"


def published_text(row: ScoreRow) -> str:
    """Return the published numbers, by model, and their metric where it is another one."""
    if row.published is None:
        return ""
    other = "" if row.published.metric == row.score.metric else f"in {row.published.metric}: "
    return other + ", ".join(f"{model} {value:.2f}" for model, value in row.published.values.items())


def aim_text(row: ScoreRow) -> str:
    """Return the aim of a score and whether it is met; nothing without one."""
    if row.aim is None:
        return ""
    bound = "≤" if not row.score.higher_is_better else "≥" if row.aim else ">"
    if row.score.samples < FEW_SAMPLES:
        return f"{bound} {row.aim:g} {row.score.unit}; {counted(row.score.samples, 'sample')}: too few to tell"
    return f"{bound} {row.aim:g} {row.score.unit}, {'met' if row.is_met else 'missed'}"


def counts_text(counts: Counts) -> str:
    """Return the counts that are not nothing."""
    parts = [f"{counts.scored} of {counts.total} scored"]
    parts += [
        f"{getattr(counts, name)} {name}"
        for name in ("failed", "unscored", "skipped", "empty")
        if getattr(counts, name)
    ]
    return ", ".join(parts)


def recipe_text(result: Result) -> str:
    """Return the fingerprint of the recipe, and what is answered: text, or text and speech."""
    return f"{result.fingerprint} ({'text and speech' if result.recipe.output == 'both' else 'text'})"
