"""Conversations of several turns: what the user tells is remembered, corrected, asked for, repeated."""

import random
from dataclasses import dataclass

from kimi_audio.core.words import normalise, number_words
from recipes.nano.closed.facts import DAYS, MONTHS
from recipes.nano.closed.scoring import mentions
from recipes.nano.world import calendar, dictionary, places, refusals, small_talk, sums
from recipes.nano.world.judging import NUMBERS, is_the_same, names_alone, says
from recipes.nano.world.types import Kind, Talk, Turn, name_atom
from recipes.nano.world.wording import listed, politely, read_list, sentence, ways

MOST_TURNS = 6
_CAPITALISED = frozenset(
    word for name in (*places.CAPITALS, *places.CAPITALS.values(), *DAYS, *MONTHS) for word in name.split()
)
LONGEST_ECHO = 9  # words of what is said back
LARGEST_STEP = 9


@dataclass(frozen=True)
class Memory:
    """Something that people tell about themselves: {0} is the value, {1} whose it is where that is not the user.

    ``called`` is how the assistant names it when it does not know it.
    """

    name: str
    values: tuple[str, ...]
    told: tuple[str, ...]
    acknowledged: str
    asked: tuple[str, ...]
    answered: str
    corrected: str
    called: str
    owners: tuple[str, ...] = ("",)


@dataclass(frozen=True)
class Told:
    """One value of one owner."""

    memory: Memory
    value: str
    owner: str

    def fill(self, template: str) -> str:
        """Return a template with value and owner."""
        return sentence(template.format(self.value, self.owner))

    @property
    def atoms(self) -> tuple[str, ...]:
        """What is reserved as a whole: names of people."""
        return (name_atom(self.value),) if self.value in _NAMES else ()


_NAMES = read_list("names")
_COLOURS = listed("red blue green yellow black white brown purple orange pink gray gold silver violet")
_ANIMALS = listed(
    "dog cat horse bird fish rabbit mouse snake duck goat sheep cow lion tiger bear wolf fox owl elephant monkey "
    "dolphin whale eagle turtle frog hamster parrot penguin zebra giraffe"
)
_PETS = ("dog", "cat", "rabbit", "hamster", "parrot", "horse", "mouse", "fish", "turtle")
_PET_NAMES = listed("Bella Rex Luna Rocky Coco Buddy Fluffy Tiger Snowy Lucky Pepper Ginger Oscar Milo Max")

