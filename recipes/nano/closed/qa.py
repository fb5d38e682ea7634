"""A closed world of spoken questions, each with one short spoken reply that can be checked."""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol, TypeVar

from kimi_audio.core.words import normalise, number_words
from recipes.nano.closed.facts import (
    CAPITALS,
    COLOURS,
    DAYS,
    HOMES,
    LEGS,
    MONTHS,
    OPPOSITES,
    ORDINALS,
    PASTS,
    PLURALS,
    SMALL_TALK,
    SOUNDS,
    SPELLED,
)
from recipes.nano.closed.scoring import mentions, names_only
from recipes.nano.closed.splits import is_reserved

LARGEST_OPERAND = 20
LARGEST_FACTOR = 12


@dataclass(frozen=True)
class QAItem:
    """One question and its reply, both in plain words.

    ``fact`` names what is asked (``add:7:5``), ``key`` the fact in one phrasing (``add:7:5/2``), which is what the
    reserved tenth is made of. ``essential`` are the words in transcript form that make a reply right.
    """

    question: str
    answer: str
    kind: str
    fact: str
    key: str
    essential: str


@dataclass(frozen=True)
class _Fact:
    operands: tuple[str, ...]
    essential: str


@dataclass(frozen=True)
class _Kind:
    """One kind of question: phrasings and the reply with {0}, {1} for the operands and {answer}."""

    name: str
    facts: tuple[_Fact, ...]
    phrasings: tuple[str, ...]
    reply: str


def _table(pairs: dict[str, str]) -> tuple[_Fact, ...]:
    return tuple(_Fact((key,), value) for key, value in pairs.items())


def _numeric(firsts: range, seconds: range, compute: Callable[[int, int], int]) -> tuple[_Fact, ...]:
    return tuple(
        _Fact((number_words(a), number_words(b)), number_words(compute(a, b)))
        for a in firsts
        for b in seconds
        if compute(a, b) >= 0
    )


def _neighbours(names: list[str], step: int) -> tuple[_Fact, ...]:
    return tuple(_Fact((name,), names[(i + step) % len(names)]) for i, name in enumerate(names))


def _count_facts() -> tuple[_Fact, ...]:
    spans = [(a, a + n) for a in range(1, 11) for n in range(2, 7)]
    spans += [(b, a) for a, b in spans if b <= 10]  # backwards
    return tuple(_Fact((number_words(a), number_words(b)), ", ".join(_count(a, b))) for a, b in spans)


def _count(first: int, last: int) -> list[str]:
    step = 1 if first <= last else -1
    return [number_words(n) for n in range(first, last + step, step)]


def _numbers(first: int, last: int, compute: Callable[[int], int | str]) -> tuple[_Fact, ...]:
    facts = []
    for n in range(first, last + 1):
        value = compute(n)
        facts.append(_Fact((number_words(n),), value if isinstance(value, str) else number_words(value)))
    return tuple(facts)


def _kind(name: str, facts: tuple[_Fact, ...], phrasings: str, reply: str) -> _Kind:
    return _Kind(name, facts, tuple(phrasing.strip() for phrasing in phrasings.split("|")), reply)


