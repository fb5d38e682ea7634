"""Audio captions: CIDEr-D and ROUGE-L.

Written out here because the libraries for captions need Java, or download models when they are imported. For the same
reason there is no METEOR, SPICE or FENSE: they need WordNet, a parser, and trained weights. Texts are compared in
lower case without punctuation, unstemmed, Chinese by character; published CIDEr uses the Penn tokeniser instead.
"""

import math
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeAlias

from kimi_audio.evals.metrics.error_rate import tokenize
from kimi_audio.evals.metrics.libraries import eval_extra

_LONGEST_GRAM = 4
_SIGMA = 6.0  # CIDEr-D, section 5: how soon a difference in length costs
_BETA = 1.2  # the weight of recall in the ROUGE-L of the COCO captions
Gram: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class CaptionScore:
    """Scores per row; CIDEr-D runs from 0 to 10, ROUGE-L from 0 to 1."""

    cider_d: tuple[float, ...]
    rouge_l: tuple[float, ...]
    missing: int

    @property
    def cider_d_mean(self) -> float:
        """Mean CIDEr-D; nan without rows."""
        return fmean(self.cider_d) if self.cider_d else float("nan")

    @property
    def rouge_l_mean(self) -> float:
        """Mean ROUGE-L; nan without rows."""
        return fmean(self.rouge_l) if self.rouge_l else float("nan")


def score_captions(replies: Sequence[str | None], references: Sequence[Sequence[str]]) -> CaptionScore:
    """Score captions, each against its references. None stands for a missing reply and counts as an empty one.

    CIDEr-D weighs words by how few rows have them: it depends on the whole corpus and is 0 for a single row.
    """
    if len(replies) != len(references) or not all(references):
        raise ValueError("captions need one or more references for every reply")
    candidates = [caption_tokens(reply or "") for reply in replies]
    wanted = [[caption_tokens(text) for text in row] for row in references]
    return CaptionScore(
        cider_d=tuple(_cider_d(candidates, wanted)),
        rouge_l=tuple(_rouge_l(*row) for row in zip(candidates, wanted, strict=True)),
        missing=sum(reply is None for reply in replies),
    )


def caption_tokens(text: str) -> list[str]:
    """Return what is compared of a caption."""
    text = unicodedata.normalize("NFKC", text).lower()
    return tokenize("".join(" " if unicodedata.category(sign)[0] in "PS" else sign for sign in text), "mixed")


def _cider_d(candidates: list[list[str]], references: list[list[list[str]]]) -> Iterator[float]:
    """Yield the score of each row: Vedantam et al. 2015, "CIDEr", with the length penalty and clipping of CIDEr-D."""
    rows_with = Counter(gram for row in references for gram in {gram for text in row for gram in _grams(text)})
    log_rows = math.log(max(1, len(references)))

    def weights(tokens: list[str]) -> list[dict[Gram, float]]:
        """Return tf-idf by gram, one table per length."""
        tables: list[dict[Gram, float]] = [{} for _ in range(_LONGEST_GRAM)]
        for gram, count in _grams(tokens).items():
            tables[len(gram) - 1][gram] = count * (log_rows - math.log(max(1, rows_with[gram])))
        return tables

    for candidate, row in zip(candidates, references, strict=True):
        mine = weights(candidate)
        scores = []
        for text in row:
            penalty = math.exp(-((len(candidate) - len(text)) ** 2) / (2 * _SIGMA**2))
            cosines = [_clipped_cosine(*pair) for pair in zip(mine, weights(text), strict=True)]
            scores.append(10 * penalty * fmean(cosines))
        yield fmean(scores)


def _grams(tokens: list[str]) -> Counter[Gram]:
    """Count the runs of 1 to 4 tokens."""
    starts = ((start, length) for length in range(1, _LONGEST_GRAM + 1) for start in range(len(tokens) - length + 1))
    return Counter(tuple(tokens[start : start + length]) for start, length in starts)


def _clipped_cosine(candidate: dict[Gram, float], reference: dict[Gram, float]) -> float:
    """Return the cosine in which no gram counts more often than in the reference."""
    dot = sum(min(weight, reference.get(gram, 0.0)) * reference.get(gram, 0.0) for gram, weight in candidate.items())
    norm = math.hypot(*candidate.values()) * math.hypot(*reference.values())
    return dot / norm if norm else 0.0


def _rouge_l(candidate: list[str], references: list[list[str]]) -> float:
    """Return the F-measure of the longest common subsequence, from the best precision and the best recall."""
    with eval_extra():
        from rapidfuzz.distance import LCSseq
    if not candidate:
        return 0.0
    common = [LCSseq.similarity(candidate, text) for text in references]
    precision = max(common) / len(candidate)
    recall = max(length / len(text) if text else 0.0 for length, text in zip(common, references, strict=True))
    weighted = recall + _BETA**2 * precision
    return (1 + _BETA**2) * precision * recall / weighted if weighted else 0.0
