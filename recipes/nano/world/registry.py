"""All kinds of conversations with their shares."""

import random
from collections.abc import Mapping

from recipes.nano.world import (
    aloud,
    calendar,
    dictionary,
    memory,
    places,
    refusals,
    small_talk,
    sums,
    tools,
    words,
)
from recipes.nano.world.types import Kind, Talk

_MODULES = (dictionary, refusals, sums, calendar, places, words, small_talk, memory, tools, aloud)
KINDS: Mapping[str, Kind] = {kind.name: kind for module in _MODULES for kind in module.KINDS}
# Kinds whose right reply is that nano does not know, or cannot.
REFUSED = frozenset({"unknown-word", "missing", "refusal", "statement", "no-tool"})

# What has to be known by heart, each kind about as often as it has facts; what is not known keeps it honest.
FACT_SHARES: Mapping[str, float] = {
    "definition": 50,
    "opposite": 10,
    "kind-of": 8,
    "example": 8,
    "is-a": 4,
    "spell": 6,
    "unknown-word": 16,
    "missing": 5,
    "refusal": 15,
    "statement": 3,
    "capital": 5,
    "capital-of": 4,
    "continent": 3,
    "multiply": 3,
    "small-talk": 14,
    "joke": 2,
    "farewell": 1,
} | {kind.name: kind.share for module in (sums, calendar, words) for kind in module.KINDS if kind.name != "multiply"}

# Numbers follow rules, which take many more draws than facts that are learned by heart; so does what is not known.
NUMBER_SHARES: Mapping[str, float] = {
    "add": 6,
    "subtract": 5,
    "multiply": 2.5,
    "divide": 2,
    "double": 1.5,
    "half": 1.5,
    "number-after": 1,
    "number-before": 1,
    "larger": 2,
    "smaller": 2,
    "count": 1,
    "count-in-steps": 0.3,
    "days-later": 0.5,
    "units-of-time": 0.3,
    "missing": 2,
    "unknown-word": 3,
}

# Answers alone, which are learned as a table is.
TABLE_SHARES: Mapping[str, float] = {
    "add": 10,
    "subtract": 10,
    "multiply": 0.5,
    "divide": 0.5,
    "double": 0.5,
    "half": 0.5,
    "number-after": 0.5,
    "number-before": 0.5,
}

# Small talk is drawn word by word from a list, so most of what is said in other words is small talk.
REWORDED_SHARES: Mapping[str, float] = {kind.name: kind.share for kind in KINDS.values()} | {
    "small-talk": 240,
    "joke": 4,
    "definition": 12,
}

# Names are told by people alone: no definition says one.
NAME_SHARES: Mapping[str, float] = {"recall-name": 6, "recall-relative": 1, "recall-pet-name": 1}


def take_talks(
    count: int, generator: random.Random, reserved: bool, shares: Mapping[str, float] | None = None
) -> list[Talk]:
    """Draw conversations of the reserved side or of the one that may be learned, of all kinds by their own shares.

    Args:
        count: how many.
        generator: draws them.
        reserved: which side.
        shares: of kinds by name, if only some are wanted (``FACT_SHARES``, ``NUMBER_SHARES``).
    """
    kinds = [KINDS[name] for name in shares] if shares else list(KINDS.values())
    weights = list(shares.values()) if shares else [kind.share for kind in kinds]
    drawn = generator.choices(kinds, weights, k=count)
    talks = [talk for kind in kinds for talk in kind.talks(drawn.count(kind), generator, reserved)]
    generator.shuffle(talks)
    return talks
