"""Conversations with tools: the clock, a timer, a calculator and lamps, in the text form of ``kimi_audio.chat.tools``.

Only what the system message lists is called. With a calculator all sums of two numbers are given to it. Without the
tool that is needed nano says that it cannot, and other questions are answered as ever.
"""

import random

from kimi_audio.chat.tools import Tool, ToolCall, parse_call, write_call, write_result, write_tools
from kimi_audio.core.words import normalise, number_words
from recipes.nano.world import calendar, dictionary, memory, places, refusals, small_talk, words
from recipes.nano.world.judging import is_the_same, refuses
from recipes.nano.world.types import Kind, Talk, Turn
from recipes.nano.world.wording import listed, politely, sentence, ways

TOOLS = (
    Tool("time"),
    Tool("timer", ("minutes", "seconds")),
    Tool("calculator", ("first", "operation", "second")),
    Tool("lamp", ("state", "room")),
)
STARTED, DONE, FAILED = "started", "done", "failed"
LARGEST_OPERAND = 999
_FAILURES = 0.06  # share of the calls that fail
_SORRY = "Sorry, that did not work."
_ROOMS = ways(
    "kitchen | bedroom | bathroom | living room | hall | garage | garden | office | cellar | attic | \
    dining room | nursery"
)


def _asks_time(generator: random.Random) -> Turn:
    hour = number_words(generator.randint(1, 12))
    minutes = generator.randint(1, 29)
    named = {15: "a quarter", 20: "twenty", 10: "ten", 5: "five", 25: "twenty five"}.get(minutes)
    time = generator.choice(
        (
            f"{named or number_words(minutes) + ' minutes'} past {hour}",
            f"{named or number_words(minutes) + ' minutes'} to {hour}",
            f"half past {hour}",
            f"{hour} {number_words(generator.randint(10, 59))}",
            f"{hour} o'clock",
        )
    )
    said = generator.choice(
        ways(
            "What time is it? | What is the time? | Tell me the time. | How late is it? | Can you tell me the time? | \
            Do you know what time it is? | What time is it now? | Is it late already? | The time, please. | \
            What does the clock say? | How late is it now, please? | Do you have the time?"
        )
    )
    return _turn(said, ToolCall("time"), time, f"It is {time}.", generator)


def _asks_timer(generator: random.Random) -> Turn:
    call, duration = _duration(generator)
    said = generator.choice(
        ways(
            "Set a timer for {0}. | Start a timer for {0}. | A timer for {0}, please. | Wake me in {0}. | \
            Set the timer to {0}. | Remind me in {0}. | Can you set a timer for {0}? | Give me a timer for {0}. | \
            Please start a timer for {0}. | I need a timer for {0}. | Tell me when {0} are over. | \
            Make a timer for {0}. | Let me know in {0}."
        )
    ).format(duration)
    return _turn(said, call, STARTED, f"The timer is set for {duration}.", generator)


def _duration(generator: random.Random) -> tuple[ToolCall, str]:
    minutes, seconds = generator.randint(1, 90), generator.randint(1, 59)
    form = generator.random()
    if form < 0.1:
        minutes, spoken = generator.choice(((60, "an hour"), (30, "half an hour"), (15, "a quarter of an hour")))
        return ToolCall("timer", {"minutes": minutes}), spoken
    if form < 0.6:
        return ToolCall("timer", {"minutes": minutes}), _units(minutes, "minute")
    if form < 0.85:
        return ToolCall("timer", {"seconds": seconds}), _units(seconds, "second")
    minutes = generator.randint(1, 15)
    both = f"{_units(minutes, 'minute')} and {_units(seconds, 'second')}"
    return ToolCall("timer", {"minutes": minutes, "seconds": seconds}), both


def _units(count: int, unit: str) -> str:
    return f"{number_words(count)} {unit}{'' if count == 1 else 's'}"


