"""Short answers: exact match, token F1 (as in SQuAD), and whether the reply contains the answer.

Answers are compared without case, punctuation and English articles; Chinese by character. Several references: the
best counts. A missing reply is a wrong one.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from kimi_audio.evals.metrics.error_rate import tokenize


def answer_tokens(text: str) -> list[str]:
    """Return what is compared of an answer."""
    text = unicodedata.normalize("NFKC", text).casefold()
    kept = ("" if unicodedata.category(character)[0] in "PS" else character for character in text)
    return tokenize(re.sub(r"\b(a|an|the)\b", " ", "".join(kept)), "mixed")


def exact_match(reply: str, references: Sequence[str]) -> bool:
    """Tell whether the reply is one of the references."""
    return any(answer_tokens(reply) == answer_tokens(reference) for reference in references)


def contains(reply: str, references: Sequence[str]) -> bool:
    """Tell whether the words of one of the references stand in the reply, next to each other."""
    said = f" {' '.join(answer_tokens(reply))} "
    wanted = (answer_tokens(reference) for reference in references)
    return any(words and f" {' '.join(words)} " in said for words in wanted)


def f1(reply: str, references: Sequence[str]) -> float:
    """Return the best harmonic mean of precision and recall of tokens."""
    return max((_f1(answer_tokens(reply), answer_tokens(reference)) for reference in references), default=0.0)


def _f1(reply: list[str], reference: list[str]) -> float:
    if not reply or not reference:
        return float(reply == reference)
    shared = (Counter(reply) & Counter(reference)).total()
    return 2 * shared / (len(reply) + len(reference))


@dataclass(frozen=True)
class AnswerScore:
    """Per-row scores of short answers."""

    exact: tuple[bool, ...]
    contained: tuple[bool, ...]
    f1: tuple[float, ...]
    missing: int

    @property
    def exact_rate(self) -> float:
        """Share of exact matches; nan without rows."""
        return fmean(self.exact) if self.exact else float("nan")

    @property
    def contained_rate(self) -> float:
        """Share of replies that contain an answer; nan without rows."""
        return fmean(self.contained) if self.contained else float("nan")

    @property
    def f1_mean(self) -> float:
        """Mean F1; nan without rows."""
        return fmean(self.f1) if self.f1 else float("nan")


def score_answers(replies: Sequence[str | None], references: Sequence[Sequence[str]]) -> AnswerScore:
    """Score replies, each against all of its references. None stands for a missing reply."""
    rows = list(zip(replies, references, strict=True))
    return AnswerScore(
        exact=tuple(reply is not None and exact_match(reply, wanted) for reply, wanted in rows),
        contained=tuple(reply is not None and contains(reply, wanted) for reply, wanted in rows),
        f1=tuple(0.0 if reply is None else f1(reply, wanted) for reply, wanted in rows),
        missing=sum(reply is None for reply in replies),
    )
