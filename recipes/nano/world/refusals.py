"""Everything that nano cannot answer: it says so in one sentence, and what it can do instead.

Phrasings stand in ``lists/refusals.txt``; what they ask about comes from WordNet and the dictionary, so that a known
word in a question is no reason to answer. Beside questions there are statements that nobody answers in words: WordNet's
example sentences. A tenth of the topics and of the phrasings is reserved as a whole.
"""

import random
import re
from collections.abc import Mapping
from functools import cache
from string import Formatter

from kimi_audio.core.words import normalise, number_words
from recipes.nano.closed.facts import DAYS
from recipes.nano.world import wordnet
from recipes.nano.world.aloud import examples
from recipes.nano.world.dictionary import entries, rarer_words
from recipes.nano.world.judging import refuses
from recipes.nano.world.places import CAPITALS
from recipes.nano.world.types import Kind, Talk, Turn
from recipes.nano.world.wording import is_readable, politely, read_list, sentence

TO_STATEMENTS = "I do not know what to say to that, but you can ask me about words, numbers and capitals."
_PERSON_FILE, _PLACE_FILE = 18, 15
_STATEMENT = re.compile(r"(?:he|she|they|we|it|i|you|there) ", re.IGNORECASE)
_STATEMENT_WORDS = (5, 14)
_RESERVABLE = ("topic", "person", "place")  # other slots hold words that training may use elsewhere


@cache
def phrasings() -> tuple[tuple[str, str], ...]:
    """Return pairs of a phrasing and its reply."""
    found, reply = [], ""
    for line in read_list("refusals"):
        if line.startswith("["):
            reply = line.strip("[]")
        else:
            found.append((line, reply))
    return tuple(found)


@cache
def topics() -> Mapping[str, tuple[str, ...]]:
    """Return what may stand in each slot."""
    known = re.compile(r"\b(?:" + "|".join((*CAPITALS, *CAPITALS.values())) + r")\b")
    nouns = [entry for entry in entries().values() if entry.part == "noun"]
    return {
        "thing": tuple(entry.name for entry in nouns),
        "bare": tuple(entry.word for entry in nouns),
        "act": tuple(entry.word for entry in entries().values() if entry.part == "verb"),
        "topic": tuple(_many(word) for word, part in rarer_words() if part == "noun"),
        "person": _named(_PERSON_FILE),
        "place": tuple(place for place in _named(_PLACE_FILE) if not known.search(place)),
        "country": tuple(CAPITALS),
        "first": read_list("names"),
        "day": tuple(DAYS),
        "number": tuple(number_words(n) for n in range(113, 2000, 7)),
    }


def _many(word: str) -> str:
    """Return the plural of a noun where it is no trouble."""
    return word if word.endswith(tuple("sxyzhfo")) else f"{word}s"


def _named(lexicographer_file: int) -> tuple[str, ...]:
    """Return the people or places that WordNet knows by name, by the longest name of at most three words."""
    found = {}
    for meaning in wordnet.instances(lexicographer_file):
        names = [name for name in meaning.words if is_readable(name) and len(name.split()) <= 3 and name[0].isupper()]
        names = [name for name in names if not re.search(r"\b[A-Z]{2}|\b[A-Z]\b", name)]
        if names:
            found.setdefault(max(names, key=len))
    return tuple(found)


def _draw_question(generator: random.Random) -> Talk:
    phrasing, reply = generator.choice(phrasings())
    slots = [slot for _, slot, _, _ in Formatter().parse(phrasing) if slot]
    said, atoms = phrasing, [f"phrasing:{phrasing}"]
    for slot in slots:
        topic = generator.choice(topics()[slot])
        said = said.replace(f"{{{slot}}}", topic, 1)
        if slot in _RESERVABLE:
            atoms.append(f"topic:{topic}")
    turn = Turn(politely(sentence(said), generator), reply)
    return Talk("refusal", (turn,), normalise(reply), atoms=tuple(atoms))


@cache
def statements() -> tuple[str, ...]:
    """Return whole sentences that people may say without asking anything."""
    return tuple(
        text
        for text in examples()
        if _STATEMENT.match(text)
        and _STATEMENT_WORDS[0] <= len(text.split()) <= _STATEMENT_WORDS[1]
        and not set("?!") & set(text)
    )


def _draw_statement(generator: random.Random) -> Talk:
    said = sentence(generator.choice(statements())).rstrip(".") + "."
    return Talk("statement", (Turn(said, TO_STATEMENTS),), normalise(TO_STATEMENTS))


KINDS: tuple[Kind, ...] = (
    Kind("refusal", _draw_question, refuses, share=14),
    Kind("statement", _draw_statement, refuses, share=4),
)
