"""Questions about recordings without speech: which sounds, how many, in which order, where; and captions."""

import random
from collections.abc import Callable

from kimi_audio.core.words import number_words
from recipes.nano.closed.examples import Example, asked, heard, written
from recipes.nano.closed.scoring import counted, names_only, sounds_named
from recipes.nano.closed.sounds import EVENTS
from recipes.nano.closed.soundscape import SCENES, Clip
from recipes.nano.closed.splits import is_reserved

MOST = 5  # times a sound is heard that is to be counted
ORDINALS = ("first", "second", "third")
TIMES = {1: "once", 2: "twice", 3: "three times", 4: "four times", 5: "five times"}

# The words that name a sound in a reply, and the sound.
SOUND_WORDS = {name: name for name in EVENTS} | {
    "bells": "bell",
    "alarms": "alarm",
    "knocks": "knock",
    "knocking": "knock",
    "footstep": "footsteps",
    "steps": "footsteps",
    "dogs": "dog",
    "barking": "dog",
    "barks": "dog",
    "birds": "bird",
    "sirens": "siren",
    "engines": "engine",
    "claps": "clap",
    "clapping": "clap",
    "phones": "phone",
    "telephone": "phone",
    "clocks": "clock",
    "ticking": "clock",
    "ticks": "clock",
    "whistles": "whistle",
    "whistling": "whistle",
    "drums": "drum",
    "drumming": "drum",
    "raining": "rain",
}
WHAT = ("What do you hear?", "Which sound is this?", "What makes this sound?", "Name the sound.", "What is that sound?")
WHERE = ("Where is this?", "Which place is this?", "What place do you hear?", "Name the place.", "Where are we?")
CAPTION = ("Describe the audio.", "Please describe the sounds.", "Write a caption.", "What happens in this recording?")
ORDER = ("In which order do the sounds come?", "Name the sounds in order.", "Which sounds come, in order?")


def event_examples(count: int, generator: random.Random, reserved: bool) -> list[Example]:
    """Return recordings of one sound each with the question what it is, all kinds equally often.

    The kinds are the same on both sides; a rendering belongs to one of them.
    """
    examples = []
    for index, seed in enumerate(_seeds("event", count, generator, reserved)):
        event = EVENTS[list(EVENTS)[index % len(EVENTS)]]
        reply = written(f"I hear {event.phrase}.")
        parts = (asked(generator.choice(WHAT)), heard(Clip(seed, (event.name,))), reply)
        examples.append(Example("event", "what", seed, parts, (event.name,)))
    generator.shuffle(examples)
    return examples


def scene_examples(count: int, generator: random.Random, reserved: bool) -> list[Example]:
    """Return recordings of one place each, all places equally often; a rendering belongs to one side."""
    examples = []
    for index, seed in enumerate(_seeds("scene", count, generator, reserved)):
        name = list(SCENES)[index % len(SCENES)]
        reply = written(f"This is a {name}.".replace("a office", "an office"))
        parts = (asked(generator.choice(WHERE)), heard(Clip(seed, scene=name)), reply)
        examples.append(Example("scene", "where", seed, parts, (name,)))
    generator.shuffle(examples)
    return examples


def count_examples(count: int, generator: random.Random, reserved: bool) -> list[Example]:
    """Return recordings of one sound several times, half of them with another sound before or behind it.

    The key is the sequence of sounds: reserved sequences were never heard in training. Of the plain repetitions of
    one sound all are trained, because there are few; a rendering belongs to one side.
    """
    singles = [event.name for event in EVENTS.values() if event.single]
    examples = []
    for index, seed in enumerate(_seeds("count", count, generator, reserved)):
        times = index % MOST + 1

        def mixed(times: int = times) -> tuple[str, ...]:
            name, other = generator.sample(singles, 1)[0], generator.choice(list(EVENTS))
            repeated = (name,) * times
            return repeated if other == name else generator.choice([(other, *repeated), (*repeated, other)])

        if index // MOST % 2:
            events, key = _on_side(mixed, reserved)
            name = max(singles, key=events.count) if times > 1 else _single_of(events, singles)
        else:
            name = generator.choice(singles)
            events, key = (name,) * times, seed
        times = events.count(name)
        question = f"How many times do you hear {EVENTS[name].phrase}?"
        reply = f"I hear {EVENTS[name].phrase} {number_words(times)} time{'s' * (times > 1)}."
        parts = (asked(question), heard(Clip(seed, events)), written(reply))
        examples.append(Example("count", name, key, parts, (number_words(times),)))
    generator.shuffle(examples)
    return examples


