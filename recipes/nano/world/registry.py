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


def take_talks(count: int, generator: random.Random, reserved: bool) -> list[Talk]:
    """Draw conversations of all kinds by their shares, of the reserved side or of the one that may be learned."""
    kinds = list(KINDS.values())
    drawn = generator.choices(kinds, [kind.share for kind in kinds], k=count)
    talks = [talk for kind in kinds for talk in kind.talks(drawn.count(kind), generator, reserved)]
    generator.shuffle(talks)
    return talks
