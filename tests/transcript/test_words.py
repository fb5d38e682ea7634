"""Words from tokens."""

import pytest

from kimi_audio.transcript.timed_text import Word
from kimi_audio.transcript.timed_words import words_of


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        (["Hel", "lo", ",", " there", "."], [("Hello,", 0, 3), ("there.", 3, 5)]),
        (["one two", " three"], [("one", 0, 1), ("two", 0, 1), ("three", 1, 2)]),
        (["", "é", " ", "", "x"], [("é", 1, 2), ("x", 4, 5)]),
        (["你好", "，", "世", "界"], [("你", 0, 1), ("好，", 0, 2), ("世", 2, 3), ("界", 3, 4)]),
        (["好", "OK", "了"], [("好", 0, 1), ("OK", 1, 2), ("了", 2, 3)]),
        (["(", "a", ")", " -", "b"], [("(a)", 0, 3), ("-b", 3, 5)]),
        (["don", "'t"], [("don't", 0, 2)]),
        ([" ", "\n"], []),
        ([], []),
    ],
)  # fmt: skip
def test_words(pieces: list[str], words: list[tuple[str, int, int]]):
    assert words_of(pieces, range(len(pieces) + 1)) == [Word(*word) for word in words]
