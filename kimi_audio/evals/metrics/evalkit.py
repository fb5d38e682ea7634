"""The profile ``evalkit``: word error rates as the official Kimi-Audio-Evalkit counts them.

Published Kimi-Audio scores are made this way, so it is reported beside ours. What differs from ours, on purpose:

- a prediction that is "null" (what the Evalkit writes for a missing one) is dropped, also if somebody said "null";
- English passes Whisper's English and then its basic normaliser, so 3.5 equals 3 5, $5 equals 5 and 50% equals 50;
- Chinese loses all white space first, so a run of English words is a single token; then ``cn_tn``;
- the zh tokeniser of sacreBLEU for every language: each ideograph or full-width sign is a token; lower-cased after
  that; tokens that are punctuation only are dropped;
- Cantonese becomes simplified and passes the basic normaliser; by OpenCC here and by zhconv there, a GPL library, so
  here alone a few characters may differ.
"""

import re
import unicodedata

from kimi_audio.evals.metrics.cn_tn import read_digits
from kimi_audio.evals.metrics.error_rate import count_errors
from kimi_audio.evals.metrics.languages import language_code
from kimi_audio.evals.metrics.libraries import eval_extra
from kimi_audio.evals.metrics.normalizers import Normalizer, to_simplified, whisper_basic, whisper_english


def evalkit_errors(reference: str, prediction: str, language: str) -> tuple[int, int] | None:
    """Return errors and reference tokens of one transcript; None where the Evalkit drops it."""
    if prediction == "null":
        return None
    return count_errors(evalkit_tokens(reference, language), evalkit_tokens(prediction, language))


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
    basic = whisper_basic(preserve_marks=False)
    if code == "zh":
        return read_digits(re.sub(r"\s", "", text))
    if code == "en":
        # The Evalkit tests for English, and then for "Chinese, else": English takes both ways.
        return basic(whisper_english()(text))
    return basic(to_simplified()(text) if code == "yue" else text)


def evalkit_fingerprint(language: str) -> str:
    """Return what to print beside a score of this profile."""
    libraries = ("sacrebleu",) if language_code(language) == "zh" else ("whisper_normalizer", "sacrebleu")
    return Normalizer("evalkit", 2, libraries, str).fingerprint
