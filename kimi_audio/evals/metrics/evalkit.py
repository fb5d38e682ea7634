"""The profile ``evalkit``: word error rates as the official Kimi-Audio-Evalkit counts them.

Published Kimi-Audio scores are made this way, so it is reported beside ours. What differs from ours, on purpose:

- rows whose prediction is "null" (what the Evalkit writes for missing ones) are dropped, also if somebody said "null";
- English passes Whisper's English and then its basic normaliser, so 3.5 equals 3 5, $5 equals 5 and 50% equals 50;
- Chinese loses all white space first, so a run of English words is a single token; then ``cn_tn``;
- the zh tokeniser of sacreBLEU 1.5.1 for every language: each ideograph or full-width sign is a token; lower-cased
  after that; tokens that are punctuation only are dropped;
- Cantonese becomes simplified and passes the basic normaliser; by OpenCC here and by zhconv there, a GPL library;
- one number: errors of the corpus by its tokens, times 100, rounded to 2 digits. Where the Evalkit crashes (no
  reference token at all), it is nan.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from kimi_audio.evals.metrics.cn_tn import read_digits
from kimi_audio.evals.metrics.error_rate import Alignment, Errors, align
from kimi_audio.evals.metrics.libraries import eval_extra
from kimi_audio.evals.metrics.normalizers import BASIC, ENGLISH, Normalizer, language_code, to_simplified


@dataclass(frozen=True)
class EvalkitErrorRate:
    """The Evalkit's score of a corpus."""

    rows: tuple[Alignment | None, ...]  # in the order of the input; None where it drops one, missing or "null"

    @property
    def dropped(self) -> int:
        """Number of rows that do not count."""
        return self.rows.count(None)

    @property
    def errors(self) -> Errors:
        """The counts of the rows that were kept."""
        return sum((row.errors for row in self.rows if row), Errors())

    @property
    def wer(self) -> float:
        """Per cent, rounded to two digits as the Evalkit prints it."""
        return round(100 * self.errors.rate, 2)


def evalkit_error_rate(references: Sequence[str], predictions: Sequence[str | None], language: str) -> EvalkitErrorRate:
    """Score a corpus like the Evalkit. Languages other than en, zh and yue pass the basic normaliser alone."""
    if len(references) != len(predictions):
        raise ValueError(f"{len(references)} references but {len(predictions)} predictions: give one for each row")
    kept = [place for place, prediction in enumerate(predictions) if prediction not in (None, "null")]
    left = [evalkit_tokens(references[place], language) for place in kept]
    right = [evalkit_tokens(predictions[place] or "", language) for place in kept]
    rows = dict(zip(kept, align(left, right), strict=True))
    return EvalkitErrorRate(tuple(rows.get(place) for place in range(len(references))))


def evalkit_tokens(text: str, language: str) -> list[str]:
    """Return the tokens that the Evalkit compares."""
    with eval_extra():
        from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh
    tokens = TokenizerZh()(evalkit_normalize(text, language)).lower().split()
    return [token for token in tokens if not all(unicodedata.category(sign)[0] == "P" for sign in token)]


def evalkit_normalize(text: str, language: str) -> str:
    """Return the text as it is before the Evalkit's tokeniser."""
    text = re.sub(r"<\|.*?\|>", " ", text)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r" ([!,.?;:])", r"\1", text).lstrip()
    code = language_code(language)
    if code == "zh":
        return read_digits(re.sub(r"\s", "", text))
    if code == "en":
        # The Evalkit tests for English, and then for "Chinese, else": English takes both ways.
        return BASIC(ENGLISH(text))
    return BASIC(to_simplified()(text) if code == "yue" else text)


def evalkit_fingerprint(language: str) -> str:
    """Return what to print beside a score of this profile."""
    libraries = ("sacrebleu",) if language_code(language) == "zh" else ("whisper_normalizer", "sacrebleu")
    return Normalizer("evalkit", 1, libraries, str).fingerprint
