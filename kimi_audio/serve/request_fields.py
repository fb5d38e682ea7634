"""Fields that several routes read alike."""

from typing import Annotated

from pydantic import AfterValidator, Field

_SEEDS = 2**63
# OpenAI's clients may send any whole number of 64 bits; generators of random numbers take those that are not negative.
Seed = Annotated[int, Field(ge=-_SEEDS, lt=_SEEDS), AfterValidator(lambda seed: seed % _SEEDS)]
