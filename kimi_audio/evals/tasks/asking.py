"""How models are asked: recipes by kind of task, from ``models/recipes.yaml``, and questions of multiple choice."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import yaml

from kimi_audio.evals import models
from kimi_audio.evals.contract.types import EvalSample, OutputType, Recipe

BY_LETTER = "Answer with the option's letter from the given choices directly and only give the best option."


@cache
def _table() -> dict[str, dict[str, dict[str, Any]]]:
    return yaml.safe_load((Path(models.__file__).parent / "recipes.yaml").read_text("utf-8"))


def recipes_for(kind: str = "any", prompt: str = "{text}", output: OutputType = "text") -> dict[str, Recipe]:
    """Return the recipes of a kind of task by family; ``prompt`` is that of the families without one of their own."""
    return {family: Recipe(**{"prompt": prompt, "output": output, **row}) for family, row in _table()[kind].items()}


def lettered(question: str, options: Sequence[str]) -> str:
    """Return a question with its options, one a line, and the wish for a letter."""
    lines = "\n".join(f"({letter}) {option}" for letter, option in zip(ascii_uppercase, options, strict=False))
    return f"{question}\nOptions:\n{lines}\n.{BY_LETTER}"


def choice_sample(
    name: str, audio: Path, question: str, options: Sequence[str], answer: str, subset: str = ""
) -> EvalSample:
    """Return a question of multiple choice, as ``Choices`` scores it; a fault if the answer is none of the options."""
    if answer not in options:
        fault = f"the answer {answer!r} is not one of {', '.join(options)}"
        return EvalSample(name, (audio,), question, subset=subset, fault=fault)
    return EvalSample(name, (audio,), question, answer, subset, {"choices": list(options)})
