"""Short answers: exact match, token F1 (as in SQuAD), and whether the reply contains the answer.

Answers are compared without case, punctuation and English articles, which stay where they are all there is; Chinese by
character. Several references: the best counts.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from kimi_audio.evals.metrics.error_rate import tokenize


def answer_tokens(text: str) -> list[str]:
    """Return what is compared of an answer."""
    text = unicodedata.normalize("NFKC", text).casefold()
    kept = ("" if unicodedata.category(character)[0] in "PS" else character for character in text)
    text = "".join(kept)
    return tokenize(re.sub(r"\b(a|an|the)\b", " ", text), "mixed") or tokenize(text, "mixed")


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
