"""Arithmetic, counting and comparing, in words."""

import random

from kimi_audio.core.words import number_words
from recipes.nano.world.judging import NUMBERS, counts, names, names_alone
from recipes.nano.world.questions import Fact, numeric, questions
from recipes.nano.world.types import Kind

LARGEST = 100
LARGEST_FACTOR = 12
_SMALL = range(21)
_NUMBER = names(NUMBERS)


def _with_small_ones(small: tuple[Fact, ...], large: tuple[Fact, ...]) -> tuple[Fact, ...]:
    """Return all facts, the small ones so often that they are a third of the draws."""
    return small * max(1, len(large) // (2 * len(small))) + large


def _count_facts() -> tuple[Fact, ...]:
    spans = [(a, a + n, 1) for a in range(31) for n in range(2, 8)]
    spans += [(a, a - n, -1) for a in range(3, 21) for n in range(2, 8) if n <= a]
    return tuple(Fact((number_words(a), number_words(b)), _count(a, b, step)) for a, b, step in spans)


def _count(first: int, last: int, step: int) -> str:
    return ", ".join(number_words(n) for n in range(first, last + (1 if step > 0 else -1), step))


def _step_facts() -> tuple[Fact, ...]:
    steps = {"twos": 2, "threes": 3, "fives": 5, "tens": 10}
    return tuple(
        Fact((name, number_words(step * n)), _count(step, step * n, step))
        for name, step in steps.items()
        for n in range(3, 11)
    )


def _pairs() -> tuple[tuple[int, int], ...]:
    """Return pairs of different numbers, the same always: all small ones and some large ones."""
    generator = random.Random(0)  # noqa: S311
    large = [(generator.randint(0, LARGEST), generator.randint(0, LARGEST)) for _ in range(2000)]
    return tuple((a, b) for a, b in [*((a, b) for a in _SMALL for b in _SMALL), *large] if a != b)


# Nothing is added to one hundred: "add one hundred and thirty" would be one number.
_ADD = "What is {0} plus {1}? | How much is {0} plus {1}? | Add {0} and {1}. | What do {0} and {1} make? | \
    What is the sum of {0} and {1}? | Tell me {0} plus {1}. | {0} plus {1}?"
_SUBTRACT = "What is {0} minus {1}? | How much is {0} minus {1}? | Take {1} away from {0}. | \
    What is left if I take {1} from {0}? | Tell me {0} minus {1}. | {0} minus {1}? | Subtract {1} from {0}."

KINDS: tuple[Kind, ...] = (
    questions(
        "add",
        _with_small_ones(
            numeric(_SMALL, _SMALL, int.__add__), numeric(range(LARGEST), range(LARGEST + 1), int.__add__)
        ),
        _ADD,
        "{0} plus {1} is {answer}.",
        _NUMBER,
        share=3,
    ),
    questions(
        "subtract",
        _with_small_ones(
            numeric(_SMALL, _SMALL, int.__sub__), numeric(range(LARGEST + 1), range(LARGEST + 1), int.__sub__)
        ),
        _SUBTRACT,
        "{0} minus {1} is {answer}.",
        _NUMBER,
        share=3,
    ),
    questions(
        "multiply",
        numeric(range(LARGEST_FACTOR + 1), range(LARGEST_FACTOR + 1), int.__mul__),
        "What is {0} times {1}? | How much is {0} times {1}? | Multiply {0} by {1}. | Tell me {0} times {1}. | \
            {0} times {1}? | What is the product of {0} and {1}?",
        "{0} times {1} is {answer}.",
        _NUMBER,
        share=2,
    ),
    questions(
        "divide",
        tuple(
            Fact((number_words(a * b), number_words(a)), number_words(b))
            for a in range(1, LARGEST_FACTOR + 1)
            for b in range(LARGEST_FACTOR + 1)
        ),
        "What is {0} divided by {1}? | How much is {0} divided by {1}? | Divide {0} by {1}. | \
            How many times does {1} go into {0}? | {0} divided by {1}?",
        "{0} divided by {1} is {answer}.",
        _NUMBER,
    ),
    questions(
        "double",
        tuple(Fact((number_words(n),), number_words(2 * n)) for n in range(LARGEST + 1)),
        "What is twice {0}? | Double {0}. | What is the double of {0}? | How much is two times {0}? | \
            What is {0} doubled?",
        "Twice {0} is {answer}.",
        _NUMBER,
    ),
    questions(
        "half",
        tuple(Fact((number_words(2 * n),), number_words(n)) for n in range(LARGEST + 1)),
        "What is half of {0}? | How much is half of {0}? | Tell me half of {0}. | What is the half of {0}? | \
            Half of {0}?",
        "Half of {0} is {answer}.",
        _NUMBER,
    ),
    questions(
        "number-after",
        tuple(Fact((number_words(n),), number_words(n + 1)) for n in range(200)),
        "What number comes after {0}? | Which number follows {0}? | What is the next number after {0}? | \
            What comes after {0}?",
        "After {0} comes {answer}.",
        _NUMBER,
    ),
    questions(
        "number-before",
        tuple(Fact((number_words(n),), number_words(n - 1)) for n in range(1, 201)),
        "What number comes before {0}? | Which number is right before {0}? | What comes before {0}?",
        "Before {0} comes {answer}.",
        _NUMBER,
    ),
    questions(
        "parity",
        tuple(Fact((number_words(n),), "odd" if n % 2 else "even") for n in range(LARGEST + 1)),
        "Is {0} even or odd? | Is {0} odd or even? | Tell me if {0} is even or odd. | Is the number {0} odd or even?",
        "The number {0} is {answer}.",
        names_alone({"odd", "even"}),
    ),
    questions(
        "count",
        _count_facts(),
        "Count from {0} to {1}. | Please count from {0} to {1}. | Can you count from {0} to {1}? | \
            Start at {0} and count to {1}. | Say the numbers from {0} to {1}.",
        "{answer}.",
        counts,
        share=2,
    ),
    questions(
        "count-in-steps",
        _step_facts(),
        "Count in {0} to {1}. | Can you count in {0} up to {1}? | Count by {0} until {1}. | \
            Please count in {0} to {1}.",
        "{answer}.",
        counts,
        share=0.5,
    ),
    questions(
        "larger",
        tuple(Fact((number_words(a), number_words(b)), number_words(max(a, b))) for a, b in _pairs()),
        "Which is larger, {0} or {1}? | Which number is bigger, {0} or {1}? | Which is more, {0} or {1}? | \
            What is greater, {0} or {1}? | Is {0} or {1} the larger number?",
        "The larger number is {answer}.",
        _NUMBER,
    ),
    questions(
        "smaller",
        tuple(Fact((number_words(a), number_words(b)), number_words(min(a, b))) for a, b in _pairs()),
        "Which is smaller, {0} or {1}? | Which is less, {0} or {1}? | Which number is smaller, {0} or {1}? | \
            Is {0} or {1} the smaller number?",
        "The smaller number is {answer}.",
        _NUMBER,
    ),
)