def _single_of(events: tuple[str, ...], singles: list[str]) -> str:
    return next(event for event in events if event in singles)


def order_examples(count: int, generator: random.Random, reserved: bool) -> list[Example]:
    """Return recordings of two or three different sounds, and which comes first, second, last, after which, or all.

    The key is the sequence of sounds.
    """
    examples = []
    for seed in _seeds("order", count, generator, reserved):
        length = generator.choice([2, 3, 3])
        events, key = _on_side(lambda length=length: tuple(generator.sample(list(EVENTS), length)), reserved)
        kind = generator.choice(["first", "last", "second", "after", "before", "all"])
        place = generator.randrange(1, length)
        phrases = [EVENTS[event].phrase for event in events]
        if kind == "all":
            question, essential = generator.choice(ORDER), events
            reply = "I hear " + ", then ".join(phrases) + "."
        else:
            question, wanted = {
                "first": ("Which sound comes first?", 0),
                "last": ("Which sound comes last?", length - 1),
                "second": ("Which sound comes second?", 1),
                "after": (f"Which sound comes after {phrases[place - 1]}?", place),
                "before": (f"Which sound comes before {phrases[place]}?", place - 1),
            }[kind]
            reply, essential = f"I hear {phrases[wanted]}.", (events[wanted],)
        parts = (asked(question), heard(Clip(seed, events)), written(reply))
        examples.append(Example("order", kind, key, parts, essential))
    return examples


def caption_examples(count: int, generator: random.Random, reserved: bool) -> list[Example]:
    """Return recordings of one to three kinds of sounds, some repeated, with a caption that names all in order.

    ``essential`` are the sounds in order, repetitions included; the key is their sequence.
    """
    examples = []
    for seed in _seeds("caption", count, generator, reserved):
        length = generator.choice([1, 2, 2, 3, 3])

        def sequence(length: int = length) -> tuple[str, ...]:
            names = generator.sample(list(EVENTS), length)
            longest = 2 if length == 3 else 3
            times = [generator.randint(1, longest) if EVENTS[name].single else 1 for name in names]
            return tuple(name for name, number in zip(names, times, strict=True) for _ in range(number))

        # One sound alone cannot be reserved: all are needed in training.
        events, key = (sequence(), seed) if length == 1 else _on_side(sequence, reserved)
        parts = (asked(generator.choice(CAPTION)), heard(Clip(seed, events)), written(caption(events)))
        examples.append(Example("caption", "caption", key, parts, events))
    return examples


def caption(events: tuple[str, ...]) -> str:
    """Return the caption of a sequence, such as ``A bell rings twice, then a dog barks``, as a sentence."""
    told: list[tuple[str, int]] = []
    for event in events:
        if told and told[-1][0] == event:
            told[-1] = (event, told[-1][1] + 1)
        else:
            told.append((event, 1))
    sentences = [EVENTS[name].sentence + (f" {TIMES[times]}" if times > 1 else "") for name, times in told]
    text = ", then ".join(sentences) + "."
    return text[0].upper() + text[1:]


def is_event_right(event: str, reply: str) -> bool:
    """Tell whether a reply names the sound and no other."""
    return names_only(sounds_named(reply, SOUND_WORDS), event)


def is_order_right(events: tuple[str, ...], reply: str) -> bool:
    """Tell whether a reply names exactly these sounds in this order."""
    return tuple(sounds_named(reply, SOUND_WORDS)) == events


def is_count_right(number: str, reply: str) -> bool:
    """Tell whether a reply gives this number, in words, and no other."""
    found = counted(reply)
    return found is not None and number_words(found) == number


def is_scene_right(scene: str, reply: str) -> bool:
    """Tell whether a reply names the place and no other."""
    return names_only(sounds_named(reply, {name: name for name in SCENES}), scene)


def _seeds(task: str, count: int, generator: random.Random, reserved: bool) -> list[str]:
    """Return names of renderings of one side."""
    seeds: dict[str, None] = {}
    while len(seeds) < count:
        seed = f"{task}:{generator.randrange(10**9)}"
        if is_reserved(seed) == reserved:
            seeds[seed] = None
    return list(seeds)


def _on_side(draw: Callable[[], tuple[str, ...]], reserved: bool) -> tuple[tuple[str, ...], str]:
    while True:
        events = draw()
        key = sequence_key(events)
        if is_reserved(key) == reserved:
            return events, key


def sequence_key(events: tuple[str, ...]) -> str:
    """Return what decides on the side of a sequence of different sounds, whatever is asked about it."""
    return "sounds:" + ",".join(events)