KINDS: tuple[_Kind, ...] = (
    _kind(
        "add",
        _numeric(range(LARGEST_OPERAND + 1), range(LARGEST_OPERAND + 1), lambda a, b: a + b),
        "What is {0} plus {1}? | How much is {0} plus {1}? | Add {0} and {1}. | What do {0} and {1} make? | "
        "What is the sum of {0} and {1}? | Tell me {0} plus {1}.",
        "{0} plus {1} is {answer}.",
    ),
    _kind(
        "subtract",
        _numeric(range(LARGEST_OPERAND + 1), range(LARGEST_OPERAND + 1), lambda a, b: a - b),
        "What is {0} minus {1}? | How much is {0} minus {1}? | Take {1} away from {0}. | "
        "What is {0} take away {1}? | Subtract {1} from {0}. | Tell me {0} minus {1}.",
        "{0} minus {1} is {answer}.",
    ),
    _kind(
        "multiply",
        _numeric(range(LARGEST_FACTOR + 1), range(LARGEST_FACTOR + 1), lambda a, b: a * b),
        "What is {0} times {1}? | How much is {0} times {1}? | Multiply {0} by {1}. | "
        "What is {0} multiplied by {1}? | Tell me {0} times {1}.",
        "{0} times {1} is {answer}.",
    ),
    _kind(
        "capital",
        _table(CAPITALS),
        "What is the capital of {0}? | Tell me the capital of {0}. | Which city is the capital of {0}? | "
        "Name the capital of {0}. | What is the capital city of {0}? | Do you know the capital of {0}?",
        "The capital of {0} is {answer}.",
    ),
    _kind(
        "country",
        _table({city: country for country, city in CAPITALS.items()}),
        "{0} is the capital of which country? | Which country has the capital {0}? | "
        "What country is {0} the capital of? | Name the country with the capital {0}.",
        "{0} is the capital of {answer}.",
    ),
    _kind(
        "opposite",
        _table(OPPOSITES | {value: key for key, value in OPPOSITES.items()}),
        "What is the opposite of {0}? | Tell me the opposite of {0}. | Which word is the opposite of {0}? | "
        "Name the opposite of {0}. | Say the opposite of {0}.",
        "The opposite of {0} is {answer}.",
    ),
    _kind(
        "day-after",
        _neighbours(DAYS, 1),
        "What day comes after {0}? | Which day is after {0}? | What is the day after {0}? | "
        "Which day follows {0}? | Tell me the day after {0}.",
        "After {0} comes {answer}.",
    ),
    _kind(
        "day-before",
        _neighbours(DAYS, -1),
        "What day comes before {0}? | Which day is before {0}? | What is the day before {0}? | "
        "Tell me the day before {0}. | Name the day before {0}.",
        "Before {0} comes {answer}.",
    ),
    _kind(
        "month-after",
        _neighbours(MONTHS, 1),
        "What month comes after {0}? | Which month is after {0}? | What is the month after {0}? | "
        "Which month follows {0}? | Tell me the month after {0}.",
        "After {0} comes {answer}.",
    ),
    _kind(
        "month-before",
        _neighbours(MONTHS, -1),
        "What month comes before {0}? | Which month is before {0}? | What is the month before {0}? | "
        "Tell me the month before {0}. | Name the month before {0}.",
        "Before {0} comes {answer}.",
    ),
    _kind(
        "month-number",
        tuple(_Fact((ordinal,), month) for ordinal, month in zip(ORDINALS, MONTHS, strict=True)),
        "What is the {0} month? | Which month is the {0} month? | Name the {0} month of the year. | "
        "Tell me the {0} month of the year. | What is the {0} month of the year?",
        "The {0} month is {answer}.",
    ),
    _kind(
        "number-after",
        _numbers(0, 50, lambda n: n + 1),
        "What number comes after {0}? | Which number is after {0}? | What comes after {0}? | "
        "Which number follows {0}? | Tell me the number after {0}.",
        "After {0} comes {answer}.",
    ),
    _kind(
        "number-before",
        _numbers(1, 50, lambda n: n - 1),
        "What number comes before {0}? | Which number is before {0}? | What comes before {0}? | "
        "Tell me the number before {0}. | Name the number before {0}.",
        "Before {0} comes {answer}.",
    ),
    _kind(
        "double",
        _numbers(1, 20, lambda n: 2 * n),
        "What is twice {0}? | What is the double of {0}? | Double the number {0}. | Tell me twice {0}.",
        "Twice {0} is {answer}.",
    ),
    _kind(
        "larger",
        tuple(
            _Fact((number_words(a), number_words(b)), number_words(max(a, b)))
            for a in range(1, 21)
            for b in range(1, 21)
            if a != b
        ),
        "Which is larger, {0} or {1}? | Which number is bigger, {0} or {1}? | What is more, {0} or {1}? | "
        "Tell me which is larger, {0} or {1}.",
        "The larger number is {answer}.",
    ),
    _kind(
        "parity",
        _numbers(0, 30, lambda n: "odd" if n % 2 else "even"),
        "Is {0} even or odd? | Is {0} odd or even? | Tell me if {0} is even or odd. | Is the number {0} even or odd?",
        "The number {0} is {answer}.",
    ),
    _kind(
        "count",
        _count_facts(),
        "Count from {0} to {1}. | Please count from {0} to {1}. | Can you count from {0} to {1}? | "
        "Start at {0} and count to {1}. | Say the numbers from {0} to {1}.",
        "{answer}.",
    ),
    _kind(
        "spell",
        tuple(_Fact((word,), ", ".join(word.upper())) for word in SPELLED),
        "How do you spell {0}? | Spell the word {0}. | Please spell {0}. | Can you spell {0}? | "
        "How is {0} spelled? | Tell me how to spell {0}.",
        "{answer}.",
    ),
    _kind(
        "plural",
        _table(PLURALS),
        "What is the plural of {0}? | Tell me the plural of {0}. | Name the plural of {0}. | "
        "What is the plural form of {0}? | Say the plural of {0}.",
        "The plural of {0} is {answer}.",
    ),
    _kind(
        "past",
        _table(PASTS),
        "What is the past tense of {0}? | What is the past of {0}? | Tell me the past tense of {0}. | "
        "Name the past tense of {0}. | Say the past tense of {0}.",
        "The past tense of {0} is {answer}.",
    ),
    _kind(
        "colour",
        _table(COLOURS),
        "What color is {0}? | Which color is {0}? | Tell me the color of {0}. | What is the color of {0}? | "
        "Name the color of {0}.",
        "The color of {0} is {answer}.",
    ),
    _kind(
        "sound",
        _table(SOUNDS),
        "What does a {0} say? | What sound does a {0} make? | Which sound does a {0} make? | "
        "How does a {0} sound? | Tell me what a {0} says.",
        "A {0} says {answer}.",
    ),
    _kind(
        "legs",
        _table(LEGS),
        "How many legs does a {0} have? | How many legs has a {0}? | Tell me how many legs a {0} has. | "
        "What number of legs does a {0} have?",
        "A {0} has {answer} legs.",
    ),
    _kind(
        "home",
        _table(HOMES),
        "Where does a {0} live? | What is the home of a {0}? | Tell me where a {0} lives. | "
        "Where is the home of a {0}?",
        "The home of a {0} is the {answer}.",
    ),
)


