"""Short spoken commands, orders, numbers, names and spellings, as plain transcripts for learning to hear.

They have no reply: what they are for is that a recogniser knows the words that people say to machines.
"""

import random
from collections.abc import Callable, Iterator, Mapping

from kimi_audio.core.words import normalise, number_words
from recipes.nano.closed.facts import DAYS, MONTHS, ORDINALS
from recipes.nano.closed.splits import is_reserved
from recipes.nano.world.dictionary import entries
from recipes.nano.world.places import CAPITALS
from recipes.nano.world.sentences import without_everyday
from recipes.nano.world.wording import letters, listed, read_list, sentence, ways

# Words of coffee orders, as in the public collection speech-to-intent-benchmark.
_DRINKS = ways(
    "coffee | espresso | latte | cappuccino | americano | mocha | iced mocha | iced coffee | drip coffee | house coffee"
)
_SHOTS = ways("single shot | double shot | triple shot")
_ROASTS = ways("light roast | medium roast | dark roast")
_SIZES = ways("small | medium | large | eight ounce | twelve ounce | sixteen ounce | twenty ounce")
_AMOUNTS = ways("some | a bit of | a little bit of | a lot of | lots of | no | | extra | a little | just a little")
_SWEETENERS = ways("sugar | brown sugar | sweetener")
_MILKS = ways("milk | cream | almond milk | soy milk | whole milk | skim milk")
_ORDERS = ways(
    "I would like {0}. | Can I have {0}? | Give me {0}. | I want {0}. | Could I get {0}? | Make me {0}. | \
    Please make me {0}. | I'll have {0}. | May I have {0}? | Get me {0}. | Hey, can I get {0}? | Brew me {0}. | \
    I'd like to order {0}. | One more, {0}. | Can you make me {0}? | Let me get {0}. | {0}. | Good morning, {0}. | \
    Hi, can I please have {0}? | I need {0}."
)


def coffee(generator: random.Random) -> str:
    """Return an order of coffee, with any of size, roast, shots, sugar and milk."""
    parts = [generator.choice(choices) for choices in (_SIZES, _SHOTS, _ROASTS) if generator.random() < 0.5]
    generator.shuffle(parts)
    drink = " ".join((*parts, generator.choice(_DRINKS)))
    if generator.random() < 0.8:
        drink = f"a {drink}"
    with_what = [
        " ".join(f"{generator.choice(_AMOUNTS)} {generator.choice(choices)}".split())
        for choices in (_SWEETENERS, _MILKS)
        if generator.random() < 0.5
    ]
    generator.shuffle(with_what)
    if with_what:
        drink += " with " + " and ".join(with_what)
    return sentence(generator.choice(_ORDERS).format(drink + generator.choice(("", "", "", " please"))))


def number(generator: random.Random) -> str:
    """Return a number, small ones more often."""
    return number_words(generator.randint(0, generator.choice((20, 100, 1000, 10_000, 1_000_000)))).capitalize() + "."


def digits(generator: random.Random) -> str:
    """Return a telephone number or a code, digit by digit."""
    said = " ".join(number_words(generator.randint(0, 9)) for _ in range(generator.randint(3, 10)))
    frame = generator.choice(
        ways(
            "{0}. | My number is {0}. | The code is {0}. | Dial {0}. | ToolCall {0}. | The pin is {0}. | \
            You can reach me at {0}. | Room {0}."
        )
    )
    return sentence(frame.format(said))


def date(generator: random.Random) -> str:
    """Return a date, sometimes with day and year."""
    day = _ordinal(generator.randint(1, 31))
    month, weekday = generator.choice(MONTHS), generator.choice(DAYS)
    year = f"{number_words(generator.choice((18, 19, 20)))} {number_words(generator.randint(10, 99))}"
    frame = generator.choice(
        ways(
            "{0} {1}. | The {0} of {1}. | {2}, the {0} of {1}. | {1} {0}, {3}. | {2}, {1} {0}. | On {1} {0}. | \
            My birthday is on the {0} of {1}. | It was on {2}, {1} {0}. | In {1} {3}. | Next {2}. | Last {2} in {1}. | \
            The meeting is on {1} {0}. | I was born in {3}."
        )
    )
    return sentence(frame.format(day, month, weekday, year))


def _ordinal(day: int) -> str:
    teens = dict(enumerate(listed("thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth"), 13))
    known = dict(enumerate(ORDINALS, 1)) | teens | {20: "twentieth", 30: "thirtieth"}
    return known.get(day) or f"{number_words(day - day % 10)} {known[day % 10]}"


def time(generator: random.Random) -> str:
    """Return a time of day."""
    hour, minutes = number_words(generator.randint(1, 12)), generator.randint(1, 59)
    spoken = f"oh {number_words(minutes)}" if minutes < 10 else number_words(minutes)
    said = generator.choice(
        (f"{hour} o'clock", f"half past {hour}", f"a quarter to {hour}", f"a quarter past {hour}", f"{hour} {spoken}")
    )
    part = generator.choice(("", "", " in the morning", " in the afternoon", " in the evening", " at night"))
    frame = generator.choice(
        ways(
            "{0}. | At {0}. | It is {0}. | Wake me at {0}. | Let us meet at {0}. | The train leaves at {0}. | \
            Set the alarm for {0}. | See you at {0}. | Dinner is at {0}. | Until {0}."
        )
    )
    return sentence(frame.format(said + part))