MEMORIES: tuple[Memory, ...] = (
    Memory(
        "name",
        _NAMES,
        ways(
            "My name is {0}. | I am called {0}. | Hello, I am {0}. | Please call me {0}. | Hi, my name is {0}. | \
            I am {0}. | You can call me {0}. | Hey, this is {0}. | Remember that my name is {0}. | They call me {0}."
        ),
        "Nice to meet you, {0}.",
        ways(
            "What is my name? | Who am I? | Tell me my name. | Do you know my name? | Do you remember my name? | \
            What was my name again? | Can you tell me my name? | Say my name. | What am I called?"
        ),
        "Your name is {0}.",
        "No, my name is {0}. | Sorry, my name is {0}. | That is wrong, I am {0}. | I meant to say {0}.",
        "your name",
    ),
    Memory(
        "colour",
        _COLOURS,
        ways(
            "My favorite color is {0}. | I like the color {0}. | The color I like best is {0}. | I love the color \
            {0}. | {0} is my favorite color."
        ),
        "{0} is a nice color.",
        ways(
            "What is my favorite color? | Which color do I like? | Tell me my favorite color. | What color do I \
            love? | Do you remember my favorite color?"
        ),
        "Your favorite color is {0}.",
        "No, my favorite color is {0}. | Sorry, I mean {0}. | I changed my mind, I like {0} more.",
        "your favorite color",
    ),
    Memory(
        "food",
        ways(
            "pizza | bread | rice | soup | cheese | cake | fish | salad | chocolate | apples | bananas | noodles | \
            pasta | potatoes | strawberries | pancakes | sandwiches | tomatoes | oranges | sausages | ice cream"
        ),
        ways(
            "I like to eat {0}. | My favorite food is {0}. | I love {0} for dinner. | The food I like best is {0}. | \
            I could eat {0} every day."
        ),
        "I am sure that {0} tastes good.",
        ways(
            "What do I like to eat? | What is my favorite food? | Which food do I like? | Tell me my favorite food. | \
            Do you remember what I like to eat?"
        ),
        "You like {0}.",
        "No, I like {0}. | Sorry, I mean {0}. | No, my favorite food is {0}.",
        "what you like to eat",
    ),
    Memory(
        "animal",
        _ANIMALS,
        ways(
            "My favorite animal is the {0}. | The animal I like best is the {0}. | The {0} is my favorite animal. | \
            Of all animals I like the {0} best."
        ),
        "The {0} is a fine animal.",
        ways(
            "What is my favorite animal? | Which animal do I like best? | Tell me my favorite animal. | \
            Do you remember my favorite animal?"
        ),
        "Your favorite animal is the {0}.",
        "No, my favorite animal is the {0}. | Sorry, I mean the {0}.",
        "your favorite animal",
    ),
    Memory(
        "city",
        (*places.CAPITALS.values(), *listed("Boston Geneva Venice Chicago Barcelona Munich Sydney")),
        ways(
            "I live in {0}. | My home is in {0}. | I am from {0}. | I have a house in {0}. | I come from {0}. | \
            My family lives in {0}, and so do I."
        ),
        "{0} is a nice place.",
        ways(
            "Where do I live? | Which city am I from? | What is my city? | Tell me where I live. | \
            Do you remember where I live? | Where is my home?"
        ),
        "You live in {0}.",
        "No, I live in {0}. | Sorry, I meant {0}. | Now I live in {0}.",
        "where you live",
    ),
    Memory(
        "age",
        tuple(number_words(n) for n in range(5, 91)),
        ways("I am {0} years old. | My age is {0}. | Today I turn {0}. | I am {0}."),
        "{0} is a good age.",
        ways("How old am I? | What is my age? | Tell me my age. | Do you remember how old I am? | Do you know my age?"),
        "You are {0} years old.",
        "No, I am {0} years old. | Sorry, I am {0}. | That is wrong, I am {0}.",
        "your age",
    ),
    Memory(
        "hobby",
        listed(
            "swimming reading painting dancing cooking singing running hiking fishing skiing climbing knitting "
            "gardening sailing"
        ),
        ways("I like {0}. | My hobby is {0}. | I spend my weekends {0}. | I really enjoy {0}."),
        "{0} sounds like fun.",
        ways("What is my hobby? | What do I like to do? | What do I do in my free time? | Tell me my hobby."),
        "You like {0}.",
        "No, my hobby is {0}. | Sorry, I mean {0}.",
        "your hobby",
    ),
    Memory(
        "job",
        listed("teacher doctor farmer baker nurse pilot lawyer plumber writer singer driver engineer painter"),
        ways("I am a {0}. | I work as a {0}. | My job is {0}. | I have worked as a {0} for years."),
        "Being a {0} must be interesting.",
        ways("What is my job? | What do I do for a living? | Tell me my job. | What do I work as?"),
        "You are a {0}.",
        "No, I am a {0}. | Sorry, I work as a {0}.",
        "your job",
    ),
    Memory(
        "pet",
        _PETS,
        ways("I have a {0}. | My pet is a {0}. | There is a {0} in my house. | At home I keep a {0}. | I own a {0}."),
        "A {0} is a good friend.",
        ways("Which animal do I have? | What is my pet? | Tell me which animal I have. | What pet do I have?"),
        "You have a {0}.",
        "No, I have a {0}. | Sorry, it is a {0}.",
        "about your pet",
    ),
    Memory(
        "pet-name",
        _PET_NAMES,
        ways("My {1} is called {0}. | The name of my {1} is {0}. | I have a {1} called {0}. | I call my {1} {0}."),
        "{0} is a lovely name for a {1}.",
        ways("What is my {1} called? | What is the name of my {1}? | Do you know the name of my {1}?"),
        "Your {1} is called {0}.",
        "No, my {1} is called {0}. | Sorry, the name is {0}.",
        "the name of your {1}",
        _PETS,
    ),
    Memory(
        "relative",
        _NAMES,
        ways("My {1} is called {0}. | My {1}'s name is {0}. | The name of my {1} is {0}. | I have a {1} called {0}."),
        "{0} is a lovely name.",
        ways("What is my {1} called? | What is my {1}'s name? | What is the name of my {1}? | Who is my {1}?"),
        "Your {1} is called {0}.",
        "No, my {1} is called {0}. | Sorry, the name is {0}.",
        "the name of your {1}",
        ("brother", "sister", "friend", "son", "daughter", "neighbor", "uncle", "teacher"),
    ),
)
_BY_NAME = {memory.name: memory for memory in MEMORIES}

