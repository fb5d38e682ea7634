"""General English sentences from frames: every word of the vocabulary is used about equally often."""

import random
import re
from collections.abc import Iterator

from kimi_audio.core.words import normalise
from recipes.nano.closed.splits import is_reserved
from recipes.nano.closed.vocabulary import WORDS

# A word in braces is a class of the vocabulary. The indefinite article is written "a" and corrected afterwards.
FRAMES: tuple[str, ...] = tuple(
    line.strip()
    for line in """
    The {person} {did} {whose} {good} {thing} {when}.
    The {good} {person} {did} a {thing} {near} the {place}.
    {name} {did} the {good} {thing} {near} the {place}.
    {name} and {name} {did} {number} {things} {when}.
    A {kind} {person} {went} {slowly} {near} the {place}.
    The {people} {went} {slowly} {near} the {good} {place}.
    The {animal} {went} {near} the {thing} {when}.
    {whose} {animal} {went} {slowly} {near} the {place}.
    The {good} {animal} and the {animal} {went} {slowly}.
    {number} {good} {animals} {went} {near} the {place}.
    {they} {can} {do} the {thing} {slowly} {when}.
    {they} {can} {do} {whose} {good} {thing} {near} the {place}.
    {they} {can} {do} the {people} and the {animals}.
    {name} {can} {do} the {good} {food} {when}.
    Please {do} the {thing} and {do} the {thing}.
    Please {do} some {food} for the {people} {when}.
    {do} the {good} {thing} before you {do} the {thing}.
    {do} {whose} {things} {slowly}, {name}.
    Never {do} a {good} {thing} {near} the {place}.
    {dontwant} {do} the {thing} {near} the {place}.
    {dontwant} {do} {whose} {good} {things} {when}.
    {dontwant} {do} {something} {about} {name}.
    {name} {usually} {does} {good} {things} {when}.
    {name} {usually} {does} the {food} {slowly}.
    The {person} {does} {food} and {food} {when}.
    {someone} {does} the {good} {thing} from {city}.
    {someone} {did} {something} {about} the {idea}.
    {someone} {went} {near} the {place} in {city}.
    The {person} who {does} {food} {went} {slowly}.
    The {thing} that {name} {did} is {good} and {good}.
    The {good} {thing} {near} the {place} was {good}.
    {whose} {thing} is {good} but {whose} {thing} is {good}.
    These {things} are {good} and those are {good}.
    Are the {good} {things} {near} the {thing}?
    Is the {thing} {near} the {thing} {good}?
    Is {whose} {person} {kind} or {kind}?
    Was {name} {going} {near} the {place} {when}?
    Are the {people} {going} {near} the {place}?
    Why are the {people} {going} so {slowly}?
    Who is {going} {near} the {good} {place}?
    {name} is {going} {because} {name} is {going}.
    The {person} is {going} {slowly} {near} the {place}.
    The {kind} {people} are {going} and {going}.
    {its} {kind} and {kind} {when}.
    {its} a {good} {idea} {about} {city}.
    {its} {near} the {good} {thing}.
    Did the {person} {do} the {idea} {when}?
    Did {name} {do} {number} {things} from {city}?
    Can {name} {do} the {thing} {near} the {place}?
    {where} did the {person} {do} {whose} {thing}?
    {where} will {name} {do} the {food}?
    {where} does {name} {do} {whose} {idea}?
    What did the {people} {do} {near} the {place}?
    Which {thing} did the {kind} {person} {do}?
    How many {things} did {name} {do} {when}?
    The {people} {did} {number} {things} and {number} {things}.
    The {people} in {city} {did} {food} and {food}.
    The {people} {did} {food} with {food} {when}.
    We {did} the {ordinal} {idea} {slowly} {when}.
    The {ordinal} {thing} is {good} and {good}.
    The {ordinal} {person} is from {city}.
    {name} was {kind} {because} the {person} was {kind}.
    {name} felt {kind} {because} {they} {went}.
    {whose} {person} was {kind} and {kind} {when}.
    The {kind} {person} {went} {because} the {animal} {went}.
    The {people} {went} {because} {name} {went}.
    {they} {went} {because} the {good} {thing} was {good}.
    The {idea} and the {idea} were {good}.
    The {idea} of the {person} was {good} {when}.
    {whose} {good} {idea} is {about} the {idea}.
    {name} {did} the {idea} {about} the {idea}.
    There was a {good} {idea} {about} {idea} {when}.
    {idea} and {idea} are {good} in {city}.
    They talked about {idea} and {idea} {when}.
    {name} learned {job} and {job} in {city}.
    {they} {usually} study {job} {when}.
    {whose} {person} teaches {job} {near} the {place}.
    {name} hurt {whose} {body} and {body} {when}.
    The {person} {did} {whose} {good} {body} {slowly}.
    The {animal} has a {good} {body} and a {good} {body}.
    The {material} {thing} is {good} and {good}.
    The {thing} is made of {material} and {material}.
    A {good} {material} {thing} is {near} the {thing}.
    The weather in {city} was {weather} {when}.
    It was {weather} and {weather} {when}.
    The {nature} was {weather} {because} the {nature} {went}.
    The {nature} and the {nature} {went} {slowly}.
    {name} {did} the {good} {nature} {near} {city}.
    The {place} and the {place} are {good} {when}.
    There is a {good} {place} {near} the {place}.
    From {city} to {city} the {place} is {good}.
    {name} traveled from {city} to {city} {when}.
    {name} {does} a {good} {animal} and {number} {animals}.
    The {animals} {did} the {animals} {near} the {nature}.
    {animals} and {animals} {usually} {do} {food}.
    The {animal} {did} the {animal} {near} the {place}.
    Give the {person} the {good} {thing}, please.
    Let's {do} the {good} {idea} {when}.
    I think {name} {did} the {good} {food}.
    I hope the {people} {do} the {food} {when}.
    The {person} said that {name} {went} {slowly}.
    {name} told {name} that the {thing} was {good}.
    Where is the {good} {thing} from {city}?
    When {name} {went}, the {person} {went} {slowly}.
    If {they} {do} the {thing}, {name} is {kind}.
    The {thing}, the {thing} and the {thing} are {good}.
    {food}, {food} and {food} are {good}.
    Would you like {food} or {food} with {whose} {food}?
    More {food} and less {food}, please.
    {name} is as {kind} as a {good} {animal}.
    """.strip().splitlines()
)
_SLOT = re.compile(r"\{(\w+)\}")
_CLASSES = {frame: tuple(_SLOT.findall(frame)) for frame in FRAMES}
_VOWEL_SOUND = re.compile(r"(?:[aeio]|u(?!ni|se|su)|hour|honest)(?!ne\b)", re.IGNORECASE)


