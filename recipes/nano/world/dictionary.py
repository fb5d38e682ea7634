"""A spoken dictionary of common words: what they mean, their opposites, what kind of thing they name, their spelling.

The words stand in ``lists/dictionary.txt``; what is told about them comes from WordNet, except where the list says it
in plain words of its own. Words that are not in it, rarer or invented ones, are asked for too: nano does not know them.
"""

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from kimi_audio.core.words import normalise
from recipes.nano.closed.facts import OPPOSITES
from recipes.nano.world import wordnet
from recipes.nano.world.judging import defines, is_refusal, names, names_alone, refuses, spells
from recipes.nano.world.questions import Fact, later, questions, table
from recipes.nano.world.types import Kind, Talk, Turn
from recipes.nano.world.wording import (
    is_decent,
    is_readable,
    letters,
    politely,
    read_list,
    sentence,
    ways,
    with_article,
)

FEWEST_MARKS = 4  # in the texts behind WordNet's counts, of a word that has an opposite here
EXAMPLE_WORDS = (3, 9)
UNKNOWN_LETTERS = (5, 10)
LONGEST_SPELLED = 9
# Things that one can see: animals, made things, food, plants, substances; then acts that one can do.
_UNKNOWN_FILES = {"noun": {5, 6, 13, 17, 20, 27}, "verb": {30, 35, 36, 38}}
_UNFIT = re.compile(
    r"slang|drug|urin|ethnic|\bkill|execut|explosive|weapon|genus|bomb|addict|\bwar\b|president|dead\b|\bdied|\blied\b|"
    r"alcohol|\bbeer|\bill\b|drunk|\bgod\b|jesus"
)
# Whole sentences, or things with their article.
_EXAMPLE_START = re.compile(r"(?:an?|the|he|she|they|we|it|i|you|my|his|her|our|their|this|there|some|two) |[A-Z]")
_PART_OF_FIRST_WORD = {"a": "noun", "an": "noun", "the": "noun", "some": "noun", "to": "verb", "": "adjective"}
_DETERMINERS = r"(?:an?|the|any|one|either|someone|something|everything) "


@dataclass(frozen=True)
class Entry:
    """A word of the dictionary: how people name it (``a hammer``, ``to climb``), its part of speech, its meaning."""

    name: str
    word: str
    part: str
    synset: wordnet.Synset | None
    meaning: str

    @property
    def explanation(self) -> str:
        """The reply to who asks what the word means."""
        return sentence(f"{self.name} {'is' if self.part == 'noun' else 'means'} {self.meaning}.")


@cache
def entries() -> dict[str, Entry]:
    """Return the dictionary by word, in alphabetical order."""
    return {entry.word: entry for entry in map(_entry, read_list("dictionary"))}


def _entry(line: str) -> Entry:
    name, colon, meaning = line.partition(": ")
    number = 0
    if not colon:
        name, _, digits = line.rpartition(" ")
        number = int(digits)
    first, _, word = name.rpartition(" ")
    part = _PART_OF_FIRST_WORD[first]
    name = word if first == "some" else name
    synset = wordnet.senses(word, part)[number - 1] if number else None
    return Entry(name, word, part, synset, meaning or _spoken_meaning(name, part, synset))


def _spoken_meaning(name: str, part: str, synset: wordnet.Synset | None) -> str:
    assert synset is not None
    meaning = synset.definition
    if part == "verb":
        return meaning if meaning.startswith("to ") else f"to {meaning}"
    if part == "noun" and name.startswith(("a ", "an ")) and not re.match(_DETERMINERS, meaning):
        return with_article(meaning)
    return meaning


# ---------------------------------------------------------------------------------------------------------------------
# What it means

