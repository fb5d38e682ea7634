"""Judging transcripts and replies: word errors, character errors, and what a reply names."""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from kimi_audio.core.words import normalise, number_words, word_errors

CHINESE_DIGITS = "零一二三四五六七八九"


# ---------------------------------------------------------------------------------------------------------------------
# Mandarin


def chinese_number(number: int) -> str:
    """Return a number below one hundred in characters, such as 二十一 for 21.

    Raises:
        ValueError: the number is negative or has three digits.
    """
    if not 0 <= number < 100:
        raise ValueError(f"{number} is outside 0 to 99, the numbers that can be written in characters")
    tens, unit = divmod(number, 10)
    if not tens:
        return CHINESE_DIGITS[unit]
    return (CHINESE_DIGITS[tens] if tens > 1 else "") + "十" + (CHINESE_DIGITS[unit] if unit else "")


def characters(text: str) -> list[str]:
    """Return what is compared in Mandarin: characters without punctuation and spaces, and Latin words as one each.

    One or two digits become characters (``21`` is 二十一), more are read one by one.
    """
    text = unicodedata.normalize("NFKC", text).lower()
    text = re.sub(r"[0-9]+", lambda digits: _read_digits(digits[0]), text)
    return re.findall(r"[a-z']+|[\u3400-\u4dbf\u4e00-\u9fff]", text)


def _read_digits(digits: str) -> str:
    if len(digits) <= 2 and str(int(digits)) == digits:
        return chinese_number(int(digits))
    return "".join(CHINESE_DIGITS[int(digit)] for digit in digits)


def character_errors(reference: str, hypothesis: str) -> tuple[int, int]:
    """Return the fewest edits between two Mandarin texts, and the number of characters of the reference."""
    wanted = characters(reference)
    return word_errors(wanted, characters(hypothesis)), len(wanted)


# ---------------------------------------------------------------------------------------------------------------------
# What a reply names


def mentions(words: Sequence[str], candidates: Collection[str], joint: str = " ") -> list[str]:
    """Find the candidates in order, the longest first where one begins another (``twenty``, ``twenty one``).

    ``joint`` is what stands between the words of a candidate: a space, or nothing between Chinese characters.
    """
    longest = _longest(frozenset(candidates), joint)
    found, start = [], 0
    while start < len(words):
        for length in range(longest, 0, -1):
            phrase = joint.join(words[start : start + length])
            if phrase in candidates:
                found.append(phrase)
                start += length
                break
        else:
            start += 1
    return found


@cache
def _longest(candidates: frozenset[str], joint: str) -> int:
    return max((len(candidate.split()) if joint else len(candidate) for candidate in candidates), default=0)


def names_only(mentioned: Sequence[str], right: str, allowed: Collection[str] = ()) -> bool:
    """Tell whether the last name mentioned is the right one, and no other is mentioned except the allowed ones."""
    return bool(mentioned) and mentioned[-1] == right and set(mentioned) <= {right, *allowed}


_COUNTS = {number_words(n): n for n in range(101)} | {"once": 1, "twice": 2, "thrice": 3, "never": 0}


def counted(reply: str) -> int | None:
    """Return the one number that a reply gives (``three times``, ``3``, ``twice``), None without or with several."""
    found = {_COUNTS[name] for name in mentions(normalise(reply).split(), _COUNTS.keys())}
    return found.pop() if len(found) == 1 else None


def sounds_named(reply: str, words: Mapping[str, str]) -> list[str]:
    """Return the sounds that a reply names, in order; ``words`` leads from each word or phrase to its sound.

    A sound named twice in a row is one mention: ``a dog, a barking dog``.
    """
    found: list[str] = []
    for word in mentions(normalise(reply).split(), words.keys()):
        if not found or found[-1] != words[word]:
            found.append(words[word])
    return found


@dataclass(frozen=True)
class CaptionScore:
    """``named`` of ``total`` events are in the caption, ``invented`` are in the caption alone."""

    named: int
    total: int
    invented: int
    in_order: bool


def caption_score(caption: str, events: Sequence[str], words: Mapping[str, str]) -> CaptionScore:
    """Compare a caption with the events heard, repetitions in a row counted as one."""
    wanted = [event for index, event in enumerate(events) if index == 0 or events[index - 1] != event]
    told = sounds_named(caption, words)
    named = (Counter(wanted) & Counter(told)).total()
    # A sound told again is no invention; one that was not there is.
    return CaptionScore(named, len(wanted), len(set(told) - set(wanted)), told == wanted)
