"""Files of judge prompts: ``prompts.yaml`` beside this file, or a file of the user in the same form."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from kimi_audio.evals.contract.instruments import JudgePrompt
from kimi_audio.evals.contract.prompting import check_fields, known_fields, read_fields

OWN = Path(__file__).with_suffix(".yaml")


@cache
def own_prompts() -> dict[str, JudgePrompt]:
    """Return our prompts by name."""
    return _read(OWN)


def read_prompts(path: Path | None = None) -> dict[str, JudgePrompt]:
    """Return our prompts by name; those of a file take the place of ours with the same name.

    Raises:
        ValueError: the file is no YAML mapping of prompts, or has unknown fields.
        OSError: it cannot be read.
    """
    return own_prompts() | (_read(path) if path else {})


def _read(path: Path) -> dict[str, JudgePrompt]:
    rows = read_fields(path)
    if rows is None or not all(isinstance(row, dict) for row in rows.values()):
        raise ValueError(f"{path} holds no judge prompts: write one mapping for each name")
    return {name: _prompt(path, name, row) for name, row in rows.items()}


def _prompt(path: Path, name: str, row: Mapping[str, Any]) -> JudgePrompt:
    check_fields(row, known_fields(JudgePrompt) - {"name"}, str(path), f" in {name}; a prompt has")
    if missing := sorted({"version", "text", "reply"} - set(row)):
        raise ValueError(f"{path}: {name} lacks {', '.join(missing)}")
    return JudgePrompt(name, **row)
