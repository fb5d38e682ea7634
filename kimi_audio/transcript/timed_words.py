"""Words and their times from the tokens of a transcript and the times of those."""

from collections.abc import Iterable, Sequence

from kimi_audio.core.words import is_ideographic
from kimi_audio.transcript.timed_text import Word


def words_of(pieces: Iterable[str], starts_s: Sequence[float]) -> list[Word]:
    """Return the words of a text.

    A word ends at a space; each character of a script without spaces is one, with the punctuation that follows it.

    Args:
        pieces: the text that each token completes, which may be none.
        starts_s: when each token begins, and when the last one ends.
    """
    words: list[Word] = []
    last = " "
    for number, piece in enumerate(pieces):
        start_s, end_s = starts_s[number], starts_s[number + 1]
        for char in piece:
            if not char.isspace():
                if last.isspace() or (char.isalnum() and (is_ideographic(char) or is_ideographic(last))):
                    words.append(Word(char, start_s, end_s))
                else:
                    words[-1] = Word(words[-1].text + char, words[-1].start_s, max(words[-1].end_s, end_s))
            last = char
    return words
