"""Everyday sentences that people wrote for evaluation: 200 for the scores, 100 for looking while one develops.

They are in no list and no frame of the generators, and nothing that learns may read them; ``without_everyday`` takes
them out of any texts.
"""

from collections.abc import Iterable, Iterator
from functools import cache

from kimi_audio.core.words import normalise
from recipes.nano.world.wording import read_list


def evaluation_sentences() -> tuple[str, ...]:
    """Return the sentences of the scores."""
    return read_list("everyday-evaluation")


def development_sentences() -> tuple[str, ...]:
    """Return other sentences of the same sort."""
    return read_list("everyday-development")


@cache
def _transcripts() -> frozenset[str]:
    return frozenset(map(normalise, (*evaluation_sentences(), *development_sentences())))


def without_everyday(texts: Iterable[str]) -> Iterator[str]:
    """Yield the texts that are none of these sentences."""
    return (text for text in texts if normalise(text) not in _transcripts())
