"""Days, months, dates and clock times."""

from kimi_audio.core.words import number_words
from recipes.nano.closed.facts import DAYS, MONTHS, ORDINALS
from recipes.nano.world.judging import NUMBERS, names, says
from recipes.nano.world.questions import Fact, neighbours, questions, table
from recipes.nano.world.types import Kind

_LENGTHS = dict(zip(MONTHS, (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), strict=True))
_UNITS = {
    ("days", "a week"): "seven days",
    ("months", "a year"): "twelve months",
    ("minutes", "an hour"): "sixty minutes",
    ("hours", "a day"): "twenty four hours",
    ("seconds", "a minute"): "sixty seconds",
    ("weeks", "a year"): "fifty two weeks",
    ("days", "a year"): "three hundred sixty five days",
    ("seasons", "a year"): "four seasons",
    ("years", "a century"): "one hundred years",
    ("years", "a decade"): "ten years",
    ("minutes", "half an hour"): "thirty minutes",
    ("minutes", "a quarter of an hour"): "fifteen minutes",
    ("days", "a weekend"): "two days",
    ("days", "two weeks"): "fourteen days",
    ("months", "half a year"): "six months",
}
_HOLIDAYS = {
    "Christmas": "the twenty fifth of December",
    "Christmas Eve": "the twenty fourth of December",
    "New Year's Day": "the first of January",
    "New Year's Eve": "the thirty first of December",
    "Halloween": "the thirty first of October",
    "Valentine's Day": "the fourteenth of February",
    "Saint Patrick's Day": "the seventeenth of March",
    "April Fools' Day": "the first of April",
}
_DAY, _MONTH = names(DAYS), names(MONTHS)


def _between(names_in_circle: list[str]) -> tuple[Fact, ...]:
    count = len(names_in_circle)
    return tuple(
        Fact((name, names_in_circle[(i + 2) % count]), names_in_circle[(i + 1) % count])
        for i, name in enumerate(names_in_circle)
    )


def _later() -> tuple[Fact, ...]:
    return tuple(
        Fact((number_words(step), day), DAYS[(i + step) % 7]) for i, day in enumerate(DAYS) for step in range(2, 7)
    )


KINDS: tuple[Kind, ...] = (
    questions(
        "day-after",
        neighbours(DAYS, 1),
        "What day comes after {0}? | Which day follows {0}? | Today is {0}, what day is tomorrow? | \
            If today is {0}, what is tomorrow? | What is the day after {0}? | Tell me the day after {0}. | \
            Name the day that comes after {0}. | What comes after {0}? | Which day is next after {0}?",
        "The day after {0} is {answer}.",
        _DAY,
    ),
    questions(
        "day-before",
        neighbours(DAYS, -1),
        "What day comes before {0}? | Which day is right before {0}? | Today is {0}, what day was yesterday? | \
            If today is {0}, what was yesterday? | What is the day before {0}? | Tell me the day before {0}. | \
            What comes before {0}?",
        "The day before {0} is {answer}.",
        _DAY,
    ),
    questions(
        "days-later",
        _later(),
        "What day is {0} days after {1}? | Which day comes {0} days after {1}? | Today is {1}, what day is it in {0} \
            days? | If today is {1}, what day is it in {0} days?",
        "{0} days after {1} is {answer}.",
        _DAY,
    ),
    questions(
        "month-after",
        neighbours(MONTHS, 1),
        "What month comes after {0}? | Which month follows {0}? | What is the month after {0}? | \
            Tell me the month after {0}. | Name the month that comes after {0}. | What comes after {0}?",
        "The month after {0} is {answer}.",
        _MONTH,
    ),
    questions(
        "month-before",
        neighbours(MONTHS, -1),
        "What month comes before {0}? | Which month is right before {0}? | What is the month before {0}? | \
            Tell me the month before {0}. | Name the month that comes before {0}. | What comes before {0}?",
        "The month before {0} is {answer}.",
        _MONTH,
    ),
    questions(
        "between",
        _between(DAYS) + _between(MONTHS),
        "What comes between {0} and {1}? | What is between {0} and {1}? | Tell me what comes between {0} and {1}.",
        "Between {0} and {1} comes {answer}.",
        names([*DAYS, *MONTHS]),
    ),
    questions(
        "nth-month",
        table(dict(zip(ORDINALS, MONTHS, strict=True))),
        "What is the {0} month of the year? | Which month is the {0}? | Name the {0} month of the year. | \
            Tell me the {0} month. | Which is the {0} month of the year?",
        "The {0} month is {answer}.",
        _MONTH,
        share=0.7,
    ),
    questions(
        "nth-day",
        table(dict(zip(ORDINALS[:7], DAYS, strict=True))),
        "What is the {0} day of the week? | Which day of the week is the {0}? | Name the {0} day of the week. | \
            Which is the {0} day of the week?",
        "The {0} day of the week is {answer}.",
        _DAY,
        share=0.5,
    ),
    questions(
        "days-in-month",
        table({month: number_words(days) for month, days in _LENGTHS.items()}),
        "How many days are in {0}? | How many days does {0} have? | How long is {0}? | Tell me how many days {0} has.",
        "{0} has {answer} days.",
        names(NUMBERS),
    ),
    questions(
        "units-of-time",
        tuple(Fact(operands, answer) for operands, answer in _UNITS.items()),
        "How many {0} are in {1}? | How many {0} are there in {1}? | Tell me how many {0} are in {1}. | \
            {1} has how many {0}?",
        "There are {answer} in {1}.",
        says,
    ),
    questions(
        "holidays",
        table(_HOLIDAYS),
        "When is {0}? | What is the date of {0}? | On which day is {0}? | Tell me when {0} is. | \
            Do you know when {0} is?",
        "{0} is on {answer}.",
        says,
        share=0.7,
    ),
)
