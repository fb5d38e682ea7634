"""The conversations that nano learns, drawn once, and what has to be spoken of them."""

import random
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from kimi_audio.core.files import read_json, write_json
from recipes.nano.world.registry import take_talks
from recipes.nano.world.types import Talk, Turn

COUNT = 9000
CACHE = Path("runs/nano/talks.json")  # drawing them takes more than a minute


@cache
def learned_talks(cache_file: Path = CACHE, count: int = COUNT) -> tuple[Talk, ...]:
    """Return conversations of all kinds, none of them reserved."""
    if not cache_file.exists():
        talks = take_talks(count, random.Random("talks"), reserved=False)  # noqa: S311 (texts, not secrets)
        cache_file.parent.mkdir(parents=True, exist_ok=True)
        write_json(cache_file, {"talks": [to_values(talk) for talk in talks]})
    return tuple(of_values(values) for values in read_json(cache_file)["talks"])


def to_values(talk: Talk) -> dict:
    """Return a conversation as plain values."""
    return {**vars(talk), "turns": [vars(turn) for turn in talk.turns]}


def of_values(values: dict) -> Talk:
    """Undo ``to_values``."""
    turns = tuple(Turn(**turn) for turn in values["turns"])
    return Talk(**{**values, "turns": turns, "atoms": tuple(values["atoms"])})


def said(talks: Iterable[Talk]) -> Iterator[str]:
    """Yield everything that users say, each once, in the order of the conversations."""
    return iter(dict.fromkeys(turn.said for talk in talks for turn in talk.turns))


def replied(talks: Iterable[Talk]) -> Iterator[str]:
    """Yield everything that the assistant says, each once, in the order of the conversations."""
    return iter(dict.fromkeys(turn.reply for talk in talks for turn in talk.turns))
