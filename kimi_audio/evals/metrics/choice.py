"""Multiple choice: which option a free reply names, and what to do if it names none.

Nothing is drawn at random. A reply that names no option, or several, is unparsed: it is counted and scored as wrong.
VoiceBench and the Evalkit look for 163 fixed phrases, know A to D alone, and draw a random option, unseeded, where none
is found; the expected value of the draw is stated beside our accuracy. The phrases are not reproduced: with them "The
answer is actually B." is A, and "**D**", "Answer: D" or 选B are no answers. The report's scores are a judge's anyway.

Letters follow VoiceBench: options are A, B, C, ... in their order. What counts, the first rule that speaks deciding:

1. the whole reply is the text of an option, also where that looks like a letter (``D minor``, ``C#``);
2. a stated answer, by text or by letter ("the answer is B", 答案是B, 选B; the last one);
3. a letter at the start ("B.", "(b) a dog");
4. the text of a single option anywhere, inside a longer one ("car" in "car horn") not counted;
5. a single letter anywhere.

A stated option, or a letter at the start, that another one is joined to ("A or B", "A, B", A或B) names several. An
option that is denied ("not A", "A is wrong", 不是A) is not named. The article that an option begins with may be left
out where the rest is part of no other option ("cat" of "a cat"; not "minor" of "A minor" beside "D minor"). A and I in
front of a word are the article and the pronoun. Case, punctuation and underscores do not matter, neither in replies nor
in options, unless nothing else tells two options apart (``$5`` and ``5%``): then the whole reply has to be one of them.
Of two options with the same text, the first is meant.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

_WORD_AHEAD = r"(?![\s'’]+(?!(?:because|since|as|is|isn|or|and|but|not)\b)[a-z])"
_CAPITAL = rf"(?:[B-HJ-Z]|[AI]{_WORD_AHEAD})(?![A-Za-z0-9'’#♯♭+])"
_SMALL = r"[a-z](?=\s*[).:]|\s*$)"  # a small letter needs a sign behind it, or it is a word
_FIRST = re.compile(rf"\W*(?P<letter>{_CAPITAL}(?=\s*[).:,\-]|\s*$|\s*\n)|{_SMALL})")
_LETTER = re.compile(rf"(?<![A-Za-z0-9'’])(?P<letter>{_CAPITAL}|{_SMALL})", re.MULTILINE)
_TOKEN = re.compile(r"[\u3400-\u9fff]|(?<!\w)-?\d+(?:[.,]\d+)*|[^\W_\u3400-\u9fff]+[#♯♭+]*")
# Words that may stand between "answer" or "not" and the option.
_FILLERS = (
    "is|be|would|should|must|will|to|the|a|an|option|choice|letter|correct|right|best|most|likely|probably|actually|"
    "possibly|definitely|clearly|therefore|answer|choose|select|pick|think|believe|that|it|s|its"
)
_STATES = re.compile(
    rf"(?:\b(?:answer|choose|select|pick|go with)\b|答案|选择|选项|选)[^A-Za-z0-9\n\u3400-\u9fff]*"
    rf"(?:(?:{_FILLERS})[^A-Za-z0-9\n]+|[是为应该选项])*\W*$",
    re.I,
)
_DENIES = re.compile(
    r"(?:\b(?:not|never|neither|nor|cannot|rather than|instead of|except|rules? out|ruling out)\b|n['’]t\b|不|非|排除)"
    rf"[\s\"'“‘(]*(?:(?:{_FILLERS})[\s\"'“‘(]+|[是为应该选项会能])*$",
    re.I,
)
_DENIED = re.compile(
    r"[\"'”’)\]]*\s*(?:(?:is|are|was|were|would be|could be|can be|seems|looks)\s+(?:\w+ly\s+|also\s+)?"
    r"(?:not|wrong|incorrect|false|unlikely|impossible|ruled out)\b|(?:is|are|was|can|could|does|do)n['’]t\b|"
    r"cannot be\b|是?(?:不对|不是|错|不正确|不可能))",
    re.I,
)
_ALSO = re.compile(r"\s*,?\s*(?:(?:or|nor|and)\b|[和或与、])\s*(?:(?:an?|the)\s+)?", re.I)
_JOINED = re.compile(rf"[\"'”’)\]]*(?:{_ALSO.pattern}|\s*[,，/&]\s*(?:(?:an?|the)\s+)?)(?:option\s+)?[\"'“‘(\[]*", re.I)
_CLAUSE = re.compile(r"\s+(?:is|are|was|were|has|have|would|could|can|do|does)\b", re.I)  # "B, and A is too loud"
_LOOK_BACK = 80  # characters before an option that are looked at
_LONGEST = 2000  # characters; of a longer reply, as many from the beginning and from the end are read


@dataclass(frozen=True)
class _Mention:
    index: int  # of the option
    start: int
    end: int


def extract_choice(reply: str, options: Sequence[str]) -> int | None:
    """Return the index of the option that the reply names; None if that is not clear."""
    if not 2 <= len(options) <= len(ascii_uppercase):
        raise ValueError(f"multiple choice needs 2 to 26 options, not {len(options)}")
    as_written = [_plain(option) for option in options]
    if (plain := _plain(reply)) and plain in as_written:
        return as_written.index(plain)
    reply = re.sub(r"[*`$]|\\boxed|(?m:^#+ )", "", unicodedata.normalize("NFKC", reply)).strip()
    if len(reply) > 2 * _LONGEST:
        reply = f"{reply[:_LONGEST]}\n{reply[-_LONGEST:]}"
    texts = _telling(options)
    forms = [(index, form) for index, both in enumerate(zip(texts, _bare(texts), strict=True)) for form in both if form]
    if whole := [index for index, form in forms if form == _words(reply)]:
        return whole[0]
    by_text = list(_by_text(reply, [item for item in forms if item[0] == texts.index(texts[item[0]])]))
    by_letter = [
        item for item in _by_letter(reply, len(options)) if not any(_is_inside(item, text) for text in by_text)
    ]
    named = _not_denied(reply, [*by_text, *by_letter])
    if stated := [item for item in named if _STATES.search(reply, max(0, item.start - _LOOK_BACK), item.start)]:
        return _alone(reply, max(stated, key=lambda item: item.start), named)
    if (match := _FIRST.match(reply)) and (first := [item for item in named if item.start == match.start("letter")]):
        return _alone(reply, first[0], named)
    for group in (by_text, by_letter):
        if len(found := {item.index for item in group if item in named}) == 1:
            return found.pop()
    return None


def find_options(texts: Sequence[str], options: Sequence[str]) -> list[int]:
    """Return the indices of the options with one of these texts, or of these letters.

    Raises:
        ValueError: there is none.
    """
    found = [place for text in texts if (place := _find_option(text, options)) is not None]
    if not found:
        raise ValueError(f"the right answer {' or '.join(texts)!r} is none of the options {', '.join(options)}")
    return found


def _find_option(text: str, options: Sequence[str]) -> int | None:
    if text in options:
        return options.index(text)
    words = [_words(option) for option in options]
    plain, said = [_plain(option) for option in options], _words(text)
    ways: list[tuple[Any, list[Any]]] = [(_plain(text), plain), (said, words), (said, _bare(words))]
    for wanted, known in ways:
        if wanted and wanted in known:
            return known.index(wanted)
    letter = text.strip("() .:").upper()
    return ascii_uppercase.index(letter) if letter in [*ascii_uppercase[: len(options)]] else None


def is_same_option(one: str, other: str) -> bool:
    """Tell whether two options have the same text."""
    return _plain(one) == _plain(other)


def _plain(text: str) -> str:
    """Return a text as it is written, without what is around it."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().replace("_", " ").split()).strip(" .\"'*`")


