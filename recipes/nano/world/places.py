"""Countries, their capitals and continents."""

from recipes.nano.world.judging import names
from recipes.nano.world.questions import questions, table
from recipes.nano.world.types import Kind
from recipes.nano.world.wording import read_list

_ROWS = tuple(tuple(line.split(": ")) for line in read_list("countries"))
CAPITALS = {country: capital for country, capital, _ in _ROWS}
CONTINENTS = {country: continent for country, _, continent in _ROWS}

KINDS: tuple[Kind, ...] = (
    questions(
        "capital",
        table(CAPITALS),
        "What is the capital of {0}? | Which city is the capital of {0}? | Name the capital of {0}. | \
            Tell me the capital of {0}. | What is the capital city of {0}? | Do you know the capital of {0}? | \
            Can you name the capital of {0}?",
        "The capital of {0} is {answer}.",
        names(CAPITALS.values()),
        share=4,
    ),
    questions(
        "capital-of",
        table({capital: country for country, capital in CAPITALS.items()}),
        "{0} is the capital of which country? | Of which country is {0} the capital? | \
            Which country has the capital {0}? | Tell me the country with the capital {0}. | \
            What country is {0} the capital of?",
        "{0} is the capital of {answer}.",
        names(CAPITALS),
        share=2,
    ),
    questions(
        "continent",
        table(CONTINENTS),
        "On which continent is {0}? | What continent is {0} on? | Which continent is {0} part of? | \
            Tell me the continent of {0}.",
        "{0} is in {answer}.",
        names(CONTINENTS.values()),
        share=2,
    ),
)