def _asks_calculator(generator: random.Random) -> Turn:
    operation = generator.choice(("plus", "minus", "times", "divided by"))
    most = generator.choice((20, LARGEST_OPERAND))
    first, second = generator.randint(1, most), generator.randint(1, most)
    if operation == "minus":
        first, second = max(first, second), min(first, second)
    elif operation == "divided by":
        second = generator.randint(1, 20)
        first = second * generator.randint(1, LARGEST_OPERAND // second)
    results = {"plus": first + second, "minus": first - second, "times": first * second}
    result = number_words(results.get(operation, first // second))
    spoken = f"{number_words(first)} {operation} {number_words(second)}"
    said = generator.choice(
        ways(
            "What is {0}? | How much is {0}? | Calculate {0}. | Tell me {0}. | Can you calculate {0}? | {0}? | \
            Use the calculator, what is {0}? | Please calculate {0}. | What do you get for {0}?"
        )
    ).format(spoken)
    call = ToolCall("calculator", {"first": first, "operation": operation, "second": second})
    return _turn(sentence(said), call, result, f"{spoken} is {result}.", generator)


def _asks_lamp(generator: random.Random) -> Turn:
    state = generator.choice(("on", "off"))
    arguments, lamp = {"state": state}, "the lamp"
    if generator.random() < 0.6:
        arguments["room"] = room = generator.choice(_ROOMS)
        lamp = f"the lamp in the {room}"
    spoken = generator.choice((lamp, lamp.replace("lamp", "light"), lamp.replace("lamp", "lights")))
    said = generator.choice(
        ways(
            "Switch {1} {0}. | Turn {1} {0}. | Turn {0} {1}. | Switch {0} {1}. | Please turn {0} {1}. | \
            Can you switch {1} {0}? | Could you turn {0} {1}? | Put {1} {0}. | I want {0} to be {1}. | \
            {0} {1}, please. | Would you turn {1} {0}, please?"
        )
    ).format(spoken, state)
    return _turn(sentence(said), ToolCall("lamp", arguments), DONE, f"{lamp} is {state}.", generator)


_ASKS = {"time": _asks_time, "timer": _asks_timer, "calculator": _asks_calculator, "lamp": _asks_lamp}


def _turn(said: str, call: ToolCall, result: str, reply: str, generator: random.Random) -> Turn:
    if generator.random() < _FAILURES:
        result, reply = FAILED, _SORRY
    return Turn(politely(said, generator), sentence(reply), write_call(call), write_result(result))


def _listed(generator: random.Random, needed: str) -> str:
    """Return a system message that lists the tool, often with others, in any order."""
    others = [tool for tool in TOOLS if tool.name != needed]
    chosen = generator.sample(others, generator.choice((0, 1, 2, 3, 3, 3)))
    tools = [*chosen, next(tool for tool in TOOLS if tool.name == needed)]
    generator.shuffle(tools)
    return write_tools(tools)


# Asked in between: no sums, which a calculator would get.
_MIDDLES = tuple(
    kind
    for module in (calendar, dictionary, places, refusals, small_talk, words)
    for kind in module.KINDS
    if kind.name not in ("joke", "knock-knock", "statement", "example", "missing", "refusal")
)


def _middle(generator: random.Random) -> Talk:
    return generator.choices(_MIDDLES, [kind.share for kind in _MIDDLES])[0].draw(generator)


def _tool_kind(name: str) -> Kind:
    def draw(generator: random.Random) -> Talk:
        turns, atoms = [_ASKS[name](generator)], ()
        if generator.random() < 0.3:
            before = _middle(generator)
            turns, atoms = [*before.turns, *turns], before.atoms
        elif generator.random() < 0.2:
            turns = [_ASKS[name](generator), *turns]
        return Talk(f"tool-{name}", tuple(turns), normalise(turns[-1].reply), _listed(generator, name), atoms)

    return Kind(f"tool-{name}", draw, is_the_same, share=3)


def is_call_right(talk: Talk, text: str) -> bool:
    """Tell whether the assistant's message is the call that the last turn of the user wants."""
    try:
        return parse_call(text) == parse_call(talk.turns[-1].call)
    except ValueError:
        return False


_WITHOUT = {
    "time": "I cannot see a clock, but I can tell you about days and months.",
    "timer": "I cannot set a timer here, but I can count for you.",
    "lamp": "I cannot switch lamps here, but I can talk with you about words and numbers.",
}


def _draw_without(generator: random.Random) -> Talk:
    needed = generator.choice(tuple(_WITHOUT))
    others = [tool for tool in TOOLS if tool.name != needed]
    system = write_tools(generator.sample(others, generator.randint(1, 3))) if generator.random() < 0.5 else ""
    turn = Turn(_ASKS[needed](generator).said, _WITHOUT[needed])
    return Talk("no-tool", (turn,), normalise(turn.reply), system)


def _draw_timer_memory(generator: random.Random) -> Talk:
    turn = _asks_timer(generator)
    while turn.reply == _SORRY:
        turn = _asks_timer(generator)
    duration = turn.reply.removeprefix("The timer is set for ")
    asked = generator.choice(
        ways(
            "How long did I set the timer for? | How long is my timer? | What did I set the timer to? | \
        For how long is the timer set?"
        )
    )
    between = _middle(generator)
    turns = (turn, *between.turns, Turn(politely(asked, generator), f"It is set for {duration}"))
    return Talk("timer-memory", turns, normalise(turns[-1].reply), _listed(generator, "timer"), between.atoms)


_SUM_WORDS = frozenset(listed("plus minus times divided add multiply subtract make away"))


def _draw_idle(generator: random.Random) -> Talk:
    kinds = [kind for kind in (*_MIDDLES, *memory.KINDS) if kind.name != "number"]
    talk = generator.choices(kinds, [kind.share for kind in kinds])[0].draw(generator)
    if any(_SUM_WORDS & set(line.split()) for line in talk.lines):
        return _draw_idle(generator)
    system = _listed(generator, generator.choice(TOOLS).name)
    return Talk(talk.kind, talk.turns, talk.essential, system, talk.atoms)


def _is_idle_right(talk: Talk, reply: str) -> bool:
    kind = next(kind for kind in (*_MIDDLES, *memory.KINDS) if kind.name == talk.kind)
    return kind.is_right(talk, reply)


KINDS: tuple[Kind, ...] = (
    *map(_tool_kind, _ASKS),
    Kind("no-tool", _draw_without, refuses, share=3),
    Kind("timer-memory", _draw_timer_memory, is_the_same),
    Kind("tools-idle", _draw_idle, _is_idle_right, share=3),
)
