"""Names of tasks, suites and models, and how they are found.

Installed packages add their own under the entry points ``kimi_audio.eval_tasks`` (a module with ``TASKS`` and maybe
``SUITES`` and ``AIMS``) and ``kimi_audio.eval_models`` (a module with ``load``; the name is the family).
"""

import importlib
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import TypeVar

from kimi_audio.evals import models, tasks
from kimi_audio.evals.contract.types import Dataset, Model, Suite, Task

OWN_FAMILY = "kimi-audio"
Named = TypeVar("Named", Task, Suite)


@dataclass(frozen=True)
class ModelSpec:
    """A model that any process can load: the module of its adapter, and its name there."""

    module: str
    name: str

    def load(self, device: str | None) -> Model:
        """Load the model; raises what the adapter raises."""
        return importlib.import_module(self.module).load(self.name, device)


def find_tasks(names: Iterable[str]) -> list[Task]:
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


def find_datasets(names: Iterable[str]) -> list[Dataset]:
    """Return datasets by their name or by that of a task or suite; errors as above."""
    known = {task.dataset.name: task.dataset for task in all_tasks().values()}
    return [
        dataset
        for name in names
        for dataset in ([known[name]] if name in known else [task.dataset for task in find_tasks([name])])
    ]


def all_tasks() -> dict[str, Task]:
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
    own = [importlib.import_module(f"{tasks.__name__}.{name}") for name in tasks.MODULES]
    found = {point.name: _loaded(point) for point in entry_points(group="kimi_audio.eval_tasks")}
    return own + [module for module in found.values() if module is not None]


def _loaded(point: EntryPoint) -> ModuleType | None:
    """Return the module of an entry point; None for nano's suite where only the package is installed."""
    if importlib.util.find_spec(point.value.partition(".")[0]) is None:
        return None
    return point.load()


def families() -> dict[str, str]:
    """Return the modules of all families of models."""
    return models.ADAPTERS | {point.name: point.value for point in entry_points(group="kimi_audio.eval_models")}


def parse_model(text: str) -> ModelSpec:
    """Read ``family:name``; a name alone, such as nano, a folder or a hub id, is one of our own models."""
    known = families()
    family, colon, name = text.partition(":")
    return ModelSpec(known[family], name) if colon and family in known else ModelSpec(known[OWN_FAMILY], text)
