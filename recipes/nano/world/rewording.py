"""Other words for what people say: nobody asks in the few ways that the kinds of conversations are drawn in.

``lists/other-words.txt`` has thousands more. Two lists beside it name those that are never learned but kept for
development and for the scores, which have a row of their own, so that the others ask for what they always did.
"""

import itertools
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache

from kimi_audio.core.words import normalise
from recipes.nano.world.refusals import phrasings
from recipes.nano.world.types import Talk, Turn
from recipes.nano.world.wording import read_list, sentence, ways

# What was said is said back in these, word by word.
_SAID_BACK = frozenset({"echo"})
# What stands in slots; the others are ways to say so, as "my number minus seven" fits "{0} minus {1}".
_FILLINGS = "seven", "my number", "the word seven"
_CHOICE, _SLOT = re.compile(r"\[([^]]*)\]"), re.compile(r"\{(\d)\}")


class Use(Enum):
    """What words are for; the lists of those that are kept have these names."""

    LEARNING = "learning"
    DEVELOPMENT = "development"
    SCORES = "scores"


@dataclass(frozen=True)
class OtherWords:
    """Known ways to say something, as patterns whose groups are ``s0``, ``s1``, and others with slots {0}, {1}."""

    known: tuple[re.Pattern[str], ...]
    others: Mapping[Use, tuple[str, ...]]

    def slots(self, said: str) -> list[str] | None:
        """Return what stands in the slots of what was said, or None if it is something else."""
        found = next((match for pattern in self.known if (match := pattern.fullmatch(said))), None)
        return None if found is None else [found[group] for group in sorted(found.groupdict())]


def expanded(text: str) -> tuple[str, ...]:
    """Return a text in all its choices: ``[a/b] c`` is ``a c`` or ``b c``."""
    parts = _CHOICE.split(text)  # every second one is a choice
    choices = [part.split("/") if number % 2 else [part] for number, part in enumerate(parts)]
    found = ("".join(chosen) for chosen in itertools.product(*choices))
    return tuple(dict.fromkeys(re.sub(r" +(?=[ ,.?!]|$)", "", text).strip() for text in found))


@cache
def other_words() -> tuple[OtherWords, ...]:
    """Return all of the list; the first that fits counts. What says the same as something kept is not learned."""
    uses = {way: use for use in (Use.DEVELOPMENT, Use.SCORES) for way in read_list(f"other-words-{use.value}")}
    kept = {text for way in uses for text in _texts(way, _FILLINGS)}
    return tuple(_read(line, uses, kept) for line in read_list("other-words"))


def _texts(way: str, fillings: Sequence[str]) -> set[str]:
    return {normalise(way.format(*pair)) for pair in itertools.product(fillings, repeat=2)}


def _read(line: str, uses: Mapping[str, Use], kept: set[str]) -> OtherWords:
    known, *others = ways(line)
    said = dict.fromkeys(way for other in others for way in expanded(other))
    found = {use: tuple(way for way in said if uses.get(way, Use.LEARNING) is use) for use in Use}
    found[Use.LEARNING] = tuple(way for way in found[Use.LEARNING] if not _texts(way, _FILLINGS[:1]) & kept)
    return OtherWords(tuple(map(_pattern, known.split(" = "))), found)


def _pattern(template: str) -> re.Pattern[str]:
    with_articles = re.sub(r"\b([Aa]) (?=\{)", r"\1n? ", re.escape(template).replace(r"\{", "{").replace(r"\ ", " "))
    return re.compile(_SLOT.sub(r"(?P<s\1>.+)", with_articles.replace(r"\}", "}")))


def reworded(talks: Iterable[Talk], generator: random.Random, use: Use = Use.LEARNING) -> Iterator[Talk]:
    """Yield the conversations of which something can be said in other words, in such.

    Args:
        talks: conversations as they are drawn; none of what is yielded is reserved as a text.
        generator: draws the words.
        use: which words. Beside learning, the last turn has to be one of those, as its reply is what counts.
    """
    for talk in talks:
        turns = tuple(_reworded(turn, generator, use) for turn in talk.turns)
        other = replace(talk, turns=turns)
        is_changed = turns != talk.turns if use is Use.LEARNING else turns[-1] != talk.turns[-1]
        if is_changed and talk.kind not in _SAID_BACK and not other.is_reserved:
            yield other


@cache
def _refusals() -> frozenset[str]:
    """Return the replies to what is never reworded: those phrasings are many, and reserved one by one."""
    return frozenset(reply for _, reply in phrasings())


def _reworded(turn: Turn, generator: random.Random, use: Use) -> Turn:
    if turn.reply in _refusals():
        return turn
    for words in other_words():
        if (slots := words.slots(turn.said)) is not None:
            others = words.others[use]
            return replace(turn, said=sentence(generator.choice(others).format(*slots))) if others else turn
    return turn
