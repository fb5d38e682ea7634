"""Predictions that were made elsewhere: a JSON lines file in the place of a model.

    {"id": "1089-1-0000", "text": "what was answered", "task": "librispeech"}
    {"id": "a", "text": "what was understood", "reference": "what is said", "language": "en", "subset": "mine"}

Each line has ``id`` and ``text`` and may have ``speech`` (a file, relative to the lines'), ``total_s``,
``first_text_s``, ``first_sound_s`` and ``error``. Lines that name a ``task`` are scored as answers to its samples.
Lines with a ``reference`` are scored as transcripts of their own, in a ``language`` (en). The result files of the
official Evalkit are read, too: they have ``index``, ``prediction`` and ``answer`` for ``id``, ``text``, ``reference``.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kimi_audio.evals.cache import digest_of
from kimi_audio.evals.engines import Reply, one_line
from kimi_audio.evals.registry import find_tasks
from kimi_audio.evals.store import read_rows
from kimi_audio.evals.tasks import own_references
from kimi_audio.evals.types import Options, Prediction, Sample, Task

logger = logging.getLogger(__name__)

ID, TEXT, REFERENCE = ("id", "index"), ("text", "prediction"), ("reference", "answer")


class Recorded:
    """The engine that looks answers up. Samples without a line, or with several that differ, have failed.

    Args:
        file: with the predictions.
        name: of the model that made them.
        task: lines that name another one are left out.
    """

    family = "recorded"

    def __init__(self, file: Path, name: str, task: str) -> None:
        self.name, self.revision = name, f"file {digest_of(file)[:12]}"
        self._answers: dict[str, Prediction] = {}
        for number, row in enumerate(read_rows(file), 1):
            if row.get("task") in (None, task):
                self._add(file, number, row)

    def _add(self, file: Path, number: int, row: dict[str, Any]) -> None:
        try:
            id_, prediction = str(_field(row, ID)), _prediction(file, row)
        except (KeyError, TypeError, ValueError) as error:
            logger.warning("%s, row %d does not count: %s", file, number, one_line(error))
            return
        if self._answers.setdefault(id_, prediction) != prediction:
            self._answers[id_] = Prediction(error="the file has different predictions for it")

    def answer(self, batches: Iterable[Sequence[Sample]], options: Options) -> Iterator[Reply]:
        """Yield what the file holds for each sample."""
        missing = Prediction(error="the file has no prediction for it")
        for sample in (sample for batch in batches for sample in batch):
            yield Reply(sample, self._answers.get(sample.id, missing), 1)

    def unused(self, asked: Iterable[str]) -> list[str]:
        """Return the ids of the file that are not among those that were asked for."""
        return sorted(set(self._answers) - set(asked))


def tasks_of(file: Path, name: str | None) -> list[Task]:
    """Return the tasks that a file answers: the one of this name, or those that its lines name or bring along.

    Raises:
        ValueError: it cannot be told, or there is no such task.
        OSError: there is no such file.
    """
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    if name:
        tasks = find_tasks([name])
        if len(tasks) != 1:
            raise ValueError(f"{name} is a suite; name one task, or name the task in each line")
        return tasks
    rows = read_rows(file)
    named = dict.fromkeys(str(row["task"]) for row in rows if row.get("task"))
    if named:
        return find_tasks(named)
    if not any(_find(row, REFERENCE) is not None for row in rows):
        raise ValueError(f"{file} does not say what it answers: give --task, or lines with a task or a reference")
    (task,) = find_tasks([own_references.NAME])
    return [replace(task, dataset=replace(task.dataset, load=lambda folder: _samples(file, rows)))]


def _samples(file: Path, rows: Iterable[dict[str, Any]]) -> Iterator[Sample]:
    """Yield the samples that the lines of a file bring along."""
    for number, row in enumerate(rows, 1):
        reference, id_ = _find(row, REFERENCE), _find(row, ID)
        is_usable = isinstance(reference, str) and id_ is not None
        yield Sample(
            str(number if id_ is None else id_),
            reference=str(reference) if is_usable else "",
            subset=str(row.get("subset") or ""),
            meta={"language": str(row.get("language") or row.get("lang") or "en")},
            fault="" if is_usable else f"{file.name}, row {number} has no id or no reference",
        )


def _prediction(file: Path, row: dict[str, Any]) -> Prediction:
    """Return the prediction of a row; KeyError, TypeError or ValueError if it holds none."""
    text = _field(row, TEXT)
    if not isinstance(text, str):
        raise TypeError("its text is no string")
    speech = file.parent / row["speech"] if row.get("speech") else None
    total_s, first_text_s, first_sound_s = (
        None if row.get(name) is None else float(row[name]) for name in ("total_s", "first_text_s", "first_sound_s")
    )
    return Prediction(text, speech, total_s, first_text_s, first_sound_s, error=str(row.get("error") or ""))


def _find(row: dict[str, Any], names: Iterable[str]) -> Any:
    """Return the first of these fields that the row has; None if it has none."""
    return next((row[name] for name in names if name in row), None)


def _field(row: dict[str, Any], names: tuple[str, ...]) -> Any:
    if (value := _find(row, names)) is None:
        raise KeyError(names[0])
    return value
