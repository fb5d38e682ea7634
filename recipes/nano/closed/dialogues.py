"""Conversations of three spoken turns; the last can only be answered with what the first said."""

import random
from dataclasses import dataclass
from functools import cache

from kimi_audio.core.words import normalise, number_words
from recipes.nano.closed.examples import Example, Speech, heard, spoken
from recipes.nano.closed.qa import QAItem, side
from recipes.nano.closed.scoring import mentions, names_only
from recipes.nano.closed.splits import is_reserved
from recipes.nano.closed.voices import ASSISTANT, RESERVED, SEEN, Voice, draw_delivery


@dataclass(frozen=True)
class _Memory:
    """Something to be told and asked for: {0} is the value, in the way it is told, acknowledged, asked and answered."""

    values: tuple[str, ...]
    told: tuple[str, ...]
    acknowledged: str
    asked: tuple[str, ...]
    answered: str


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _ways(text: str) -> tuple[str, ...]:
    return tuple(way.strip() for way in text.split("|"))


MEMORIES: dict[str, _Memory] = {
    "name": _Memory(
        _words("Anna Ben Carol David Emma Frank Grace Henry Julia Kevin Laura Mark Nora Oscar Paul Sarah"),
        _ways("My name is {0}. | I am called {0}. | Hello, I am {0}. | Please call me {0}."),
        "Nice to meet you, {0}.",
        _ways("What is my name? | Who am I? | Tell me my name. | Do you know my name?"),
        "Your name is {0}.",
    ),
    "colour": _Memory(
        _words("red blue green yellow black white brown purple orange pink gray gold"),
        _ways("My favorite color is {0}. | I like the color {0}. | The color I like best is {0}. | I love {0} things."),
        "{0} is a nice color.",
        _ways(
            "What is my favorite color? | Which color do I like? | Tell me my favorite color. | What color do I love?"
        ),
        "Your favorite color is {0}.",
    ),
    "city": _Memory(
        _words("Paris London Rome Berlin Madrid Vienna Oslo Dublin Athens Boston Geneva Lisbon Prague Venice"),
        _ways("I live in {0}. | My home is in {0}. | I am from {0}. | My city is {0}."),
        "{0} is a nice city.",
        _ways("Where do I live? | Which city am I from? | What is my city? | Tell me where I live."),
        "You live in {0}.",
    ),
    "animal": _Memory(
        _words("dog cat horse bird fish rabbit mouse snake duck goat sheep cow"),
        _ways("I have a {0}. | My pet is a {0}. | There is a {0} in my house. | At home I keep a {0}."),
        "A {0} is a good friend.",
        _ways("Which animal do I have? | What is my pet? | Tell me which animal I have. | What pet do I have?"),
        "You have a {0}.",
    ),
    "food": _Memory(
        _words("pizza bread rice soup cheese cake fish salad chocolate apples bananas noodles"),
        _ways("I like to eat {0}. | My favorite food is {0}. | Today I want to eat {0}. | I love {0} for dinner."),
        "Enjoy the {0}.",
        _ways("What do I like to eat? | What is my favorite food? | Which food do I like? | Tell me my favorite food."),
        "You like {0}.",
    ),
    "number": _Memory(
        tuple(number_words(n) for n in range(1, 21)),
        _ways(
            "My number is {0}. | Remember the number {0}. | I think of the number {0}. | Keep the number {0} in mind."
        ),
        "I will remember {0}.",
        _ways("What is my number? | Which number was it? | Tell me my number. | What was the number?"),
        "Your number is {0}.",
    ),
}
ARITHMETIC = {
    "plus": ("Add {1} to my number.", "What is my number plus {1}?", "How much is my number plus {1}?"),
    "minus": ("Take {1} away from my number.", "What is my number minus {1}?", "How much is my number minus {1}?"),
}
LARGEST_STEP = 5
_NUMBERS = frozenset(number_words(n) for n in range(101))
# Small enough that a reply can be learned; the assistant's voice says them in its own corpus too.
QUESTION_KINDS = ("day-after", "day-before", "capital", "opposite", "colour", "legs", "sound")


