"""Questions of one turn: facts, in several phrasings, with one form of reply."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from kimi_audio.core.words import normalise, number_words
from recipes.nano.world.judging import Judge
from recipes.nano.world.types import Kind, Talk, Turn
from recipes.nano.world.wording import politely, sentence, ways


@dataclass(frozen=True)
class Fact:
    """What is asked about, and the answer, in plain words."""

    operands: tuple[str, ...]
    answer: str


def questions(
    name: str, facts: Sequence[Fact], phrasings: str, reply: str, is_right: Judge, share: float = 1.0
) -> Kind:
    """Return a kind of conversation from facts and phrasings.

    Args:
        name: of the kind.
        facts: drawn uniformly.
        phrasings: between bars, with {0}, {1} for the operands.
        reply: with {answer} beside the operands.
        is_right: judges replies.
        share: of all conversations.
    """
    choices = ways(phrasings)

    def draw(generator: random.Random) -> Talk:
        fact = generator.choice(facts)
        said = politely(sentence(generator.choice(choices).format(*fact.operands)), generator)
        replied = sentence(reply.format(*fact.operands, answer=fact.answer))
        return Talk(name, (Turn(said, replied),), normalise(fact.answer))

    return Kind(name, draw, is_right, share)


def later(name: str, make: Callable[[], Kind], share: float = 1.0) -> Kind:
    """Return the kind that ``make`` makes when it is first needed: its facts must be read from files."""
    made = cache(make)
    return Kind(
        name,
        lambda generator: made().draw(generator),
        lambda talk, reply: made().is_right(talk, reply),
        share,
    )


def table(pairs: Mapping[str, str]) -> tuple[Fact, ...]:
    """Return facts of one operand."""
    return tuple(Fact((operand,), answer) for operand, answer in pairs.items())


def numeric(firsts: range, seconds: range, compute: Callable[[int, int], int]) -> tuple[Fact, ...]:
    """Return facts about two numbers, without those with a result below zero."""
    return tuple(
        Fact((number_words(a), number_words(b)), number_words(compute(a, b)))
        for a in firsts
        for b in seconds
        if compute(a, b) >= 0
    )


def neighbours(names: Sequence[str], step: int) -> tuple[Fact, ...]:
    """Return, for each name of a circle, the one that stands ``step`` places after it."""
    return tuple(Fact((name,), names[(i + step) % len(names)]) for i, name in enumerate(names))
