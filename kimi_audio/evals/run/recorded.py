"""Predictions that were made elsewhere in the place of a model; ``predictions.py`` reads their files."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from kimi_audio.evals import registry
from kimi_audio.evals.contract.types import EvalSample, EvalTask, Options, Prediction
from kimi_audio.evals.metrics.languages import check_language
from kimi_audio.evals.run.predictions import Predictions
from kimi_audio.evals.run.store import SampleAnswer
from kimi_audio.evals.tasks import own

logger = logging.getLogger(__name__)

_TRANSCRIBING = ("transcri", "recogni", "转写", "转录", "写成文字", "识别", "what was said", "write down")


class Recorded:
    """The backend that looks answers up. Samples without a row, or with several that differ, have failed.

    Args:
        file: the predictions.
        name: of the model that made them.
        task: rows that name another known one are left out.
    """

    family = "recorded"
    hears, at_once = False, 1

    def __init__(self, file: Predictions, name: str, task: str) -> None:
        self.name, self.revision = name, f"file {file.digest}"
        reasons = ("the file has no prediction for it", file.lost)
        self._missing = Prediction(error="; ".join(filter(None, reasons)))
        self._answers: dict[str, Prediction] = {}
        known, is_own = registry.all_tasks(), task in {item.name for item in own.ELSEWHERE.values()}
        for row in file.rows:
            if row.prediction is None or (row.task in known and row.task != task):
                continue
            if not (row.has_id or is_own):
                logger.warning("%s does not count: it has no id", row.place)
                continue
            if self._answers.setdefault(row.id, row.prediction) != row.prediction:
                self._answers[row.id] = Prediction(error="the file has different predictions for it")

    def answer(self, batches: Iterable[Sequence[EvalSample]], options: Options) -> Iterator[SampleAnswer]:
        """Yield what the file holds for each sample."""
        for sample in (sample for batch in batches for sample in batch):
            yield SampleAnswer(**vars(self._answers.get(sample.id, self._missing)), id=sample.id)

    def unused(self, asked: Iterable[str]) -> list[str]:
        """Return the ids of the file that are not among those that were asked for."""
        return sorted(set(self._answers) - set(asked))


def tasks_of(
    file: Predictions, task: str | None = None, metric: str | None = None, language: str = ""
) -> list[EvalTask]:
    """Return the tasks that a file answers.

    Args:
        file: the predictions.
        task: the one that is answered; else those that the rows name, if they are known here.
        metric: how rows with references of their own are scored, one of ``own.ELSEWHERE``; else by what they hold.
        language: of the rows that do not state theirs.

    Raises:
        ValueError: it cannot be told, or there is no such task, metric or language.
    """
    if task:
        if metric or language:
            raise ValueError("--metric and --language are for lines with references of their own; a task has both")
        tasks = registry.find_tasks([task])
        if len(tasks) != 1:
            raise ValueError(f"{task} is a suite; name one task, or name the task in each line")
        return tasks
    known = registry.all_tasks()
    named = dict.fromkeys(row.task for row in file.rows if row.task in known)
    if named and metric is None:
        return registry.find_tasks(named)
    if not any(row.reference for row in file.rows):
        foreign = next((row.task for row in file.rows if row.task), "")
        hint = f" (there is no task {foreign!r})" if foreign else ""
        reason = f"; {file.lost}" if file.lost else ""
        ways = "give --task, --references, or lines with a reference"
        raise ValueError(f"{file.path} does not say what it answers{hint}: {ways}{reason}")
    if metric is not None and metric not in own.ELSEWHERE:
        raise ValueError(f"there is no --metric {metric!r}; there are {', '.join(own.ELSEWHERE)}")
    found = own.ELSEWHERE[metric or _metric_of(file)]
    samples = list(_samples(file, check_language(language) if language else ""))
    return [replace(found, dataset=replace(found.dataset, load=lambda folder: samples))]


def _metric_of(file: Predictions) -> str:
    """Return how the rows are scored: as multiple choice if they have options, else as transcripts.

    Raises:
        ValueError: they answer questions of another kind.
    """
    if any(row.choices for row in file.rows):
        return "choices"
    asked = next((row.question for row in file.rows if row.question), "")
    if asked and not any(word in asked.lower() for word in _TRANSCRIBING):
        raise ValueError(
            f"{file.path} answers questions ({asked[:60]!r}); say how with --metric, such as answers or transcripts"
        )
    return "transcripts"


def _samples(file: Predictions, language: str) -> Iterator[EvalSample]:
    """Yield the samples that the rows bring along, and a faulty one for each line that cannot be read."""
    for row in file.rows:
        fault = row.fault or ("" if row.reference else f"{row.place} has no reference")
        meta = {"language": "" if row.fault else file.language_of(row, language), "choices": list(row.choices)}
        reference = row.reference if len(row.reference) > 1 else "".join(row.reference)
        yield EvalSample(row.id, (), row.question, reference, row.subset, meta, fault)
    for problem in file.problems:
        fault = f"{file.path.name}, line {problem.line}: {problem.reason}"
        yield EvalSample(f"line {problem.line}", fault=fault)