# What may be said in between: short, and nothing that could be remembered.
_MIDDLES: tuple[Kind, ...] = tuple(
    kind
    for module in (calendar, dictionary, places, refusals, small_talk, sums)
    for kind in module.KINDS
    if kind.name not in ("count", "count-in-steps", "joke", "knock-knock", "statement", "example", "missing")
)


def _tell(memory: Memory, generator: random.Random, unlike: Told | None = None) -> Told:
    values = [value for value in memory.values if unlike is None or value != unlike.value]
    owner = generator.choice(memory.owners) if unlike is None else unlike.owner
    return Told(memory, generator.choice(values), owner)


def _telling(told: Told, generator: random.Random) -> Turn:
    return Turn(told.fill(generator.choice(told.memory.told)), told.fill(told.memory.acknowledged))


def _middles(count: int, generator: random.Random) -> list[Talk]:
    weights = [kind.share for kind in _MIDDLES]
    return [kind.draw(generator) for kind in generator.choices(_MIDDLES, weights, k=count)]


def _other(memory: Memory, generator: random.Random) -> Memory:
    """Draw something else to tell; who names a dog has told of having one, so pets and their names do not mix."""
    subject = memory.name.split("-")[0]
    return generator.choice([other for other in MEMORIES if other.name.split("-")[0] != subject])


def recall(memory: Memory) -> Kind:
    """Return the kind in which this is told, then other things are said, and at last it is asked for."""
    kind = f"recall-{memory.name}"

    def draw(generator: random.Random) -> Talk:
        told = _tell(memory, generator)
        turns, atoms = [_telling(told, generator)], [*told.atoms]
        if generator.random() < 0.25:
            told = _tell(memory, generator, unlike=told)
            corrected = told.fill(generator.choice(ways(memory.corrected)))
            turns.append(Turn(corrected, f"Sorry, I will remember that. {told.fill(memory.answered)}"))
            atoms += told.atoms
        between: list[Turn] = []
        if generator.random() < 0.4:
            other = _tell(_other(memory, generator), generator)
            between.append(_telling(other, generator))
            atoms += other.atoms
        for talk in _middles(generator.choice((0, 1, 1, 2)), generator):
            between += talk.turns
            atoms += talk.atoms
        generator.shuffle(between)
        turns += between[: MOST_TURNS - 1 - len(turns)]
        asked = politely(told.fill(generator.choice(memory.asked)), generator)
        turns.append(Turn(asked, told.fill(memory.answered)))
        return Talk(kind, tuple(turns), normalise(told.value), atoms=tuple(atoms))

    return Kind(kind, draw, names_alone(memory.values), share=6 if memory.name == "name" else 2)


def _draw_not_told(generator: random.Random) -> Talk:
    memory = generator.choice(MEMORIES)
    owner = generator.choice(memory.owners)
    turns: list[Turn] = []
    atoms: list[str] = []
    if generator.random() < 0.5:
        other = _tell(_other(memory, generator), generator)
        turns.append(_telling(other, generator))
        atoms += other.atoms
    for talk in _middles(generator.choice((0, 0, 1)), generator):
        turns += talk.turns
        atoms += talk.atoms
    asked = sentence(generator.choice(memory.asked).format("", owner))
    called = memory.called.format("", owner)
    turns.append(Turn(politely(asked, generator), f"You have not told me {called} yet."))
    return Talk("not-told", tuple(turns), "you have not told me", atoms=tuple(atoms))


_FAREWELLS = ways("Goodbye. | Bye. | See you later. | I have to go now. | Bye for now. | See you tomorrow.")


def _draw_farewell(generator: random.Random) -> Talk:
    told = _tell(_BY_NAME["name"], generator)
    turns, atoms = [_telling(told, generator)], [*told.atoms]
    for talk in _middles(generator.choice((1, 1, 2)), generator):
        turns += talk.turns
        atoms += talk.atoms
    turns.append(Turn(generator.choice(_FAREWELLS), told.fill("Goodbye, {0}, see you soon.")))
    return Talk("farewell", tuple(turns), normalise(told.value), atoms=tuple(atoms))


# ---------------------------------------------------------------------------------------------------------------------
# Numbers to remember and to reckon with

_NUMBER_TOLD = ways(
    "My number is {0}. | Remember the number {0}. | I think of the number {0}. | Keep the number {0} in mind. | \
    Please remember the number {0}. | The secret number is {0}."
)
_NUMBER_ASKED = ways(
    "What is my number? | Which number was it? | Tell me my number. | What was the number? | \
    Do you remember the number?"
)
_PLUS = ways("Add {0} to my number. | What is my number plus {0}? | How much is my number plus {0}?")
_MINUS = ways("Take {0} away from my number. | What is my number minus {0}? | How much is my number minus {0}?")


