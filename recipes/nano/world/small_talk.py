"""Small talk: greetings, thanks, questions about nano itself, jokes."""

import random
from functools import cache

from kimi_audio.core.words import normalise
from recipes.nano.closed.facts import SMALL_TALK
from recipes.nano.world.judging import says
from recipes.nano.world.types import Kind, Talk, Turn
from recipes.nano.world.wording import politely, read_list, ways

_TOLD_ELSEWHERE = (
    *("joke", "speech"),  # here, in other words
    *("seven days", "twelve months", "twenty four hours", "sixty minutes", "sixty seconds"),  # with the calendar
)
JOKES = read_list("jokes")
_ASKED_JOKE = ways(
    "Tell me a joke. | Do you know a joke? | Make me laugh. | Say something funny. | Can you tell me a joke? | \
    I want to hear a joke. | Give me a joke. | Please tell me a joke. | Do you know any jokes? | Cheer me up."
)
_ASKED_ANOTHER = ways(
    "Another one. | Tell me another joke. | One more, please. | Do you know another one? | Another joke, please. | \
    Tell me one more. | That was funny, tell me another one."
)
_KNOCK = ways("Knock, knock. | Knock knock. | Knock, knock, Nano. | Okay, knock, knock.")
_KNOCK_JOKES = dict(line.split(": ", 1) for line in read_list("knock-knock"))


@cache
def exchanges() -> tuple[tuple[str, str, str], ...]:
    """Return what is said, the reply, and the words that make a reply right."""
    rows = [row for row in SMALL_TALK if row[0] not in _TOLD_ELSEWHERE]
    rows += [tuple(line.split(" | ", 2)) for line in read_list("small-talk")]
    return tuple((way, reply, essential) for essential, reply, all_ways in rows for way in ways(all_ways))


def _draw(generator: random.Random) -> Talk:
    said, reply, essential = generator.choice(exchanges())
    return Talk("small-talk", (Turn(politely(said, generator), reply),), essential)


def _draw_joke(generator: random.Random) -> Talk:
    first, second = generator.sample(JOKES, 2)
    turns = [Turn(politely(generator.choice(_ASKED_JOKE), generator), first)]
    if generator.random() < 0.4:
        turns.append(Turn(generator.choice(_ASKED_ANOTHER), second))
    return Talk("joke", tuple(turns), normalise(turns[-1].reply))


def tells_joke(talk: Talk, reply: str) -> bool:
    """Tell whether a reply is one of the jokes, and not one that was told before."""
    told = {normalise(turn.reply) for turn in talk.turns[:-1]}
    return normalise(reply) in {normalise(joke) for joke in JOKES} - told


def _draw_knock(generator: random.Random) -> Talk:
    knock = Turn(generator.choice(_KNOCK), "Who is there?")
    who = generator.choice([*_KNOCK_JOKES, *generator.sample(read_list("names"), len(_KNOCK_JOKES))])
    turns = [knock, Turn(f"{who}.", f"{who} who?")]
    if who in _KNOCK_JOKES and generator.random() < 0.5:
        turns.append(Turn(_KNOCK_JOKES[who], "That is a good one."))
    essential = "a good one" if len(turns) > 2 else normalise(turns[-1].reply)
    return Talk("knock-knock", tuple(turns), essential)


KINDS: tuple[Kind, ...] = (
    Kind("small-talk", _draw, says, share=8),
    Kind("joke", _draw_joke, tells_joke, share=1.5),
    Kind("knock-knock", _draw_knock, says, share=1),
)