_OF_ANY = ways(
    "What does {word} mean? | What does the word {word} mean? | Define {word}. | What is the meaning of {word}? | \
    Explain the word {word}. | Can you tell me what {word} means? | Please explain the word {word}. | \
    Tell me the meaning of {word}. | Do you know the word {word}? | What do people mean by {word}? | Define the word \
    {word}. | Can you explain the word {word}?"
)
_OF_PART = {
    "noun": ways(
        "What is {name}? | Tell me what {name} is. | Do you know what {name} is? | Can you explain what {name} is? | \
        What is {name}? | Explain to me what {name} is. | Can you tell me what {name} is?"
    ),
    "verb": ways("What does it mean {name}? | What do I do when I {word}? | Tell me what it means {name}."),
    "adjective": ways("What does it mean to be {word}? | When is something {word}? | Tell me what {word} means."),
}


def _ask(entry_name: str, word: str, part: str, generator: random.Random) -> str:
    phrasing = generator.choice(_OF_PART[part] if generator.random() < 0.5 else _OF_ANY)
    return politely(sentence(phrasing.format(name=entry_name, word=word)), generator)


def definition(entry: Entry, generator: random.Random) -> Talk:
    """Draw a question about a word."""
    return _explained(entry, _ask(entry.name, entry.word, entry.part, generator))


def plain_question(entry: Entry) -> Talk:
    """Return the plainest question about a word."""
    is_noun = entry.part == "noun"
    return _explained(entry, sentence(f"What is {entry.name}?") if is_noun else f"What does {entry.word} mean?")


def _explained(entry: Entry, said: str) -> Talk:
    return Talk("definition", (Turn(said, entry.explanation),), normalise(entry.meaning))


def _draw_definition(generator: random.Random) -> Talk:
    return definition(generator.choice(tuple(entries().values())), generator)


# ---------------------------------------------------------------------------------------------------------------------
# Words that it does not have

UNKNOWN = "I do not know the word {0}, but I can explain many common words."


@cache
def rarer_words() -> tuple[tuple[str, str], ...]:
    """Return real words that are not in the dictionary, with their parts of speech; none is close to one that is."""
    known = {variant for word in entries() for variant in _nearby(word)}
    return tuple(
        (word, part)
        for part in _UNKNOWN_FILES
        for word in wordnet.words(part)
        if UNKNOWN_LETTERS[0] <= len(word) <= UNKNOWN_LETTERS[1]
        and not known & _nearby(word)
        and not (word.endswith("s") and word[:-1] in entries())
        and _is_fit(word, part)
    )


def _is_fit(word: str, part: str) -> bool:
    meanings = wordnet.senses(word, part)
    return (
        wordnet.frequencies().get((word, part), 0) == 0
        and meanings[0].lexicographer_file in _UNKNOWN_FILES[part]
        and all(_is_harmless(" ".join((*meaning.words, meaning.gloss))) for meaning in meanings)
        and word in meanings[0].words  # in lower case: no name
    )


def _is_harmless(text: str) -> bool:
    return is_decent(text) and _UNFIT.search(text.lower()) is None


def _nearby(word: str) -> frozenset[str]:
    """Return a word and all that is left of it without one letter: close words share one of these."""
    return frozenset({word, *(word[:i] + word[i + 1 :] for i in range(len(word)))})


def invented_word(generator: random.Random) -> str:
    """Return a word that could be one, such as ``blimfor``."""
    starts = ("b", "bl", "d", "dr", "f", "fl", "g", "gr", "k", "m", "n", "p", "pl", "sn", "t", "tr", "v", "z")
    syllables = [
        generator.choice(starts) + generator.choice("aeiou") + generator.choice(("", "l", "m", "n", "p", "r", "x"))
        for _ in range(generator.choice((2, 2, 3)))
    ]
    return "".join(syllables)


def _draw_unknown(generator: random.Random) -> Talk:
    if generator.random() < 0.75:
        word, part = generator.choice(rarer_words())
    else:
        word, part = invented_word(generator), "noun"
        if word in entries() or wordnet.senses(word, "noun"):
            return _draw_unknown(generator)
    name = f"to {word}" if part == "verb" else with_article(word)
    turn = Turn(_ask(name, word, part, generator), UNKNOWN.format(word))
    return Talk("unknown-word", (turn,), word, atoms=(f"word:{word}",))