def _draw_number(generator: random.Random) -> Talk:
    number = generator.randint(1, 100)
    word = number_words(number)
    turns = [Turn(generator.choice(_NUMBER_TOLD).format(word), f"I will remember {word}.")]
    atoms: list[str] = []
    for talk in _middles(generator.choice((0, 1, 1, 2)), generator):
        turns += talk.turns
        atoms += talk.atoms
    way = generator.choice(("asked", "plus", "minus"))
    step = generator.randint(1, LARGEST_STEP if way == "plus" else min(number, LARGEST_STEP))
    if way == "asked":
        result = number
        turns.append(Turn(politely(generator.choice(_NUMBER_ASKED), generator), f"Your number is {word}."))
    else:
        result = number + step if way == "plus" else number - step
        asked = generator.choice(_PLUS if way == "plus" else _MINUS).format(number_words(step))
        turns.append(Turn(asked, sentence(f"{word} {way} {number_words(step)} is {number_words(result)}.")))
    return Talk("number", tuple(turns), number_words(result), atoms=tuple(atoms))


def reckons(talk: Talk, reply: str) -> bool:
    """Tell whether a reply ends with the right number and names no other than the user told."""
    named = mentions(normalise(reply).split(), NUMBERS)
    said = {number for line in talk.lines for number in mentions(line.split(), NUMBERS)}
    return bool(named) and named[-1] == talk.essential and set(named) <= {talk.essential, *said}


# ---------------------------------------------------------------------------------------------------------------------
# What was just said

_WHAT_SAID = ways(
    "What did I just say? | What did I say? | Can you repeat what I said? | Repeat what I just said. | \
    Tell me what I said."
)
_WHAT_ASKED = ways(
    "What did I just ask? | What did I ask you? | What was my question? | Repeat my question. | \
    Can you repeat my question? | What was my last question?"
)
_AGAIN = ways(
    "Say that again. | Can you repeat that? | Please repeat that. | Pardon? | What did you say? | Once more, please. | \
    I did not hear you. | Could you say that again? | Say it again, please. | Sorry, what? | Come again?"
)
_SLOWER = ways(
    "Say that again slower. | Can you say that more slowly? | Please repeat that slowly. | Slower, please. | \
    That was too fast. | Say it again, but slowly. | Could you speak more slowly?"
)


def _before(generator: random.Random) -> tuple[list[Turn], list[str]]:
    turns: list[Turn] = []
    atoms: list[str] = []
    for talk in _middles(generator.choice((1, 1, 2)), generator):
        turns += talk.turns
        atoms += talk.atoms
    if generator.random() < 0.4:
        told = _tell(generator.choice(MEMORIES), generator)
        turns.append(_telling(told, generator))
        atoms += told.atoms
    return turns, atoms


def _draw_echo(generator: random.Random) -> Talk:
    turns, atoms = _before(generator)
    said = turns[-1].said
    if len(said.split()) > LONGEST_ECHO:
        return _draw_echo(generator)
    is_question = said.endswith("?")
    asked = generator.choice(_WHAT_ASKED if is_question else _WHAT_SAID)
    turns.append(Turn(asked, f"You {'asked' if is_question else 'said'}, {_inside(said)}"))
    return Talk("echo", tuple(turns), normalise(said), atoms=tuple(atoms))


def _inside(said: str) -> str:
    """Return a sentence as it stands inside another one."""
    first = said.split()[0].strip(",.?!")
    stays = first == "I" or first in _NAMES or first in _CAPITALISED
    return said if stays else said[0].lower() + said[1:]


def _draw_again(generator: random.Random) -> Talk:
    turns, atoms = _before(generator)
    is_slower = generator.random() < 0.3
    asked = generator.choice(_SLOWER if is_slower else _AGAIN)
    turns.append(Turn(asked, turns[-1].reply, manner="slower" if is_slower else ""))
    return Talk("again", tuple(turns), normalise(turns[-1].reply), atoms=tuple(atoms))


KINDS: tuple[Kind, ...] = (
    *map(recall, MEMORIES),
    Kind("not-told", _draw_not_told, says, share=3),
    Kind("farewell", _draw_farewell, names_alone(_NAMES)),
    Kind("number", _draw_number, reckons, share=3),
    Kind("echo", _draw_echo, says, share=3),
    Kind("again", _draw_again, is_the_same, share=3),
)
