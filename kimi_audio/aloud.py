"""Long texts that are read aloud: cut into pieces, each of which a model reads well to its end."""

import re
import unicodedata

from kimi_audio.core.units import INPUT_RATE_HZ, SAMPLES_PER_TOKEN
from kimi_audio.core.words import is_ideographic
from kimi_audio.lm.rules import DEFAULT_NEW_TOKENS

# A piece takes a part of the context only: instructions and a slow voice need room, and models read worse what is
# longer than what they learned from. Of nano's 2,048 positions these are some 200 letters, or 14 s.
_SHARE = 0.2
# Positions of a character: its text in the prompt, and the codes of its speech, which the text is said beside.
_CODES_PER_S = INPUT_RATE_HZ / SAMPLES_PER_TOKEN
_LETTER = 0.5 + _CODES_PER_S / 9  # 15 letters a second are usual
_WORD = 1.0 + _CODES_PER_S / 3  # a digit, a symbol, or a character of a script without spaces
_BORDERS = (  # the best first; what follows a border is not part of it
    re.compile(r"[.!?…]+[\"'”’)\]]*\s+(?![a-z\s])|[。！？…]+[”’」』）]*|\n\s*"),
    re.compile(r"[,;:][\"'”’)\]]*\s+|\s[-–—]\s|[，；：、]"),
    re.compile(r"\s+"),
)


def read_in_pieces(text: str, context_tokens: int) -> list[str]:
    """Return a text in pieces that a model with such a context reads one after the other.

    It is cut at the ends of sentences; a sentence that is too long, behind commas, or between words.
    """
    room = min(_SHARE * context_tokens, DEFAULT_NEW_TOKENS["both"])
    pieces, start = [], 0
    while start < len(text):
        end = _border(text, start, _reach(text, start, room))
        pieces.append(text[start:end].strip())
        start = end
    return [piece for piece in pieces if piece] or [text]


def _reach(text: str, start: int, room: float) -> int:
    """Return up to where there is room, one character at least."""
    for place in range(start, len(text)):
        room -= _positions(text[place])
        if room < 0 and place > start:
            return place
    return len(text)


def _positions(char: str) -> float:
    is_word = char.isdigit() or is_ideographic(char) or unicodedata.category(char)[0] == "S"
    return _WORD if is_word else _LETTER


def _border(text: str, start: int, reach: int) -> int:
    """Return where to cut, at most at ``reach``."""
    if reach == len(text):
        return reach
    for pattern in _BORDERS:
        # A character more, so that it is known what follows.
        ends = [found.end() for found in pattern.finditer(text, start, reach + 1) if start < found.end() <= reach]
        if ends:
            return ends[-1]
    return reach