class _Deck:
    """Words dealt in random order, all of them before any comes again."""

    def __init__(self, words: tuple[str, ...], generator: random.Random) -> None:
        self.words, self.generator = words, generator
        self.pile: list[str] = []
        self.dealt = 0

    def deal(self) -> str:
        if not self.pile:
            self.pile = list(self.words)
            self.generator.shuffle(self.pile)
        self.dealt += 1
        return self.pile.pop()

    @property
    def rounds(self) -> float:
        return self.dealt / len(self.words)


def sentences(generator: random.Random) -> Iterator[str]:
    """Yield written sentences of 3 to 11 words without end; the same generator state gives the same sentences."""
    decks = {name: _Deck(words, generator) for name, words in WORDS.items()}
    while True:
        # Of several frames take the one that needs the class which lags behind most: this evens out the words.
        frames = generator.sample(FRAMES, 10)
        frame = min(frames, key=lambda frame: min(decks[name].rounds for name in _CLASSES[frame]))
        text = _SLOT.sub(lambda slot: decks[slot[1]].deal(), frame)
        text = re.sub(r"\b([Aa]) (\w+)", _article, text)
        if 3 <= len(normalise(text).split()) <= 11:
            yield text[0].upper() + text[1:]


def take_sentences(count: int, generator: random.Random, reserved: bool) -> list[str]:
    """Return ``count`` distinct sentences of the training side, or of the reserved tenth."""
    taken: dict[str, str] = {}
    for text in sentences(generator):
        if len(taken) == count:
            break
        transcript = normalise(text)
        if is_reserved(transcript) == reserved:
            taken.setdefault(transcript, text)
    return list(taken.values())


def _article(match: re.Match[str]) -> str:
    article, word = match.groups()
    return f"{article}n {word}" if _VOWEL_SOUND.match(word) else f"{article} {word}"
