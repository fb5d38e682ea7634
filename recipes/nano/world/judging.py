"""Judging the last reply of a conversation: strict, since there is one right answer."""

import re
from collections.abc import Callable, Collection

from kimi_audio.core.words import normalise, number_words
from recipes.nano.closed.scoring import mentions, names_only
from recipes.nano.world.types import Talk
from recipes.nano.world.wording import listed

Judge = Callable[[Talk, str], bool]

NUMBERS = frozenset(number_words(n) for n in range(1000))
_NUMBER_PARTS = frozenset(part for number in NUMBERS for part in number.split())
# A definition is right if it has two thirds of the content words, and a third of its own at most is from elsewhere.
RECALL = 2 / 3
PRECISION = 2 / 3
_FUNCTION_WORDS = frozenset(
    listed(
        "a an the of or and to in on for with by from at as that which is are be it its who whom whose someone "
        "somebody something one any his her your their not no used having has being into than other means"
    )
)
_REFUSALS = ("i do not know", "i cannot")


def names(candidates: Collection[str]) -> Judge:
    """Return the judge of replies that name the essential word last, and no other candidate that nobody mentioned."""
    known = frozenset(normalise(candidate) for candidate in candidates)

    def is_right(talk: Talk, reply: str) -> bool:
        asked = mentions(talk.lines[-1].split(), known)
        return names_only(mentions(normalise(reply).split(), known), talk.essential, asked)

    return is_right


def names_alone(candidates: Collection[str]) -> Judge:
    """Return the judge of replies that name the essential word and no other candidate, asked about or not."""
    known = frozenset(normalise(candidate) for candidate in candidates)

    def is_right(talk: Talk, reply: str) -> bool:
        return names_only(mentions(normalise(reply).split(), known), talk.essential)

    return is_right


def says(talk: Talk, reply: str) -> bool:
    """Tell whether a reply has the essential words, side by side, and is no refusal.

    They are no part of a larger number: ``twenty seven days`` is not ``seven days``.
    """
    before, found, after = f" {normalise(reply)} ".partition(f" {talk.essential} ")
    is_cut = bool({*before.split()[-1:], *after.split()[:1]} & _NUMBER_PARTS) and _has_number(talk.essential)
    return bool(found) and not is_cut and not is_refusal(reply)


def _has_number(text: str) -> bool:
    return bool(set(text.split()) & _NUMBER_PARTS)


def is_the_same(talk: Talk, reply: str) -> bool:
    """Tell whether a reply is the essential words and nothing else."""
    return normalise(reply) == talk.essential


def counts(talk: Talk, reply: str) -> bool:
    """Tell whether the numbers of a reply are exactly the essential ones, in order."""
    return " ".join(word for word in normalise(reply).split() if word in _NUMBER_PARTS) == talk.essential


def spells(talk: Talk, reply: str) -> bool:
    """Tell whether the single letters of a reply spell the essential word (``h a t``)."""
    return " ".join(word for word in normalise(reply).split() if len(word) == 1) == talk.essential


def defines(talk: Talk, reply: str) -> bool:
    """Tell whether a reply explains the essential words, after the overlap rule above (``RECALL``, ``PRECISION``).

    Words of the question do not count; endings do not matter (``-s``, ``-ed``, ``-ing``, ``-ly``).
    """
    asked = {_stem(word) for word in talk.lines[-1].split()}
    wanted = content(talk.essential) - asked
    said = content(reply) - asked
    shared = len(wanted & said)
    return bool(wanted) and not is_refusal(reply) and shared >= RECALL * len(wanted) and shared >= PRECISION * len(said)


def content(text: str) -> set[str]:
    """Return the content words of a text without their endings."""
    return {_stem(word) for word in normalise(text).split() if word not in _FUNCTION_WORDS}


def is_refusal(reply: str) -> bool:
    """Tell whether a reply says that the assistant does not know or cannot do something."""
    return any(f" {words} " in f" {normalise(reply)} " for words in _REFUSALS)


def refuses(_: Talk, reply: str) -> bool:
    """Tell whether a reply is a refusal, see ``is_refusal``."""
    return is_refusal(reply)


def _stem(word: str) -> str:
    return re.sub(r"(?<=\w{3})(?:ing|ed|ly|es|s|e)$", "", word)
