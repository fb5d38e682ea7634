"""Requests in natural language: 200 wordings for recognition, 30 or more for every other task (report, section 4.2).

The model has no task tokens, so it must learn what is wanted from how people ask for it. One wording is drawn per
sample, and given as text or, where somebody has spoken it, as speech at random.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from kimi_audio.chat import Message

Language = Literal["en", "zh"]

# What a reply can be asked to sound like, to fill in {manner}.
MANNERS: dict[str, tuple[str, ...]] = {
    "faster": ("quickly", "very quickly", "at a fast pace", "fast"),
    "slower": ("slowly", "very slowly", "at a slow pace", "without any hurry"),
    "higher": ("in a high voice", "in a higher voice", "at a high pitch", "with a higher pitch"),
    "whisper": ("in a whisper", "very quietly", "in a quiet whisper", "as quietly as you can"),
}
# Names of the languages in either language, to fill in {language}.
LANGUAGE_NAMES: dict[Language, dict[Language, str]] = {
    "en": {"en": "English", "zh": "Mandarin"},
    "zh": {"en": "英语", "zh": "中文"},
}


@cache
def instructions() -> dict[str, dict[Language, tuple[str, ...]]]:
    """Return all wordings by task and language; what stands in braces is to be filled in."""
    text = (Path(__file__).parent / "instructions.yaml").read_text("utf-8")
    return {
        task: {language: tuple(lines.splitlines()) for language, lines in languages.items()}
        for task, languages in yaml.safe_load(text).items()
    }


def wordings(task: str, language: Language | None = None) -> tuple[str, ...]:
    """Return the wordings of a task in one language, or in all.

    Raises:
        ValueError: there are none.
    """
    languages = instructions().get(task)
    if languages is None:
        raise ValueError(f"there are no instructions for {task!r}; there are some for {', '.join(instructions())}")
    if language is not None and language not in languages:
        raise ValueError(f"the instructions for {task} are in {', '.join(languages)}, not in {language}")
    return tuple(wording for name, some in languages.items() if language in (None, name) for wording in some)


def instruction(
    task: str,
    generator: np.random.Generator,
    values: Mapping[str, str] | None = None,
    *,
    language: Language | None = None,
    recordings: Mapping[str, Sequence[Any]] | None = None,
) -> Message:
    """Draw a request and return it as a message of the user.

    Args:
        task: what is asked for.
        generator: draws wording, form and recording.
        values: what is filled in for the names in braces.
        language: of the wording; by default any.
        recordings: audio of wordings, filled in, as a message takes it. What somebody has said is given as speech every
            other time.

    Raises:
        ValueError: the task is unknown, or a value is missing or not wanted.
    """
    known = wordings(task, language)
    wording = fill(known[int(generator.integers(len(known)))], values or {})
    spoken = (recordings or {}).get(wording, ())
    if len(spoken) and generator.random() < 0.5:
        return Message("user", "audio", spoken[int(generator.integers(len(spoken)))])
    return Message("user", "text", wording)


def fill(wording: str, values: Mapping[str, str]) -> str:
    """Put values in the place of the names in braces."""
    wanted = re.findall(r"{(\w+)}", wording)
    if set(wanted) != set(values):
        raise ValueError(f"{wording!r} needs {', '.join(wanted) or 'no values'}, not {', '.join(values) or 'none'}")
    return re.sub(r"{(\w+)}", lambda name: values[name[1]], wording)
