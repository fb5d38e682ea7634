"""Text normalisers with a name and a version.

Half of a word error rate is its normaliser, so a score is only worth something beside ``Normalizer.fingerprint``.

- ``english``: Whisper's English normaliser, from whisper_normalizer (well kept; openai/whisper's, without torch), with
  typographic apostrophes as plain ones and dots as a pause.
- ``basic``: Whisper's normaliser for all other languages: case, symbols, brackets; vowel signs and other marks stay.
- ``chinese``: digits, dates, units and signs as they are read (wetext, the rules of WeTextProcessing without a
  compiler), traditional to simplified (OpenCC), full to half width, lower case, no punctuation.

The normaliser of the official Evalkit is not one of these: see ``evalkit.py``.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from kimi_audio.evals.metrics.languages import language_code
from kimi_audio.evals.metrics.libraries import eval_extra, library_versions

_MARKER = re.compile(r"<\|.*?\|>")  # special tokens that a model left in its text, such as <|zh|>
_TYPOGRAPHIC = str.maketrans({**dict.fromkeys("’‘ʼ＇`´", "'"), "…": " "})
_HYPHEN = re.compile(r"(?<=[A-Za-z])-(?=\d)")  # COVID-19 is not COVID minus nineteen
_SPOKEN = re.compile(r"[\d%‰$¥€£℃]")  # without any of these, nothing is read differently from how it is written


@dataclass(frozen=True)
class Normalizer:
    """A function on texts and what its results depend on."""

    name: str
    version: int  # raised whenever the same libraries give another result
    libraries: tuple[str, ...]
    apply: Callable[[str], str]

    def __call__(self, text: str) -> str:
        """Return the normalised text."""
        return self.apply(text)

    @property
    def fingerprint(self) -> str:
        """What to print beside a score, such as "english/1 (whisper_normalizer 0.1.15)"."""
        parts = ", ".join(f"{name} {version}" for name, version in library_versions(*self.libraries).items())
        return f"{self.name}/{self.version} ({parts})"


def normalizer_for(language: str) -> Normalizer:
    """Return the normaliser of a language such as "en", "zh-CN", "yue" or "German"."""
    return {"en": ENGLISH, "zh": CHINESE, "yue": CHINESE}.get(language_code(language), BASIC)


def _english(text: str) -> str:
    return whisper_english()(text.translate(_TYPOGRAPHIC)).strip()


def _basic(text: str) -> str:
    return whisper_basic(preserve_marks=True)(_MARKER.sub(" ", text)).strip()


def _chinese(text: str) -> str:
    text = unicodedata.normalize("NFKC", _MARKER.sub(" ", text))
    text = to_simplified()(_HYPHEN.sub(" ", text))
    if _SPOKEN.search(text):  # the rules are slow, and most transcripts hold no digit
        text = _chinese_rules()(text)
    # Also what the rules left: marks, punctuation and symbols are not spoken.
    kept = (" " if unicodedata.category(character)[0] in "MPS" else character for character in text.lower())
    return " ".join("".join(kept).split())


ENGLISH = Normalizer("english", 2, ("whisper_normalizer",), _english)
BASIC = Normalizer("basic", 2, ("whisper_normalizer",), _basic)
CHINESE = Normalizer("chinese", 1, ("wetext", "opencc"), _chinese)


@lru_cache(maxsize=1)
def whisper_english() -> Callable[[str], str]:
    """Return Whisper's normaliser of English."""
    with eval_extra():
        from whisper_normalizer.english import EnglishTextNormalizer
    normalizer = EnglishTextNormalizer()
    for word in ("kinda", "sorta", "dunno", "cause"):  # the library's own: "the cause of it" is no "because of it"
        normalizer.replacers.pop(rf"\b{word}\b", None)
    return normalizer


@lru_cache(maxsize=2)
def whisper_basic(*, preserve_marks: bool) -> Callable[[str], str]:
    """Return Whisper's normaliser of other languages; the original drops marks, which are vowels of Hindi or Thai."""
    with eval_extra():
        from whisper_normalizer.basic import BasicTextNormalizer
    return BasicTextNormalizer(preserve_marks=preserve_marks)


@lru_cache(maxsize=1)
def to_simplified() -> Callable[[str], str]:
    """Return the conversion of traditional to simplified characters."""
    with eval_extra():
        import opencc
    return opencc.OpenCC("t2s").convert


@lru_cache(maxsize=1)
def _chinese_rules() -> Callable[[str], str]:
    with eval_extra():
        from wetext import Normalizer as Rules
    rules = Rules(lang="zh", operator="tn")
    return lambda text: str(rules.normalize(text))
