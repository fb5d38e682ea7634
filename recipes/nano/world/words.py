"""Forms and sounds of words: plurals, pasts, rhymes, and what is larger than what."""

from kimi_audio.core.words import normalise
from recipes.nano.closed.facts import COLOURS, HOMES, LEGS, PASTS, PLURALS, SOUNDS
from recipes.nano.world.judging import NUMBERS, is_refusal, names, names_alone
from recipes.nano.world.questions import Fact, questions, table
from recipes.nano.world.types import Kind, Talk
from recipes.nano.world.wording import read_list

_FORMS = tuple(tuple(line.split()) for line in read_list("irregular"))
PAST_TENSES = PASTS | {verb: past for verb, past, _ in _FORMS}
PARTICIPLES = {verb: participle for verb, _, participle in _FORMS}
MORE_PLURALS = {
    "apple": "apples",
    "brush": "brushes",
    "butterfly": "butterflies",
    "church": "churches",
    "country": "countries",
    "deer": "deer",
    "fish": "fish",
    "glass": "glasses",
    "half": "halves",
    "lady": "ladies",
    "loaf": "loaves",
    "ox": "oxen",
    "party": "parties",
    "potato": "potatoes",
    "scarf": "scarves",
    "thief": "thieves",
    "tomato": "tomatoes",
    "watch": "watches",
    "witch": "witches",
    "calf": "calves",
    "puppy": "puppies",
    "dish": "dishes",
    "key": "keys",
    "toy": "toys",
    "hero": "heroes",
    "shoe": "shoes",
    "car": "cars",
    "tree": "trees",
}
ALL_PLURALS = PLURALS | MORE_PLURALS
RHYMES = tuple(tuple(line.split()) for line in read_list("rhymes"))
_SIZES = read_list("sizes")


def _rhyme_facts() -> tuple[Fact, ...]:
    """Return, for each word, the next of its family; a word of two families rhymes with the first it stands in."""
    found: dict[str, str] = {}
    for family in RHYMES:
        for word, other in zip(family, (*family[1:], family[0]), strict=True):
            found.setdefault(word, other)
    return table(found)


def rhymes(talk: Talk, reply: str) -> bool:
    """Tell whether a reply names a word that rhymes with the one asked about, and none that does not."""
    words = normalise(reply).split()
    asked = next(word for word in reversed(talk.lines[-1].split()) if any(word in family for family in RHYMES))
    right = {word for family in RHYMES if asked in family for word in family} - {asked}
    named = {word for word in words if any(word in family for family in RHYMES)} - {asked}
    return bool(named) and named <= right and not is_refusal(reply)


def _size_facts(larger: bool) -> tuple[Fact, ...]:
    pairs = [(i, j) for i in range(len(_SIZES)) for j in range(len(_SIZES)) if abs(i - j) > 1]
    return tuple(Fact((_SIZES[i], _SIZES[j]), _SIZES[max(i, j) if larger else min(i, j)]) for i, j in pairs)


KINDS: tuple[Kind, ...] = (
    questions(
        "plural",
        table(ALL_PLURALS),
        "What is the plural of {0}? | Tell me the plural of {0}. | Name the plural of {0}. | \
            What is the plural form of {0}? | Say the plural of {0}. | How do you say more than one {0}?",
        "The plural of {0} is {answer}.",
        names(ALL_PLURALS.values()),
    ),
    questions(
        "past",
        table(PAST_TENSES),
        "What is the past tense of {0}? | What is the past of {0}? | Tell me the past tense of {0}. | \
            Name the past tense of {0}. | Say the past tense of {0}. | Give me the past tense of the verb {0}.",
        "The past tense of {0} is {answer}.",
        names(PAST_TENSES.values()),
    ),
    questions(
        "participle",
        table(PARTICIPLES),
        "What is the past participle of {0}? | Tell me the participle of {0}. | Give me the past participle of {0}.",
        "The past participle of {0} is {answer}.",
        names(PARTICIPLES.values()),
        share=0.7,
    ),
    questions(
        "rhyme",
        _rhyme_facts(),
        "What rhymes with {0}? | Tell me a word that rhymes with {0}. | Give me a rhyme for {0}. | \
            Which word rhymes with {0}? | Find a rhyme for {0}. | Do you know a rhyme for {0}?",
        "{answer} rhymes with {0}.",
        rhymes,
    ),
    questions(
        "bigger-thing",
        _size_facts(larger=True),
        "Which is bigger, a {0} or a {1}? | What is larger, a {0} or a {1}? | Which one is bigger, a {0} or a {1}? | \
            Is a {0} or a {1} bigger?",
        "The bigger one is a {answer}.",
        names(_SIZES),
        share=0.7,
    ),
    questions(
        "smaller-thing",
        _size_facts(larger=False),
        "Which is smaller, a {0} or a {1}? | What is smaller, a {0} or a {1}? | Which one is smaller, a {0} or a {1}?",
        "The smaller one is a {answer}.",
        names(_SIZES),
        share=0.7,
    ),
    questions(
        "colour",
        table(COLOURS),
        "What color is {0}? | Which color is {0}? | Tell me the color of {0}. | What is the color of {0}? | \
            Name the color of {0}. | Do you know what color {0} is?",
        "The color of {0} is {answer}.",
        names_alone(COLOURS.values()),
    ),
    questions(
        "sound",
        table(SOUNDS),
        "What does a {0} say? | What sound does a {0} make? | Which sound does a {0} make? | How does a {0} sound? | \
            Tell me what a {0} says.",
        "A {0} says {answer}.",
        names(SOUNDS.values()),
    ),
    questions(
        "legs",
        table(LEGS),
        "How many legs does a {0} have? | How many legs has a {0}? | Tell me how many legs a {0} has. | \
            What number of legs does a {0} have?",
        "A {0} has {answer} legs.",
        names(NUMBERS),
    ),
    questions(
        "home",
        table(HOMES),
        "Where does a {0} live? | What is the home of a {0}? | Tell me where a {0} lives. | \
            Where is the home of a {0}?",
        "The home of a {0} is the {answer}.",
        names(HOMES.values()),
        share=0.5,
    ),
)
