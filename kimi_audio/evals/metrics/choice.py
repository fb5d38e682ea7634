"""Multiple choice: which option a free reply names, and what to do if it names none.

Nothing is drawn at random. A reply that names no option, or several, is unparsed: it is counted and scored as wrong.
VoiceBench and the Evalkit look for 163 fixed phrases, know A to D alone, and draw a random option, unseeded, where none
is found; the expected value of the draw is stated beside our accuracy. The phrases are not reproduced: with them "The
answer is actually B." is A, and "**D**", "Answer: D" or 选B are no answers. The report's scores are a judge's anyway.

Letters follow VoiceBench: options are A, B, C, ... in their order. What counts, the first rule that speaks deciding:
a stated answer ("the answer is B", 答案是B, 选B; the last one), a letter at the start ("B.", "(b) a dog"), a single
letter anywhere, the text of a single option. A and I in front of a word are the article and the pronoun.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from string import ascii_uppercase

from kimi_audio.evals.metrics.error_rate import tokenize

_WORD_AHEAD = r"(?![\s'’]+(?!(?:because|since|as|is|or|and|but)\b)[a-z])"
_CAPITAL = rf"(?:[B-HJ-Z]|[AI]{_WORD_AHEAD})(?![A-Za-z0-9'’])"
_SMALL = r"[a-z](?=\s*[).:]|\s*$)"  # a small letter needs a sign behind it, or it is a word
_FILLERS = (
    r"(?:(?:is|be|would|should|must|will|to|the|option|choice|letter|correct|right|best|most|likely|probably|actually|"
    r"definitely|clearly|therefore|answer|that|it|s)[^A-Za-z0-9\n]+)*"
)
_STATED = re.compile(
    rf"(?:(?i:\b(?:answer|choose|select|pick|go with)\b)|答案|选择|选项|选)[^A-Za-z0-9\n]*(?i:{_FILLERS})"
    rf"(?P<letter>{_CAPITAL}|{_SMALL})",
    re.MULTILINE,
)
_FIRST = re.compile(rf"\W*(?P<letter>{_CAPITAL}(?=\s*[).:,\-]|\s*$|\s*\n)|{_SMALL})")
_ALONE = re.compile(rf"(?<![A-Za-z0-9'’])(?P<letter>{_CAPITAL})")


def extract_choice(reply: str, options: Sequence[str]) -> int | None:
    """Return the index of the option that the reply names; None if that is not clear."""
    if not 2 <= len(options) <= len(ascii_uppercase):
        raise ValueError(f"multiple choice needs 2 to 26 options, not {len(options)}")
    reply = re.sub(r"[*_`#$]|\\boxed", "", unicodedata.normalize("NFKC", reply)).strip()
    letters = ascii_uppercase[: len(options)]

    def named(matches: Sequence[re.Match[str]]) -> list[int]:
        return [letters.index(letter) for match in matches if (letter := match["letter"].upper()) in letters]

    if stated := named(list(_STATED.finditer(reply))):
        return stated[-1]
    if (match := _FIRST.match(reply)) and (first := named([match])):
        return first[0]
    if len(alone := set(named(list(_ALONE.finditer(reply))))) == 1:
        return alone.pop()
    return None if alone else _by_text(reply, options)


def _by_text(reply: str, options: Sequence[str]) -> int | None:
    """Return the one option whose words stand in the reply; inside a longer one ("car" in "car horn") is not enough."""
    said = _words(reply)
    texts = [_words(option) for option in options]
    found = [index for index, text in enumerate(texts) if text.strip() and text in said]
    longest = [i for i in found if not any(i != j and texts[i] in texts[j] for j in found)]
    return longest[0] if len(longest) == 1 else None


def _words(text: str) -> str:
    words = tokenize(re.sub(r"\W+", " ", unicodedata.normalize("NFKC", text).casefold()), "mixed")
    return f" {' '.join(words)} "


@dataclass(frozen=True)
class ChoiceScore:
    """Accuracy of a corpus of multiple-choice questions."""

    chosen: tuple[int | None, ...]  # per row; None is unparsed or missing
    correct: tuple[bool, ...]
    unparsed: int
    missing: int
    chance_credit: Fraction  # what random guesses for the unparsed and missing would be worth, in rows

    @property
    def total(self) -> int:
        """Number of questions."""
        return len(self.chosen)

    @property
    def accuracy(self) -> float:
        """Share of right rows; unparsed and missing ones are wrong. nan without rows."""
        return sum(self.correct) / self.total if self.total else float("nan")

    @property
    def accuracy_with_chance(self) -> float:
        """What VoiceBench's random option for unparsed replies gives on average (expected value, no draw)."""
        return float(sum(self.correct) + self.chance_credit) / self.total if self.total else float("nan")


def score_choices(
    replies: Sequence[str | None], answers: Sequence[int], options: Sequence[Sequence[str]]
) -> ChoiceScore:
    """Score replies against the index of the right option. None stands for a missing reply."""
    rows = list(zip(replies, answers, options, strict=True))
    for _, answer, texts in rows:
        if not 0 <= answer < len(texts):
            raise ValueError(f"the right answer is option {answer}, but there are {len(texts)} options")
    chosen = tuple(None if reply is None else extract_choice(reply, texts) for reply, _, texts in rows)
    missing = sum(reply is None for reply in replies)
    return ChoiceScore(
        chosen=chosen,
        correct=tuple(choice == answer for choice, answer in zip(chosen, answers, strict=True)),
        unparsed=chosen.count(None) - missing,
        missing=missing,
        chance_credit=sum(
            (Fraction(1, len(texts)) for choice, (*_, texts) in zip(chosen, rows, strict=True) if choice is None),
            Fraction(0),
        ),
    )
