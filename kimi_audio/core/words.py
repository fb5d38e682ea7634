"""From written text to the transcript form: lower case, a-z, apostrophe and single spaces, numbers as words."""

import re
import unicodedata
from collections.abc import Sequence
from itertools import groupby

_UNITS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["_", "_", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))
MAX_NUMBER = 10**12 - 1


def number_words(number: int) -> str:
    """Return a whole number in words, such as ``forty two`` for 42.

    Raises:
        ValueError: the number is negative or above ``MAX_NUMBER``.
    """
    if not 0 <= number <= MAX_NUMBER:
        raise ValueError(f"{number} is outside 0 to {MAX_NUMBER}, the numbers that can be written as words")
    if number < 20:
        return _UNITS[number]
    if number < 100:
        tens, unit = divmod(number, 10)
        return _TENS[tens] + (f" {_UNITS[unit]}" if unit else "")
    scale, name = next(item for item in _SCALES if number >= item[0])
    count, rest = divmod(number, scale)
    return f"{number_words(count)} {name}" + (f" {number_words(rest)}" if rest else "")


def normalise(text: str) -> str:
    """Return the transcript of ``text``; applying it twice changes nothing."""
    text = unicodedata.normalize("NFKD", text.replace("’", "'")).lower()
    text = re.sub(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))", "", text)  # 1,000
    text = re.sub(r"[0-9]+", lambda digits: f" {_spoken(digits[0])} ", text)
    text = re.sub(r"[\u0300-\u036f]", "", text)  # accents, split off by NFKD
    text = re.sub(r"[^a-z']+", " ", text)
    words = (word.strip("'") for word in text.split())
    return " ".join(word for word in words if word)


def _spoken(digits: str) -> str:
    if len(digits) > 12 or (digits[0] == "0" and len(digits) > 1):
        return " ".join(_UNITS[int(digit)] for digit in digits)
    return number_words(int(digits))


def words_in_any_script(text: str) -> list[str]:
    """Return the words by which what was said is compared with what was heard.

    They are in the transcript form where they are Latin, and as written in other scripts; every character of a script
    without spaces is one.
    """
    text = unicodedata.normalize("NFKC", text)
    words: list[str] = []
    for script, chars in groupby(text, _Scripts().of):
        run = "".join(chars).casefold()
        words += {"latin": normalise(run).split(), "ideographic": list(run), "other": [run]}[script]
    return words


class _Scripts:
    """Tells of each character of a text how its words are found; marks belong to what stands before them."""

    def __init__(self) -> None:
        self._last = "latin"

    def of(self, char: str) -> str:
        kind = unicodedata.category(char)[0]
        if kind == "M":
            return self._last
        is_word = kind == "L" or (kind == "N" and not char.isascii())
        if not is_word or unicodedata.name(char, "").startswith("LATIN"):
            self._last = "latin"
        else:
            self._last = "ideographic" if is_ideographic(char) else "other"
        return self._last


def word_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Return the fewest insertions, deletions and substitutions that turn one word sequence into the other."""
    row = list(range(len(hypothesis) + 1))
    for i, word in enumerate(reference, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(hypothesis, 1):
            diagonal, row[j] = row[j], min(diagonal + (word != other), row[j] + 1, row[j - 1] + 1)
    return row[-1]


def is_ideographic(char: str) -> bool:
    """Tell whether a character belongs to a script without spaces: Chinese, Japanese, and their punctuation."""
    name = unicodedata.name(char, "")
    is_wide = unicodedata.east_asian_width(char) in "WF" or name.startswith("HALFWIDTH KATAKANA")
    return is_wide and not name.startswith("HANGUL")
