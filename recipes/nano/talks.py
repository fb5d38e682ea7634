"""The conversations that nano learns, drawn once, and what has to be spoken of them."""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from kimi_audio.core.files import read_json, write_json
from recipes.nano.stock import first_names
from recipes.nano.world.memory import MEMORIES, recall
from recipes.nano.world.registry import FACT_SHARES, NAME_SHARES, REWORDED_SHARES, take_talks
from recipes.nano.world.rewording import reworded
from recipes.nano.world.types import Talk, Turn

COUNT, FACT_COUNT, NAME_COUNT = 9000, 24_000, 2000
REWORDED_COUNT = 72_000  # that are drawn; of a fifth of them, something can be said in other words
CACHE, FACT_CACHE = Path("runs/nano/talks.json"), Path("runs/nano/facts.json")  # drawing them takes a minute


@cache
def learned_talks(cache_file: Path = CACHE, count: int = COUNT) -> tuple[Talk, ...]:
    """Return conversations of all kinds, none of them reserved."""
    return _drawn_once(cache_file, "talks", count, None)


@cache
def learned_facts(cache_file: Path = FACT_CACHE, count: int = FACT_COUNT) -> tuple[Talk, ...]:
    """Return conversations about what has to be known by heart, none of them reserved."""
    return _drawn_once(cache_file, "facts 0", count, FACT_SHARES)


@cache
def learned_names(count: int = NAME_COUNT) -> tuple[Talk, ...]:
    """Return conversations about names, as many about those that people have here as about names of a longer list."""
    known, rare = random.Random("known names"), random.Random("names")  # noqa: S311 (texts, not secrets)
    (name,) = (memory for memory in MEMORIES if memory.name == "name")
    others = tuple(value for value in first_names() if value not in name.values)
    return (
        *take_talks(count, known, reserved=False, shares=NAME_SHARES),
        *recall(replace(name, values=others)).talks(count, rare, reserved=False),
    )


@cache
def learned_in_other_words(count: int = REWORDED_COUNT) -> tuple[Talk, ...]:
    """Return conversations in which something is said in other words."""
    generator = random.Random("other words")  # noqa: S311 (texts, not secrets)
    return tuple(reworded(take_talks(count, generator, reserved=False, shares=REWORDED_SHARES), generator))


def _drawn_once(cache_file: Path, seed: str, count: int, shares: Mapping[str, float] | None) -> tuple[Talk, ...]:
    if not cache_file.exists():
        talks = take_talks(count, random.Random(seed), reserved=False, shares=shares)  # noqa: S311 (texts, not secrets)
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


def said(talks: Sequence[Talk], generator: random.Random) -> Iterator[str]:
    """Yield everything that users say, each once, conversation by conversation, in an order that is drawn."""
    drawn = generator.sample(talks, len(talks))
    return iter(dict.fromkeys(turn.said for talk in drawn for turn in talk.turns))


def replied(talks: Iterable[Talk]) -> Iterator[str]:
    """Yield everything that the assistant says, each once, in the order of the conversations."""
    return iter(dict.fromkeys(turn.reply for talk in talks for turn in talk.turns))