def _sentence(template: str, fact: _Fact) -> str:
    text = template.format(*fact.operands, answer=fact.essential)
    text = re.sub(r"\b([Aa]) (?=[aeio])", r"\1n ", text)
    return text[0].upper() + text[1:]


@cache
def all_items() -> tuple[QAItem, ...]:
    """Return every question of the world, in a fixed order."""
    return tuple(_generated()) + tuple(_small_talk())


def _generated() -> Iterator[QAItem]:
    for kind in KINDS:
        for fact in kind.facts:
            name = ":".join((kind.name, *fact.operands))
            for index, phrasing in enumerate(kind.phrasings):
                yield QAItem(
                    question=_sentence(phrasing, fact),
                    answer=_sentence(kind.reply, fact),
                    kind=kind.name,
                    fact=name,
                    key=f"{name}/{index}",
                    essential=normalise(fact.essential),
                )


def _small_talk() -> Iterator[QAItem]:
    for essential, reply, ways in SMALL_TALK:
        for index, way in enumerate(ways.split(" | ")):
            yield QAItem(
                way, reply, "small-talk", f"small-talk:{essential}", f"small-talk:{essential}/{index}", essential
            )


@cache
def side(reserved: bool) -> tuple[QAItem, ...]:
    """Return the reserved tenth of the questions, or all the others."""
    return tuple(item for item in all_items() if is_reserved(item.key) == reserved)


@cache
def _by_key() -> dict[str, QAItem]:
    return {item.key: item for item in all_items()}


def find_item(key: str) -> QAItem:
    """Return the question with the key that a manifest states.

    Raises:
        ValueError: there is no such question.
    """
    if key not in _by_key():
        raise ValueError(f"{key!r} is not a question of the closed world; was the corpus built by another version?")
    return _by_key()[key]


def take_questions(count: int, generator: random.Random, reserved: bool) -> list[QAItem]:
    """Draw ``count`` questions of one side, see ``deal``."""
    return deal(side(reserved), count, generator)


class _OfKind(Protocol):
    @property
    def kind(self) -> str: ...


Item = TypeVar("Item", bound=_OfKind)


def deal(items: Sequence[Item], count: int, generator: random.Random) -> list[Item]:
    """Draw ``count`` items, every kind equally often where it has enough; then shuffled.

    An item comes again (for another voice) only after all of its kind had their turn.
    """
    by_kind: dict[str, list[Item]] = {}
    for item in items:
        by_kind.setdefault(item.kind, []).append(item)
    # The square root keeps the few small kinds from being repeated too often and the large ones from ruling.
    weights = [len(group) ** 0.5 for group in by_kind.values()]
    decks: dict[str, list[Item]] = {kind: [] for kind in by_kind}
    taken = []
    for kind in generator.choices(list(by_kind), weights, k=count):
        if not decks[kind]:
            decks[kind] = generator.sample(by_kind[kind], len(by_kind[kind]))
        taken.append(decks[kind].pop())
    return taken


def is_right(item: QAItem, reply_text: str) -> bool:
    """Tell whether a reply in any case and punctuation, or as a transcript, answers the question.

    Counting and spelling need exactly the sequence. Elsewhere the last possible answer of this kind in the reply
    must be the right one, and no other may be named except those in the question.
    """
    reply = normalise(reply_text).split()
    if item.kind == "spell":
        return " ".join(word for word in reply if len(word) == 1) == item.essential
    if item.kind == "count":
        return " ".join(mentions(reply, _NUMBERS)) == item.essential
    if item.kind == "small-talk":
        return item.essential in mentions(reply, _candidates(item.kind))
    mentioned = mentions(reply, _candidates(item.kind))
    asked = set(mentions(normalise(item.question).split(), _candidates(item.kind)))
    return names_only(mentioned, item.essential, asked)


_NUMBERS = frozenset(number_words(n) for n in range(401))


@cache
def _candidates(kind: str) -> frozenset[str]:
    answers = frozenset(item.essential for item in all_items() if item.kind == kind)
    return answers | _NUMBERS if answers & _NUMBERS else answers
