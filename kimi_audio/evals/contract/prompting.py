"""Recipes: which prompt and which decoding a model gets, as data with a fingerprint.

A recipe file is YAML with the fields of ``Recipe``:

    prompt: "Please transcribe this audio.{text}"
    output: text
    decoding: {text_temperature: 0.0, text_repetition_penalty: 1.1}
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from string import Formatter
from typing import Any, get_args

import yaml

from kimi_audio.evals.contract.keys import key_of
from kimi_audio.evals.contract.types import EvalSample, EvalTask, OutputType, Recipe

DEFAULT = "default"
NOT_STATED = "(not stated)"  # the prompt of predictions that were made elsewhere


def choose_recipe(task: EvalTask, family: str, output: OutputType | None = None) -> Recipe:
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
    return "unknown" if recipe.prompt == NOT_STATED else key_of(**vars(recipe))[:12]


def read_recipe(path: Path) -> Recipe:
    """Read a recipe file.

    Raises:
        ValueError: it is no YAML, or has unknown fields.
    """
    values = read_fields(path)
    if values is None:
        raise ValueError(f"{path} is not a recipe: write one field per line, such as 'prompt: ...'")
    return recipe_from(values, str(path))


def recipe_from(values: Mapping[str, Any], where: str) -> Recipe:
    """Return the recipe of a mapping, read from ``where``; ValueError where it has unknown fields."""
    check_fields(values, known_fields(Recipe), where, " in a recipe; it has")
    recipe = Recipe(**values)
    if recipe.output not in get_args(OutputType):
        raise ValueError(f"{where}: output must be text or both, not {recipe.output!r}")
    return recipe


def read_fields(path: Path) -> dict[str, Any] | None:
    """Return the mapping of a YAML file of the user, None if it holds something else; ValueError if it is no YAML."""
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {str(error).splitlines()[0]}") from None
    return values if isinstance(values, dict) else None


def known_fields(kind: type) -> set[str]:
    """Return the names of a dataclass's fields."""
    return {item.name for item in fields(kind)}


def check_fields(values: Iterable[str], known: set[str], where: str, words: str) -> None:
    """Raise ValueError if there is a field that is not known; ``words`` such as "; a judge has" go before the known."""
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{where}: unknown field {unknown[0]!r}{words} {', '.join(sorted(known))}")


def render_prompt(recipe: Recipe, sample: EvalSample) -> str:
    """Return the prompt of one sample; see ``render``."""
    try:
        return render(recipe.prompt, {**sample.meta, "text": sample.text})
    except KeyError as error:
        raise ValueError(f"the prompt wants {{{error.args[0]}}}, which sample {sample.id} does not have") from None


def render(template: str, values: Mapping[str, Any]) -> str:
    """Return a template with values in the place of their names in braces.

    Only the template is parsed: braces in the values stay as they are.

    Raises:
        ValueError: the template is malformed, or wants a value in another form than it has.
        KeyError: it wants a name that has no value.
    """
    parts = []
    for literal, name, spec, conversion in Formatter().parse(template):
        parts.append(literal)
        if name is None:
            continue
        if spec or conversion:
            raise ValueError(f"the prompt wants {{{name}}} in a form of its own; write the name alone into the braces")
        if name not in values:
            raise KeyError(name)
        parts.append(str(values[name]))
    return "".join(parts)
