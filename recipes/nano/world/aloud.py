"""Repeating and reading aloud on request, any text."""

import random
from functools import cache

from kimi_audio.core.words import normalise
from recipes.nano.stock import wordnet_definitions, wordnet_examples
from recipes.nano.world.judging import is_the_same
from recipes.nano.world.sentences import without_everyday
from recipes.nano.world.types import Kind, Talk, Turn
from recipes.nano.world.wording import is_decent, is_readable, sentence, ways

WORDS = (3, 12)
_ASKED = ways(
    "Repeat after me, {0} | Repeat, {0} | Say, {0} | Please say, {0} | Read this, {0} | Read this aloud, {0} | \
    Please repeat the following, {0} | Can you say, {0} | Say the following, {0} | Please read, {0} | \
    Repeat this sentence, {0} | Say after me, {0} | I want you to say, {0} | Read the following text, {0}"
)


@cache
def examples() -> tuple[str, ...]:
    """Return WordNet's examples that can be said by all voices alike."""
    return tuple(without_everyday(text for text in wordnet_examples() if is_readable(text) and is_decent(text)))


@cache
def texts() -> tuple[str, ...]:
    """Return what can be read aloud: WordNet's examples and definitions, each with a full stop."""
    definitions = [text for text in wordnet_definitions() if is_readable(text) and is_decent(text)]
    return tuple(
        text if text[-1] in ".?!" else f"{text}."
        for text in (*examples(), *definitions)
        if WORDS[0] <= len(text.split()) <= WORDS[1]
    )


def _draw(generator: random.Random) -> Talk:
    text = generator.choice(texts())
    turn = Turn(generator.choice(_ASKED).format(text), sentence(text))
    return Talk("aloud", (turn,), normalise(text), atoms=(normalise(text),))


KINDS: tuple[Kind, ...] = (Kind("aloud", _draw, is_the_same, share=8),)
