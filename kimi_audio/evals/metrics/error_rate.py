"""Tokens of transcripts, their alignment, and the errors in it.

An error rate is (substitutions + deletions + insertions) / reference tokens, both summed over all samples before they
are divided (micro average). It can exceed 1. The insertions of an empty reference are errors, and add nothing to the
denominator; without any reference token, the rate is nan.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal, NamedTuple, TypeAlias, cast

from kimi_audio.evals.metrics.libraries import eval_extra

Unit: TypeAlias = Literal["words", "characters", "mixed"]
Operation: TypeAlias = Literal["equal", "substitute", "delete", "insert"]

# Signs of scripts that are written without spaces between words, each of which counts.
_SIGN = re.compile(
    r"[\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3100-\u312f\u31a0-\u31ff"  # Han, Kana, Bopomofo
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han and its extensions
    r"\u0e00-\u0fff\u1000-\u109f\uaa60-\uaa7f\u1780-\u17ff]"  # Thai and Lao, Tibetan, Burmese, Khmer
)


def tokenize(text: str, unit: Unit) -> list[str]:
    """Split a text at white space, into characters without it, or into signs (see ``_SIGN``) and other words."""
    if unit == "characters":
        return [character for character in text if not character.isspace()]
    if unit == "mixed":
        text = _SIGN.sub(r" \g<0> ", text)
    return text.split()


class AlignedStep(NamedTuple):
    """One step of an alignment. The side that has no token is an empty string."""

    operation: Operation
    reference: str
    prediction: str


@dataclass(frozen=True)
class Errors:
    """Counts of an alignment."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def total(self) -> int:
        """Number of errors."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference_tokens(self) -> int:
        """Length of the reference."""
        return self.hits + self.substitutions + self.deletions


def align(reference: Sequence[str], prediction: Sequence[str]) -> list[AlignedStep]:
    """Return a shortest way from a list of tokens to another."""
    with eval_extra():
        from rapidfuzz.distance import Levenshtein
    steps: list[AlignedStep] = []
    for step in Levenshtein.opcodes(reference, prediction):
        operation = cast(Operation, "substitute" if step.tag == "replace" else step.tag)
        left, right = reference[step.src_start : step.src_end], prediction[step.dest_start : step.dest_end]
        steps += [AlignedStep(operation, *pair) for pair in zip_longest(left, right, fillvalue="")]
    return steps


def count_steps(steps: Iterable[AlignedStep]) -> Errors:
    """Return the counts of an alignment."""
    counts = Counter(step.operation for step in steps)
    return Errors(counts["equal"], counts["substitute"], counts["delete"], counts["insert"])


def count_errors(reference: Sequence[str], prediction: Sequence[str]) -> tuple[int, int]:
    """Return the fewest errors between two lists of tokens, and the tokens of the reference."""
    with eval_extra():
        from rapidfuzz.distance import Levenshtein
    return Levenshtein.distance(reference, prediction), len(reference)
