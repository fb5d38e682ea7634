"""Word, character and mixed error rates with their alignments.

An error rate is (substitutions + deletions + insertions) / reference tokens, both summed over all rows before they
are divided (micro average). It can exceed 1. Rows that need a policy:

- empty reference: its insertions are errors, it adds nothing to the denominator;
- empty prediction: an answer like any other, all reference tokens are deletions;
- missing prediction (None): counts as an empty one in ``errors``, and is left out of ``answered``;
- no reference token at all: the rate is nan.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import TYPE_CHECKING, Literal, TypeAlias

from kimi_audio.evals.metrics.libraries import eval_extra

if TYPE_CHECKING:
    from jiwer import AlignmentChunk

Unit: TypeAlias = Literal["words", "characters", "mixed"]
Operation: TypeAlias = Literal["equal", "substitute", "delete", "insert"]

# Scripts that are written without spaces and counted by character: Han with its extensions, Kana, Bopomofo.
_IDEOGRAPH = (
    r"[\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3100-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
)
_IDEOGRAPHS = re.compile(_IDEOGRAPH + r"|[\U00020000-\U0003ffff]")


def tokenize(text: str, unit: Unit) -> list[str]:
    """Split a text at white space, into characters without white space, or into ideographs and other words."""
    if unit == "characters":
        return [character for character in text if not character.isspace()]
    if unit == "mixed":
        text = _IDEOGRAPHS.sub(r" \g<0> ", text)
    return text.split()


@dataclass(frozen=True)
class Errors:
    """Counts of one row or, summed, of a corpus."""

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

    @property
    def rate(self) -> float:
        """Errors per reference token; nan without any."""
        return self.total / self.reference_tokens if self.reference_tokens else float("nan")

    def __add__(self, other: "Errors") -> "Errors":
        return Errors(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


@dataclass(frozen=True)
class AlignedToken:
    """One step of an alignment. The side that has no token is an empty string."""

    operation: Operation
    reference: str
    prediction: str


@dataclass(frozen=True)
class Alignment:
    """A shortest way from a reference to a prediction."""

    tokens: tuple[AlignedToken, ...]

    @cached_property
    def errors(self) -> Errors:
        """The counts of this row."""
        counts = Counter(token.operation for token in self.tokens)
        return Errors(counts["equal"], counts["substitute"], counts["delete"], counts["insert"])


def align(references: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> tuple[Alignment, ...]:
    """Align token lists row by row. Tokens must hold no white space."""
    with eval_extra():
        import jiwer
    if len(references) != len(predictions):
        raise ValueError(f"{len(references)} references but {len(predictions)} predictions: give one for each row")
    if not references:
        return ()
    # jiwer splits at single spaces again, which restores the tokens.
    output = jiwer.process_words([" ".join(row) for row in references], [" ".join(row) for row in predictions])
    return tuple(
        Alignment(tuple(token for chunk in chunks for token in _expand(chunk, *rows)))
        for chunks, *rows in zip(output.alignments, references, predictions, strict=True)
    )


def _expand(chunk: "AlignmentChunk", reference: Sequence[str], prediction: Sequence[str]) -> Iterable[AlignedToken]:
    """Yield the steps of one of jiwer's chunks, which is a run of the same operation."""
    left = reference[chunk.ref_start_idx : chunk.ref_end_idx]
    right = prediction[chunk.hyp_start_idx : chunk.hyp_end_idx]
    for pair in zip_longest(left, right, fillvalue=""):
        yield AlignedToken(chunk.type, *pair)  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class ErrorRate:
    """An error rate over a corpus and what it is made of."""

    unit: Unit
    rows: tuple[Alignment, ...]  # in the order of the input
    missing: tuple[bool, ...]  # rows without a prediction

    @property
    def errors(self) -> Errors:
        """The counts of all rows; those of missing predictions are deletions."""
        return sum((row.errors for row in self.rows), Errors())

    @property
    def answered(self) -> Errors:
        """The counts of the rows that have a prediction."""
        return sum((row.errors for row, gone in zip(self.rows, self.missing, strict=True) if not gone), Errors())

    @property
    def rate(self) -> float:
        """The error rate of all rows, as a fraction."""
        return self.errors.rate

    @property
    def empty_references(self) -> int:
        """Rows whose reference has no token."""
        return sum(row.errors.reference_tokens == 0 for row in self.rows)

    @property
    def empty_predictions(self) -> int:
        """Rows whose prediction is there but has no token."""
        empty = [row.errors.hits + row.errors.substitutions + row.errors.insertions == 0 for row in self.rows]
        return sum(is_empty and not gone for is_empty, gone in zip(empty, self.missing, strict=True))

    @property
    def sentence_error_rate(self) -> float:
        """The share of rows with at least one error; nan without rows."""
        return sum(row.errors.total > 0 for row in self.rows) / len(self.rows) if self.rows else float("nan")

    def confusions(self, limit: int = 20) -> list[tuple[AlignedToken, int]]:
        """Return the most frequent errors with their counts."""
        steps = (step for row in self.rows for step in row.tokens if step.operation != "equal")
        return Counter(steps).most_common(limit)


def error_rate(
    references: Sequence[str],
    predictions: Sequence[str | None],
    unit: Unit = "words",
    normalize: Callable[[str], str] = str,
) -> ErrorRate:
    """Compare texts row by row, after ``normalize`` on both sides. None stands for a missing prediction."""
    left = [tokenize(normalize(text), unit) for text in references]
    right = [tokenize(normalize(text or ""), unit) for text in predictions]
    return ErrorRate(unit, align(left, right), tuple(text is None for text in predictions))