def dialogue_examples(count: int, generator: random.Random, reserved: bool, unseen: bool = False) -> list[Example]:
    """Return ``count`` conversations: something is told; something else is told or asked; then the first is needed.

    One voice speaks through a conversation. The key is made of everything the user says, so a reserved conversation
    was never heard as a whole; questions in the middle are of the same side.
    """
    examples: dict[str, Example] = {}
    while len(examples) < count:
        example = _draw(generator, RESERVED if unseen else SEEN, reserved)
        if is_reserved(example.key) == reserved:
            examples.setdefault(example.key, example)
    return list(examples.values())


def _draw(generator: random.Random, voices: tuple[Voice, ...], reserved: bool) -> Example:
    kind = generator.choice([*MEMORIES, "number", "number"])  # numbers are asked for, and reckoned with
    memory = MEMORIES[kind]
    value = generator.choice(memory.values)
    told, acknowledged = generator.choice(memory.told).format(value), _sentence(memory.acknowledged.format(value))
    middle, middle_reply = _middle(generator, kind, reserved)
    if kind == "number" and generator.random() < 0.67:
        kind, asked, answered, essential = _arithmetic(generator, value)
    else:
        asked, answered, essential = generator.choice(memory.asked), memory.answered.format(value), value
    delivery = draw_delivery(generator, voices)
    parts = []
    for said, reply in ((told, acknowledged), (middle, middle_reply), (asked, answered)):
        parts += [heard(Speech(said, delivery)), spoken(Speech(reply, ASSISTANT))]
    key = "dialogue:" + "|".join((told, middle, asked))
    return Example("dialogue", kind, key, tuple(parts), (normalise(essential),))


def _middle(generator: random.Random, kind: str, reserved: bool) -> tuple[str, str]:
    """Return what is said in between: something else to remember, or a question of the same side."""
    if generator.random() < 0.5:
        other = MEMORIES[generator.choice([name for name in MEMORIES if name != kind])]
        value = generator.choice(other.values)
        return generator.choice(other.told).format(value), _sentence(other.acknowledged.format(value))
    item = generator.choice(_questions(reserved))
    return item.question, item.answer


@cache
def _questions(reserved: bool) -> tuple[QAItem, ...]:
    return tuple(item for item in side(reserved) if item.kind in QUESTION_KINDS)


def _arithmetic(generator: random.Random, value: str) -> tuple[str, str, str, str]:
    first = next(n for n in range(21) if number_words(n) == value)
    word = generator.choice(["plus", "minus"])
    step = generator.randint(1, LARGEST_STEP if word == "plus" else min(first, LARGEST_STEP))
    asked = generator.choice(ARITHMETIC[word]).format(value, number_words(step))
    return word, asked, _sum(first, word, step), number_words(_result(first, word, step))


def _result(first: int, word: str, step: int) -> int:
    return first + step if word == "plus" else first - step


def _sum(first: int, word: str, step: int) -> str:
    result = number_words(_result(first, word, step))
    return _sentence(f"{number_words(first)} {word} {number_words(step)} is {result}.")


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def all_replies() -> list[str]:
    """Return everything the assistant can say about what it was told."""
    replies = []
    for memory in MEMORIES.values():
        for value in memory.values:
            replies += [_sentence(memory.acknowledged.format(value)), memory.answered.format(value)]
    for first in range(1, 21):
        for step in range(1, LARGEST_STEP + 1):
            replies.append(_sum(first, "plus", step))
            if step <= first:
                replies.append(_sum(first, "minus", step))
    return replies


@cache
def _candidates(kind: str) -> frozenset[str]:
    if kind in ARITHMETIC or kind == "number":
        return _NUMBERS
    return frozenset(normalise(value) for value in MEMORIES[kind].values)


def is_dialogue_right(kind: str, essential: str, reply: str) -> bool:
    """Tell whether the last reply names the right value; sums may name their operands before it."""
    named = mentions(normalise(reply).split(), _candidates(kind))
    return names_only(named, essential, _candidates(kind) if kind in ARITHMETIC else ())
