"""All steps for several tasks. A task that cannot begin does not keep the others from running."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from kimi_audio.core.numbers import counted
from kimi_audio.evals.contract.instruments import Instruments
from kimi_audio.evals.contract.keys import key_of
from kimi_audio.evals.contract.prompting import NOT_STATED, fingerprint
from kimi_audio.evals.contract.types import EvalTask, Recipe, Result
from kimi_audio.evals.registry import equip, find_tasks
from kimi_audio.evals.run.backends import Backend
from kimi_audio.evals.run.infer import Advance, InferOptions, infer
from kimi_audio.evals.run.predictions import Predictions
from kimi_audio.evals.run.recorded import Recorded
from kimi_audio.evals.run.scoring import make_result, score
from kimi_audio.evals.run.store import TaskFolder

logger = logging.getLogger(__name__)

Watch = Callable[[str], Advance]  # the name of a step to what is told about its progress


def nobody(step: str) -> Advance:
    """Watch nothing."""
    return lambda done, total: None


def run_folder(out: Path, backend: Backend, options: InferOptions) -> Path:
    """Return the folder of a run. What is asked otherwise than by default, and another model, have their own.

    Args:
        out: folder of all runs.
        backend: who is asked; its revision tells models of the same name apart.
        options: how.
    """
    selection = options.selection
    parts = [re.sub(r"[^\w.-]+", "-", backend.name).strip("-.") or "model"]  # the name may be a path or a hub id
    if options.output:
        parts.append(options.output)
    if options.recipe:
        parts.append(f"recipe-{fingerprint(options.recipe)[:8]}")
    if selection.limit is not None:
        parts.append(f"limit-{selection.limit}")
    if selection.ids:
        parts.append(f"samples-{key_of(ids=sorted(selection.ids))[:8]}")
    if selection.seed:
        parts.append(f"seed-{selection.seed}")
    folder = out / "-".join(parts)
    revisions = {TaskFolder(path.parent).read_conditions().revision for path in folder.glob("*/run.json")}
    is_taken = bool(revisions - {backend.revision})
    return folder.with_name(f"{folder.name}-{key_of(revision=backend.revision)[:8]}") if is_taken else folder


def evaluate(
    tasks: Iterable[EvalTask],
    data: Path,
    backend: Backend,
    run: Path,
    options: InferOptions,
    watch: Watch = nobody,
    *,
    only_infer: bool = False,
) -> Iterator[Result]:
    """Yield the result of each task; without scores if only the answers are wanted.

    Args:
        tasks: what to ask.
        data: root of all datasets.
        backend: who is asked.
        run: folder of the run; each task has its own in it.
        options: which samples, how, and where known answers are.
        watch: told about the progress of each step.
        only_infer: leave scoring to ``score``; nothing is yielded but tasks that could not begin.
    """
    for task in tasks:
        folder = TaskFolder(run / task.name)
        try:
            infer(task, data, backend, folder, options, watch(f"{task.name}: answers"))
        except (ValueError, OSError) as error:
            logger.warning("%s: %s", task.name, error)
            result = failed_result(task, backend, options, str(error))
            if not folder.has_scores():  # else it is kept: nothing was asked that could replace it
                folder.write_result(result)
            yield result
        else:
            if not only_infer:
                yield score(task, folder, watch(f"{task.name}: scores"))


def failed_result(task: EvalTask, backend: Backend, options: InferOptions, reason: str) -> Result:
    """Return the result of a task that could not begin: its report says so instead of leaving it out."""
    try:
        conditions = options.conditions(task, backend, "none")
    except ValueError:  # there is no recipe
        conditions = InferOptions(options.selection, Recipe(), options.output).conditions(task, backend, "none")
    return make_result(task, conditions, reason)


def rescore(folder: Path, instruments: Instruments, watch: Watch = nobody) -> Iterator[Result]:
    """Yield the results of all tasks in a folder, whose answers are scored again where something has changed.

    Raises:
        ValueError: there are no answers.
    """
    paths = sorted(path.parent for path in folder.rglob("run.json"))
    if not paths:
        raise ValueError(f"there are no answers in {folder}: no run.json")
    for path in paths:
        task_folder = TaskFolder(path)
        (task,) = equip(find_tasks([task_folder.read_conditions().task]), instruments)
        yield score(task, task_folder, watch(f"{task.name}: scores"))


def score_predictions(
    file: Predictions,
    name: str,
    tasks: Sequence[EvalTask],
    data: Path,
    out: Path,
    recipe: Recipe | None,
    watch: Watch = nobody,
) -> tuple[Path, list[Result], list[str]]:
    """Score predictions that were made elsewhere.

    Args:
        file: the predictions.
        name: of the model that made them.
        tasks: that they answer; see ``tasks_of``.
        data: root of all datasets.
        out: folder of all runs.
        recipe: prompt and decoding, if they are known.
        watch: told about the progress of each step.

    Returns:
        The folder of the run, the results, and remarks about predictions that belong to no sample.
    """
    backends = {task.name: Recorded(file, name, task.name) for task in tasks}
    folder = run_folder(out, next(iter(backends.values())), InferOptions())
    options = InferOptions(recipe=recipe or Recipe(NOT_STATED))
    results, remarks = [], []
    for task in tasks:
        backend = backends[task.name]
        results += evaluate([task], data, backend, folder, options, watch)
        asked = TaskFolder(folder / task.name).read_asked()
        if unused := backend.unused(item.id for item in asked):
            lost = counted(len(unused), "prediction")
            remarks.append(f"without a sample in {task.name}: {lost}, such as {unused[0]!r}")
    return folder, results, remarks