# ---------------------------------------------------------------------------------------------------------------------
# Opposites, kinds, examples

_OPPOSITE = "What is the opposite of {0}? | Tell me the opposite of {0}. | Name the opposite of {0}. | \
    Which word is the opposite of {0}? | What word means the opposite of {0}? | Say the opposite of {0}. | \
    Do you know the opposite of {0}?"
_EXAMPLE = "Give me an example with {0}. | Give me an example for the word {0}. | Use {0} in an example. | \
    Can you give me an example with the word {0}? | Make an example with {0}. | How do I use the word {0}? | \
    Use the word {0} in a sentence."
# WordNet's pairs that are about another meaning, or that nobody would say.
_ODD_OPPOSITES = frozenset(read_list("odd-opposites"))


@cache
def opposites() -> Mapping[str, str]:
    """Return common words with their opposites."""
    found = dict(OPPOSITES)
    for word, opposite in OPPOSITES.items():
        found.setdefault(opposite, word)
    for part in ("adjective", "verb", "noun"):
        for word in wordnet.words(part):
            if _is_common(word, part) and word not in found and word not in _ODD_OPPOSITES:
                opposite = next(_antonyms(word, part), None)
                if opposite is not None and _is_common(opposite, part):
                    found[word] = opposite
    return found


def _is_common(word: str, part: str) -> bool:
    return word in entries() or wordnet.frequencies().get((word, part), 0) >= FEWEST_MARKS


def _antonyms(word: str, part: str) -> Iterator[str]:
    for meaning in wordnet.senses(word, part)[:2]:
        for pointer in meaning.pointers:
            if pointer.symbol == "!" and word in meaning.words and meaning.words.index(word) + 1 == pointer.source:
                opposite = wordnet.synset(pointer.part, pointer.offset).words[pointer.target - 1]
                if opposite.isalpha() and opposite.islower():
                    yield opposite


# Names of kinds as WordNet writes them, and as people say them.
CATEGORIES: Mapping[str, str] = {
    name: said or name for name, _, said in (line.partition(": ") for line in read_list("categories"))
}
GROUPS = ("animal", "person", "building", "vehicle", "piece of clothing", "musical instrument", "food", "plant")
_GIVEN_KINDS = {
    word: tuple(kinds.strip().split(", ")) for word, _, kinds in (line.partition(":") for line in read_list("kinds"))
}


@cache
def kinds() -> Mapping[str, tuple[str, ...]]:
    """Return, for each thing of the dictionary, what kinds of thing it is, the nearest first."""
    found = {}
    for entry in entries().values():
        if entry.name.startswith(("a ", "an ")):
            meaning = entry.synset or wordnet.senses(entry.word, "noun")[0]
            chain = _GIVEN_KINDS.get(entry.word) or tuple(dict.fromkeys(_kinds_above(meaning)))
            chain = tuple(kind for kind in chain if kind not in ("", entry.word))
            if chain:
                found[entry.word] = chain
    return found


def _kinds_above(meaning: wordnet.Synset) -> Iterator[str]:
    while above := [pointer for pointer in meaning.pointers if pointer.symbol == "@"]:
        meaning = wordnet.synset(above[0].part, above[0].offset)
        yield from (CATEGORIES[word] for word in meaning.words if word in CATEGORIES)


def _kind_questions() -> Kind:
    facts = tuple(Fact((with_article(word),), with_article(chain[0])) for word, chain in kinds().items())
    return questions(
        "kind-of",
        facts,
        "What kind of thing is {0}? | What sort of thing is {0}? | {0} is a kind of what? | \
            Tell me what kind of thing {0} is.",
        "{0} is {answer}.",
        names({fact.answer for fact in facts}),
    )


