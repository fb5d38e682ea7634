"""BLEU and chrF through sacrebleu, with the signatures that make them comparable."""

from collections.abc import Sequence
from dataclasses import dataclass

from kimi_audio.evals.metrics.libraries import eval_extra
from kimi_audio.evals.metrics.normalizers import language_code


@dataclass(frozen=True)
class TranslationScore:
    """Corpus scores from 0 to 100."""

    bleu: float
    bleu_signature: str
    chrf: float
    chrf_signature: str
    missing: int


def score_translations(
    replies: Sequence[str | None], references: Sequence[Sequence[str]], language: str
) -> TranslationScore:
    """Score translations into ``language``, each against its references, of which all rows have equally many.

    None stands for a missing reply and counts as an empty one.
    """
    with eval_extra():
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
    if not replies or len({len(row) for row in references}) != 1 or len(replies) != len(references):
        raise ValueError("BLEU needs at least one row, and equally many references for every reply")
    tokenizer = {"zh": "zh", "ja": "char", "ko": "char"}.get(language_code(language), "13a")
    texts = [reply or "" for reply in replies]
    columns = [list(column) for column in zip(*references, strict=True)]
    bleu, chrf = BLEU(tokenize=tokenizer), CHRF()
    return TranslationScore(
        bleu=bleu.corpus_score(texts, columns).score,
        bleu_signature=str(bleu.get_signature()),
        chrf=chrf.corpus_score(texts, columns).score,
        chrf_signature=str(chrf.get_signature()),
        missing=sum(reply is None for reply in replies),
    )
