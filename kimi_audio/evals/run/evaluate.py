"""All steps for several tasks. A task that cannot begin does not keep the others from running."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from kimi_audio.evals.contract.keys import key_of
from kimi_audio.evals.contract.prompting import choose_recipe, fingerprint
from kimi_audio.evals.contract.types import Recipe, Result, Task
from kimi_audio.evals.run.engines import Engine
from kimi_audio.evals.run.infer import Advance, InferOptions, infer
from kimi_audio.evals.run.provenance import git_hash
from kimi_audio.evals.run.scoring import score
from kimi_audio.evals.run.store import TaskFolder

logger = logging.getLogger(__name__)

Watch = Callable[[str], Advance]  # the name of a step to what is told about its progress


def folder_name(name: str) -> str:
    """Return a name that a folder can have, for a model whose name may be a path or a hub id."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model"


def run_folder(out: Path, engine: Engine, options: InferOptions) -> Path:
    """Return the folder of a run. What is asked otherwise than by default, and another model, have their own.

    Args:
        out: folder of all runs.
        engine: who is asked; its revision tells models of the same name apart.
        options: how.
    """
    selection, parts = options.selection, [folder_name(engine.name)]
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
    is_taken = any(TaskFolder(path.parent).read_run().revision != engine.revision for path in folder.glob("*/run.json"))
    return folder.with_name(f"{folder.name}-{key_of(revision=engine.revision)[:8]}") if is_taken else folder


def evaluate(
    tasks: Iterable[Task],
    data: Path,
    engine: Engine,
    run: Path,
    options: InferOptions,
    watch: Watch = lambda step: lambda done, total: None,
    *,
    only_infer: bool = False,
) -> Iterator[Result]:
    """Yield the result of each task; without scores if only the answers are wanted.

    Args:
        tasks: what to ask.
        data: root of all datasets.
        engine: who is asked.
        run: folder of the run; each task has its own in it.
        options: which samples, how, and where known answers are.
        watch: told about the progress of each step.
        only_infer: leave scoring to ``score``; nothing is yielded but tasks that could not begin.
    """
    for task in tasks:
        folder = TaskFolder(run / task.name)
        try:
            infer(task, data, engine, folder, options, watch(f"{task.name}: answers"))
        except (ValueError, OSError) as error:
            logger.warning("%s: %s", task.name, error)
            result = failed_result(task, engine, options, str(error))
            if not folder.has_scores():  # else it is kept: nothing was asked that could replace it
                folder.write_result(result)
            yield result
        else:
            if not only_infer:
                yield score(task, folder, watch(f"{task.name}: scores"))


def failed_result(task: Task, engine: Engine, options: InferOptions, reason: str) -> Result:
    """Return the result of a task that could not begin: its report says so instead of leaving it out."""
    try:
        recipe = options.recipe or choose_recipe(task, engine.family)
    except ValueError:
        recipe = Recipe()
    recipe = replace(recipe, output=options.output or recipe.output)
    return Result(
        task=task.name,
        task_version=task.version,
        model=engine.name,
        revision=engine.revision,
        recipe=recipe,
        fingerprint=fingerprint(recipe),
        seed=options.selection.seed,
        selection="none",
        versions=dict(task.scorer.versions),
        git_hash=git_hash(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        error=reason,
    )