def _draw_is_a(generator: random.Random) -> Talk:
    word, chain = generator.choice(tuple(kinds().items()))
    own = next((kind for kind in chain if kind in GROUPS), None)
    if own is None:
        return _draw_is_a(generator)
    asked = generator.choice((own, generator.choice([group for group in GROUPS if group not in chain])))
    thing, kind, other = map(with_article, (word, own, asked))
    phrasing = generator.choice(
        ways("Is {0} {1}? | Is {0} {1} or not? | Tell me if {0} is {1}. | Would you call {0} {1}?")
    )
    said = politely(sentence(phrasing.format(thing, other)), generator)
    if asked == own:
        return Talk("is-a", (Turn(said, sentence(f"yes, {thing} is {kind}.")),), "yes")
    return Talk("is-a", (Turn(said, sentence(f"no, {thing} is {kind}, not {other}.")),), "no")


@cache
def examples() -> Mapping[str, str]:
    """Return short examples from WordNet, with the word as it stands in the dictionary."""
    found = {}
    for entry in entries().values():
        meaning = entry.synset or next(iter(wordnet.senses(entry.word, entry.part)), None)
        if meaning is None or (entry.part == "noun" and entry.synset is None):  # may be about something else
            continue
        fitting = (example for example in meaning.examples if _is_good_example(example, entry.word))
        if _is_harmless(meaning.gloss) and (example := next(fitting, None)):
            found[entry.word] = example.strip(" .")
    return found


def _is_good_example(example: str, word: str) -> bool:
    return (
        EXAMPLE_WORDS[0] <= len(example.split()) <= EXAMPLE_WORDS[1]
        and word in normalise(example).split()
        and is_readable(example)
        and _EXAMPLE_START.match(example) is not None
        and not re.search(r"--|\.\.", example)
        and not is_refusal(example)
    )


def _draw_example(generator: random.Random) -> Talk:
    word, example = generator.choice(tuple(examples().items()))
    phrasing = generator.choice(ways(_EXAMPLE))
    end = "" if example[-1] in "!?" else "."
    turn = Turn(politely(sentence(phrasing.format(word)), generator), f"Here is one. {sentence(example)}{end}")
    return Talk("example", (turn,), normalise(example))


def _draw_missing(generator: random.Random) -> Talk:
    """Ask for the opposite of a thing, or for an example that is not there."""
    if generator.random() < 0.5:
        words = [entry.word for entry in entries().values() if entry.part == "noun" and entry.word not in opposites()]
        choices, missing = _OPPOSITE, "an opposite of"
    else:
        words = [word for word in entries() if word not in examples()]
        choices, missing = _EXAMPLE, "an example for"
    word = generator.choice(words)
    said = politely(sentence(generator.choice(ways(choices)).format(word)), generator)
    reply = f"I do not know {missing} {word}, but I can explain the word."
    return Talk("missing", (Turn(said, reply),), normalise(reply))


def _gives_example(talk: Talk, reply: str) -> bool:
    return defines(talk, normalise(reply).removeprefix("here is one "))


def _opposite_questions() -> Kind:
    judge = names(opposites().values())
    return questions("opposite", table(opposites()), _OPPOSITE, "The opposite of {0} is {answer}.", judge)


def _spelling_questions() -> Kind:
    words = [word for word in (*entries(), *read_list("names")) if len(word) <= LONGEST_SPELLED]
    return questions(
        "spell",
        table({word: letters(word) for word in words}),
        "How do you spell {0}? | Spell the word {0}. | Please spell {0}. | Can you spell {0}? | How is {0} spelled? | \
            Tell me how to spell {0}. | Spell {0}.",
        "{answer}.",
        spells,
    )


KINDS: tuple[Kind, ...] = (
    Kind("definition", _draw_definition, defines, share=20),
    Kind("unknown-word", _draw_unknown, refuses, share=8),
    later("opposite", _opposite_questions, share=5),
    later("kind-of", _kind_questions),
    Kind("is-a", _draw_is_a, names_alone({"yes", "no"}), share=3),
    Kind("example", _draw_example, _gives_example, share=3),
    Kind("missing", _draw_missing, refuses, share=2),
    later("spell", _spelling_questions, share=6),
)
