"""Scores of transcripts: our error rates and the Evalkit's, always both."""

from collections.abc import Sequence
from dataclasses import dataclass

from kimi_audio.evals.metrics.error_rate import ErrorRate, Unit, align, tokenize
from kimi_audio.evals.metrics.evalkit import EvalkitErrorRate, evalkit_error_rate, evalkit_fingerprint
from kimi_audio.evals.metrics.normalizers import language_code, normalizer_for


@dataclass(frozen=True)
class TranscriptionScore:
    """Error rates of a corpus under both profiles."""

    language: str
    normalizer: str  # fingerprint
    wer: ErrorRate
    cer: ErrorRate
    mer: ErrorRate  # ideographs by character, everything else by word
    evalkit: EvalkitErrorRate
    evalkit_normalizer: str  # fingerprint

    @property
    def primary(self) -> ErrorRate:
        """The rate to look at: MER (on pure text this is CER) for Chinese, Cantonese and Japanese, else WER."""
        return self.mer if language_code(self.language) in ("zh", "yue", "ja") else self.wer


def score_transcripts(
    references: Sequence[str], predictions: Sequence[str | None], language: str
) -> TranscriptionScore:
    """Score a corpus. None stands for a missing prediction, for which each profile has its own policy."""
    normalizer = normalizer_for(language)
    left = [normalizer(text) for text in references]
    right = [normalizer(text or "") for text in predictions]
    missing = tuple(text is None for text in predictions)

    def rate(unit: Unit) -> ErrorRate:
        rows = align([tokenize(text, unit) for text in left], [tokenize(text, unit) for text in right])
        return ErrorRate(unit, rows, missing)

    return TranscriptionScore(
        language=language,
        normalizer=normalizer.fingerprint,
        wer=rate("words"),
        cer=rate("characters"),
        mer=rate("mixed"),
        evalkit=evalkit_error_rate(references, predictions, language),
        evalkit_normalizer=evalkit_fingerprint(language),
    )
