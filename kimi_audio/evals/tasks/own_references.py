"""Answers made elsewhere that bring their references along: ``kimi-audio eval score FILE`` needs nothing else."""

from collections.abc import Iterable
from pathlib import Path

from kimi_audio.evals.contract.types import Dataset, Sample, Scorer, Task
from kimi_audio.evals.tasks.asking import plain_recipes
from kimi_audio.evals.tasks.scorers import Choices, ShortAnswers, Transcripts
from kimi_audio.evals.tasks.text_scorers import Captions, Translations

METRICS = {  # by what --metric says
    "transcripts": "own-references",
    "choices": "own-choices",
    "answers": "own-answers",
    "translations": "own-translations",
    "captions": "own-captions",
}


def explain(folder: Path) -> Iterable[Sample]:
    """Raise ValueError: there is no sound to ask a model about."""
    raise ValueError(f"{folder.name} has no data of its own; score a file of answers with 'kimi-audio eval score FILE'")


def prepare(folder: Path) -> None:
    """Raise ValueError, as there is nothing to prepare."""
    explain(folder)


def _task(metric: str, scorer: Scorer, what: str) -> Task:
    name = METRICS[metric]
    return Task(
        name, "2", Dataset(name, explain, prepare, "your own"), scorer, plain_recipes(), f"{what} made elsewhere"
    )


TASKS = (
    _task("transcripts", Transcripts("en", "zh", "yue", "other"), "transcripts"),
    _task("choices", Choices(), "choices of an option"),
    _task("answers", ShortAnswers(), "short answers"),
    _task("translations", Translations(), "translations"),
    _task("captions", Captions(), "descriptions of sound"),
)