def spelling(generator: random.Random) -> str:
    """Return a word or a name letter by letter."""
    word = generator.choice((*entries(), *read_list("names")))
    return generator.choice(ways("{0}. | {1}, {0}. | {1} is spelled {0}. | It is spelled {0}.")).format(
        letters(word), word.capitalize()
    )


def name(generator: random.Random) -> str:
    """Return a sentence with names of people and places."""
    first, second = generator.sample(read_list("names"), 2)
    place = generator.choice((*CAPITALS, *CAPITALS.values()))
    frame = generator.choice(
        ways(
            "{0}. | {0} and {1}. | This is {0}. | {0}, this is {1}. | Have you seen {0}? | {0} is from {2}. | \
            Where is {0}? | {0} called this morning. | {1} lives in {2}. | Say hello to {0}. | {0} and {1} are here. | \
            We flew to {2}. | {0} has never been to {2}. | ToolCall {0}. | Send it to {0} in {2}. | Is {0} there? | \
            {0} is the brother of {1}. | Give this to {1}, please."
        )
    )
    return frame.format(first, second, place)


_HOUSE = ways(
    "Turn {0} {1}. | Turn {1} {0}. | Switch {1} {0}. | Turn {1} {0} in the {2}. | Switch {0} {1} in the {2}. | \
    {0} {1} please. | Is {1} in the {2} {0}? | Turn {1} {0} at {3}."
)
_DEVICES = ways(
    "the light | the lights | the lamp | the radio | the heating | the fan | the television | the music | \
    the coffee machine | the washing machine | the oven | the alarm"
)
_ROOMS = ways("kitchen | bedroom | bathroom | living room | hall | garage | garden | office | basement | washroom")
_SHORT = ways(
    "Volume up. | Volume down. | Louder, please. | Quieter, please. | Next song. | Previous song. | Stop. | Go on. | \
    Pause the music. | Play the next song. | Stop the timer. | Start again. | Go back. | Go home. | Open the door. | \
    Close the door. | Lock the door. | Yes. | No. | Yes, please. | No, thanks. | Cancel. | Never mind. | Help. | \
    Okay. | Maybe later. | Increase the temperature. | Decrease the temperature. | Increase the volume. | \
    Turn it up. | Turn it down. | Turn around. | Turn left. | Turn right. | Go straight ahead. | Faster. | Slower. | \
    Take the first street on the left. | Take the second street on the right. | Bring me my shoes. | \
    Fetch the newspaper. | Change the language. | Take me home. | Check my messages. | ToolCall a taxi. | \
    How much is it? | The bill, please. | Answer the phone. | Hang up. | Too hot. | Too cold. | One, two, three. | \
    Up. | Down. | Left. | Right. | On. | Off. | Start. | Forward. | Backward. | Hello. | Good night. | Wait. | \
    Again. | Resume. | Play some jazz. | Mute the sound. | Take a picture. | Read my messages. | What is next?"
)


def house(generator: random.Random) -> str:
    """Return a command to a house or a machine."""
    if generator.random() < 0.3:
        return generator.choice(_SHORT)
    device, room = generator.choice(_DEVICES), generator.choice(_ROOMS)
    hour = number_words(generator.randint(1, 12))
    return sentence(generator.choice(_HOUSE).format(generator.choice(("on", "off")), device, room, hour))


def things(generator: random.Random) -> str:
    """Return a list of things, as for shopping, or a single word of the dictionary."""
    nouns = [entry for entry in entries().values() if entry.part == "noun"]
    chosen = [entry.name for entry in generator.sample(nouns, generator.choice((1, 2, 3, 4)))]
    listed = ", ".join(chosen[:-1]) + (" and " if len(chosen) > 1 else "") + chosen[-1]
    frame = generator.choice(
        ways("{0}. | I need {0}. | We have {0}. | Buy {0}. | Put {0} on the list. | Where is {0}?")
    )
    return sentence(frame.format(listed))


GRAMMARS: Mapping[str, tuple[Callable[[random.Random], str], float]] = {
    "coffee": (coffee, 5),
    "number": (number, 2),
    "digits": (digits, 2),
    "date": (date, 2),
    "time": (time, 2),
    "spelling": (spelling, 1.5),
    "name": (name, 2),
    "house": (house, 2.5),
    "things": (things, 2),
}


def commands(generator: random.Random, *, reserved: bool) -> Iterator[str]:
    """Yield different texts, without end, of the reserved tenth or of the side that may be learned."""
    grammars, shares = zip(*GRAMMARS.values(), strict=True)
    taken = set()
    while True:
        text = generator.choices(grammars, shares)[0](generator)
        transcript = normalise(text)
        if transcript not in taken and is_reserved(transcript) == reserved:
            taken.add(transcript)
            yield from without_everyday([text])