def _telling(options: Sequence[str]) -> list[list[str]]:
    """Return the words of each option, none of those that only signs tell apart."""
    texts = [_words(option) for option in options]
    written = [{_plain(other) for other, words in zip(options, texts, strict=True) if words == text} for text in texts]
    return [text if len(same) == 1 else [] for text, same in zip(texts, written, strict=True)]


def _words(text: str) -> list[str]:
    """Return what is compared of a text."""
    return [match[0].casefold() for match in _TOKEN.finditer(unicodedata.normalize("NFKC", text))]


def _bare(texts: Sequence[list[str]]) -> list[list[str]]:
    """Return the words of each option without its article, where they are part of no other option."""
    bare = [text[1:] if text[:1] in (["a"], ["an"], ["the"]) else text for text in texts]
    return [
        text if any(_places(other, short) for other in texts if other != text) else short
        for text, short in zip(texts, bare, strict=True)
    ]


def _places(words: Sequence[str], part: Sequence[str]) -> list[int]:
    """Return where some words stand in others."""
    return [place for place in range(len(words) - len(part) + 1) if part and words[place : place + len(part)] == part]


def _by_text(reply: str, forms: Sequence[tuple[int, list[str]]]) -> Iterator[_Mention]:
    """Yield where the text of an option stands, those inside longer ones left out."""
    tokens = list(_TOKEN.finditer(reply))
    words = [token[0].casefold() for token in tokens]
    found = [
        _Mention(index, tokens[place].start(), tokens[place + len(text) - 1].end())
        for index, text in forms
        if text not in (["a"], ["i"])
        for place in _places(words, text)
    ]
    return (item for item in found if not any(item != other and _is_inside(item, other) for other in found))


def _by_letter(reply: str, count: int) -> Iterator[_Mention]:
    for match in _LETTER.finditer(reply):
        if (index := ascii_uppercase.index(match["letter"].upper())) < count:
            yield _Mention(index, match.start(), match.end())


def _is_inside(item: _Mention, other: _Mention) -> bool:
    return other.start <= item.start and item.end <= other.end


def _alone(reply: str, item: _Mention, named: Sequence[_Mention]) -> int | None:
    """Return the option of a mention; None if another option is joined to it."""
    is_joined = any(
        _JOINED.fullmatch(reply, min(item.end, other.end), max(item.start, other.start))
        and not _CLAUSE.match(reply, max(item.end, other.end))
        for other in named
        if other.index != item.index
    )
    return None if is_joined else item.index


def _not_denied(reply: str, mentions: Sequence[_Mention]) -> list[_Mention]:
    kept, denied_end = [], -1
    for item in sorted(mentions, key=lambda item: item.start):
        is_also = denied_end >= 0 and _ALSO.fullmatch(reply, denied_end, item.start)
        if (
            is_also
            or _DENIES.search(reply, max(0, item.start - _LOOK_BACK), item.start)
            or _DENIED.match(reply, item.end)
        ):
            denied_end = item.end
        else:
            kept.append(item)
    return kept
