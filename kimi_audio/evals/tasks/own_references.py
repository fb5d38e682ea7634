"""Transcripts made elsewhere that bring their references along: ``kimi-audio eval score FILE`` needs nothing else."""

from collections.abc import Iterable
from pathlib import Path

from kimi_audio.evals.tasks.asking import plain_recipes
from kimi_audio.evals.tasks.scorers import Transcripts
from kimi_audio.evals.types import Dataset, Sample, Task

NAME = "own-references"


def explain(folder: Path) -> Iterable[Sample]:
    """Raise ValueError: there is no sound to ask a model about."""
    raise ValueError(f"{NAME} has no data of its own; score a file of transcripts with 'kimi-audio eval score FILE'")


def prepare(folder: Path) -> None:
    """Raise ValueError, as there is nothing to prepare."""
    explain(folder)


TASKS = (
    Task(
        NAME,
        "1",
        Dataset(NAME, explain, prepare, "your own"),
        Transcripts("en", "zh", "yue", "other"),
        plain_recipes(),
        "transcripts made elsewhere, with references beside them",
    ),
)
