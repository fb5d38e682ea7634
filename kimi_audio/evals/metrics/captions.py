"""Audio captions: CIDEr-D and ROUGE-L.

They are written out here because the libraries for captions need Java, or download models when they are imported. Not
here are METEOR and SPICE, whose published numbers come from programs in Java, and FENSE, which needs trained weights;
``aac-metrics`` has all three. Texts are compared in lower case without punctuation, Chinese by character; published
CIDEr uses the Penn tokeniser instead.
"""

import math
import unicodedata
from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import TypeAlias

from kimi_audio.evals.metrics.error_rate import tokenize
from kimi_audio.evals.metrics.libraries import eval_extra

_LONGEST_GRAM = 4
_SIGMA = 6.0  # CIDEr-D, section 5: how soon a difference in length costs
_BETA = 1.2  # the weight of recall in the ROUGE-L of the COCO captions
Gram: TypeAlias = tuple[str, ...]
Tokens: TypeAlias = Sequence[str]


def caption_tokens(text: str) -> list[str]:
    """Return what is compared of a caption."""
    text = unicodedata.normalize("NFKC", text).lower()
    return tokenize("".join(" " if unicodedata.category(sign)[0] in "PS" else sign for sign in text), "mixed")


def cider_d(rows: Sequence[tuple[Tokens, Sequence[Tokens]]]) -> list[float]:
    """Return the score of each row, its caption and references as tokens, from 0 to 10.

    Words weigh by how few rows have them: it depends on the whole corpus and is 0 for a single row. Vedantam et al.
    2015, "CIDEr", with the length penalty and clipping of CIDEr-D.
    """
    rows_with = Counter(gram for _, texts in rows for gram in {gram for text in texts for gram in _grams(text)})
    log_rows = math.log(max(1, len(rows)))

    def weights(tokens: Tokens) -> list[dict[Gram, float]]:
        """Return tf-idf by gram, one table per length."""
        tables: list[dict[Gram, float]] = [{} for _ in range(_LONGEST_GRAM)]
        for gram, count in _grams(tokens).items():
            tables[len(gram) - 1][gram] = count * (log_rows - math.log(max(1, rows_with[gram])))
        return tables

    def score(candidate: Tokens, texts: Sequence[Tokens]) -> float:
        mine = weights(candidate)
        scores = []
        for text in texts:
            penalty = math.exp(-((len(candidate) - len(text)) ** 2) / (2 * _SIGMA**2))
            cosines = [_clipped_cosine(*pair) for pair in zip(mine, weights(text), strict=True)]
            scores.append(10 * penalty * fmean(cosines))
        return fmean(scores)

    return [score(candidate, texts) for candidate, texts in rows]


def _grams(tokens: Tokens) -> Counter[Gram]:
    """Count the runs of 1 to 4 tokens."""
    starts = ((start, length) for length in range(1, _LONGEST_GRAM + 1) for start in range(len(tokens) - length + 1))
    return Counter(tuple(tokens[start : start + length]) for start, length in starts)


def _clipped_cosine(candidate: dict[Gram, float], reference: dict[Gram, float]) -> float:
    """Return the cosine in which no gram counts more often than in the reference."""
    dot = sum(min(weight, reference.get(gram, 0.0)) * reference.get(gram, 0.0) for gram, weight in candidate.items())
    norm = math.hypot(*candidate.values()) * math.hypot(*reference.values())
    return dot / norm if norm else 0.0


def rouge_l(candidate: Tokens, references: Sequence[Tokens]) -> float:
    """Return the F-measure, from 0 to 1, of the longest common subsequence: from the best precision and recall."""
    with eval_extra():
        from rapidfuzz.distance import LCSseq
    if not candidate:
        return 0.0
    common = [LCSseq.similarity(candidate, text) for text in references]
    precision = max(common) / len(candidate)
    recall = max(length / len(text) if text else 0.0 for length, text in zip(common, references, strict=True))
    weighted = recall + _BETA**2 * precision
    return (1 + _BETA**2) * precision * recall / weighted if weighted else 0.0
