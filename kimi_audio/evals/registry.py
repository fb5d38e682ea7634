"""Names of tasks, suites and models, and how they are found.

Installed packages add their own under the entry points ``kimi_audio.eval_tasks`` (a module with ``TASKS`` and maybe
``SUITES`` and ``AIMS``) and ``kimi_audio.eval_models`` (a module with ``load``; the name is the family).
"""

import importlib
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType
from typing import TypeVar

from kimi_audio.evals import models
from kimi_audio.evals.contract.instruments import Instruments
from kimi_audio.evals.contract.types import Dataset, EvalTask, Model, Suite
from kimi_audio.evals.tasks import benchmarks, conversation, open_audio_bench, own, tts, voice_bench

OWN_FAMILY = "kimi-audio"
Named = TypeVar("Named", EvalTask, Suite)


@dataclass(frozen=True)
class ModelSpec:
    """A model that any process can load: the module of its adapter, and its name there."""

    module: str
    name: str

    def load(self, device: str | None) -> Model:
        """Load the model; raises what the adapter raises."""
        return importlib.import_module(self.module).load(self.name, device)


def find_tasks(names: Iterable[str]) -> list[EvalTask]:
    """Return tasks by name; the name of a suite stands for its tasks.

    Raises:
        ValueError: there is no such task or suite.
    """
    known, suites = all_tasks(), all_suites()
    wanted = [part for name in names for part in (suites[name].tasks if name in suites else (name,))]
    for name in wanted:
        if name not in known:
            raise ValueError(f"there is no task {name!r}; 'kimi-audio eval list' shows all")
    return [known[name] for name in dict.fromkeys(wanted)]


def equip(tasks: Iterable[EvalTask], instruments: Instruments) -> list[EvalTask]:
    """Return the tasks with their scorers equipped; scorers that are content with rules stay as they are."""
    return [replace(task, scorer=task.scorer.equip(instruments)) for task in tasks]


def find_datasets(names: Iterable[str]) -> list[Dataset]:
    """Return datasets by their name or by that of a task or suite; errors as above."""
    known = {task.dataset.name: task.dataset for task in all_tasks().values()}
    return [
        dataset
        for name in names
        for dataset in ([known[name]] if name in known else [task.dataset for task in find_tasks([name])])
    ]


def all_tasks() -> dict[str, EvalTask]:
    """Return all tasks by name."""
    return _by_name(task for module in _task_modules() for task in module.TASKS)


def all_suites() -> dict[str, Suite]:
    """Return all suites by name."""
    return _by_name(suite for module in _task_modules() for suite in getattr(module, "SUITES", ()))


@cache
def all_aims() -> dict[tuple[str, str, str], float]:
    """Return what scores are to reach, by task, subset and metric."""
    return {key: value for module in _task_modules() for key, value in getattr(module, "AIMS", {}).items()}


def _by_name(items: Iterable[Named]) -> dict[str, Named]:
    found: dict[str, Named] = {}
    for item in items:
        assert item.name not in found, f"two tasks or suites are named {item.name}"
        found[item.name] = item
    return found


def _task_modules() -> list[ModuleType]:
    points = {point.name: point for point in entry_points(group="kimi_audio.eval_tasks")}
    # Nano's suite is missing where only the package is installed.
    found = [point for point in points.values() if importlib.util.find_spec(point.value.partition(".")[0])]
    return [benchmarks, own, open_audio_bench, voice_bench, conversation, tts, *(point.load() for point in found)]


def families() -> dict[str, str]:
    """Return the modules of all families of models."""
    return models.ADAPTERS | {point.name: point.value for point in entry_points(group="kimi_audio.eval_models")}


def parse_model(text: str) -> ModelSpec:
    """Read ``family:name``; a name alone, such as nano, a folder or a hub id, is one of our own models."""
    known = families()
    family, colon, name = text.partition(":")
    return ModelSpec(known[family], name) if colon and family in known else ModelSpec(known[OWN_FAMILY], text)
