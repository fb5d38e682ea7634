"""BLEU and chrF through sacrebleu, with the signatures that make them comparable.

Both are scores of a whole corpus: each row has a list of counts, those of all rows are added up, and the score comes
from the sums. The counts are what is stored of a row, so that resamples of the rows can be scored.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from kimi_audio.evals.metrics.languages import WITHOUT_SPACES, language_code
from kimi_audio.evals.metrics.libraries import eval_extra

# Of BLEU; 13a for all other languages.
TOKENIZERS = {**dict.fromkeys(WITHOUT_SPACES, "char"), "ko": "char", **dict.fromkeys(("zh", "yue", "wuu", "hak"), "zh")}


def tokenizer_for(language: str) -> str:
    """Return sacrebleu's name of how BLEU cuts the words of a language."""
    return TOKENIZERS.get(language_code(language), "13a")


@cache
def bleu(tokenizer: str) -> Any:
    """Return sacrebleu's BLEU with a tokeniser."""
    with eval_extra():
        from sacrebleu.metrics.bleu import BLEU
    return BLEU(tokenize=tokenizer)


@cache
def chrf() -> Any:
    """Return sacrebleu's chrF."""
    with eval_extra():
        from sacrebleu.metrics.chrf import CHRF
    return CHRF()


def counts_of(metric: Any, reply: str, references: Sequence[str]) -> list[int]:
    """Return the counts of one row."""
    # What sacrebleu's own tests of significance resample; our tests compare it with its public scores of a corpus.
    (counts,) = metric._extract_corpus_statistics([reply], [[text] for text in references])
    return counts


def corpus_score(metric: Any, rows: Sequence[Sequence[int]]) -> float:
    """Return the score, from 0 to 100, of the counts of all rows; nan without rows."""
    return metric._aggregate_and_compute([np.sum(rows, axis=0).tolist()]).score if len(rows) else float("nan")


def signature(metric: Any) -> str:
    """Return what the score depends on, besides the number of references."""
    metric.corpus_score(["a"], [["a"]])  # it has none before it has scored
    return str(metric.get_signature()).partition("|")[2]
