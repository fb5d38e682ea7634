"""What is said from when to when. Times are in seconds from the beginning of the recording."""

import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from kimi_audio.core.words import is_ideographic

Timestamps: TypeAlias = Literal["segment", "word"]


@dataclass(frozen=True)
class Word:
    """A word with the punctuation that belongs to it; a character where words are not told apart by spaces."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Segment:
    """A stretch of speech."""

    text: str
    start_s: float
    end_s: float
    words: tuple[Word, ...] = ()  # empty unless they were asked for

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, without words where there are none; times to the millisecond."""
        values = _rounded(asdict(self))
        words = [_rounded(asdict(word)) for word in self.words]
        del values["words"]
        return values | ({"words": words} if words else {})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Segment":
        """Return what ``as_dict`` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            words = tuple(Word(str(one["text"]), *_times(one)) for one in values.get("words", []))
            return cls(str(values["text"]), *_times(values), words)
        except (KeyError, TypeError, AttributeError):
            raise ValueError("these are not the values of a segment") from None


def _times(values: dict[str, Any]) -> tuple[float, float]:
    return float(values["start_s"]), float(values["end_s"])


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}


def joined(texts: Iterable[str]) -> str:
    """Return pieces of a transcript as one text."""
    whole = ""
    for text in filter(None, texts):
        whole += separator(whole, text) + text
    return whole


def separator(before: str, after: str) -> str:
    """Return what stands between two pieces of a transcript: a space, but none at the beginning or in Chinese.

    Quotation marks and dashes are those of many scripts, so the characters behind them decide.
    """
    if not before or (_script_sign(reversed(before)) and _script_sign(after)):
        return ""
    return " "


def _script_sign(text: Iterable[str]) -> bool:
    """Tell whether the first character that is of one kind of script is ideographic."""
    return next((is_ideographic(char) for char in text if not _is_of_many_scripts(char)), False)


def _is_of_many_scripts(char: str) -> bool:
    return unicodedata.category(char)[0] == "P" and unicodedata.east_asian_width(char) == "A"
