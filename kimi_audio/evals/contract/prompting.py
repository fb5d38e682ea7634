"""Recipes: which prompt and which decoding a model gets, as data with a fingerprint.

A recipe file is YAML with the fields of ``Recipe``:

    prompt: "Please transcribe this audio.{text}"
    output: text
    decoding: {text_temperature: 0.0, text_repetition_penalty: 1.1}
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from string import Formatter
from typing import Any, get_args

import yaml

from kimi_audio.evals.contract.types import Options, OutputType, Recipe, Sample, Task

DEFAULT = "default"
NOT_STATED = "(not stated)"  # the prompt of predictions that were made elsewhere


def choose_recipe(task: Task, family: str, output: OutputType | None = None) -> Recipe:
    """Return the recipe of a task for a family of models, with another output type if one is given.

    Raises:
        ValueError: the task has neither a recipe of this family nor a default.
    """
    recipe = task.recipes.get(family) or task.recipes.get(DEFAULT)
    if recipe is None:
        raise ValueError(f"{task.name} has no recipe for {family}; give one with --recipe")
    return replace(recipe, output=output or recipe.output)


def fingerprint(recipe: Recipe) -> str:
    """Return 12 hexadecimal digits that change with any field of the recipe; "unknown" if it is not stated."""
    if recipe.prompt == NOT_STATED:
        return "unknown"
    canonical = json.dumps(asdict(recipe), sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def read_recipe(path: Path) -> Recipe:
    """Read a recipe file.

    Raises:
        ValueError: it is no YAML, or has unknown fields.
    """
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} is not a recipe: write one field per line, such as 'prompt: ...'")
    return recipe_from(values, str(path))


def recipe_from(values: Mapping[str, Any], where: str) -> Recipe:
    """Return the recipe of a mapping, read from ``where``; ValueError where it has unknown fields."""
    known = {field.name for field in fields(Recipe)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{where}: unknown field {unknown[0]!r} in a recipe; it has {', '.join(sorted(known))}")
    recipe = Recipe(**values)
    if recipe.output not in get_args(OutputType):
        raise ValueError(f"{where}: output must be text or both, not {recipe.output!r}")
    return recipe


def render_prompt(recipe: Recipe, sample: Sample) -> str:
    """Return the prompt of one sample.

    Only the template is parsed: braces in the sample's own text stay as they are.

    Raises:
        ValueError: the template is malformed, or wants a field that the sample does not have.
    """
    values = {**sample.meta, "text": sample.text}
    parts = []
    for literal, name, spec, conversion in Formatter().parse(recipe.prompt):
        parts.append(literal)
        if name is None:
            continue
        if spec or conversion or name not in values:
            raise ValueError(f"the prompt wants {{{name}}}, which sample {sample.id} does not have")
        parts.append(str(values[name]))
    return "".join(parts)


def options_of(recipe: Recipe, seed: int) -> Options:
    """Return what the recipe tells the model."""
    return Options(recipe.output, recipe.system, recipe.decoding, seed)
