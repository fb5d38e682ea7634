"""Long texts are cut into pieces that a model reads to their end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_audio.aloud import read_in_pieces

NANO = 2048
FOX = "The quick brown fox jumps over the lazy dog while the sun goes down behind the hills."


def test_a_short_text_is_one_piece():
    assert read_in_pieces(FOX, NANO) == [FOX]
    assert read_in_pieces(" ", NANO) == [" "]


def test_pieces_end_with_sentences_and_fit_well():
    pieces = read_in_pieces(" ".join([FOX] * 40), NANO)
    assert set(pieces) == {f"{FOX} {FOX}"}
    assert all(len(piece) / 15 <= 14 for piece in pieces)  # s, as long as what nano learned from
    assert len(read_in_pieces(" ".join([FOX] * 40), 4 * NANO)) < 6


def test_an_abbreviation_before_small_letters_ends_no_sentence():
    text = FOX + " " + "One e.g. two " * 20
    assert read_in_pieces(text, NANO)[0] == FOX


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("words, " * 90, ","),
        ("words " * 90, "s"),
        ("狐狸跳过了懒狗。" * 40, "。"),
        ("狐狸跳过了懒狗，" * 40, "，"),
    ],
)
def test_a_long_sentence_is_cut_at_commas_or_between_words(text, end):
    pieces = read_in_pieces(text, NANO)
    assert len(pieces) > 2
    assert all(piece.endswith(end) for piece in pieces)


def test_what_takes_longer_to_say_is_cut_earlier():
    assert len(read_in_pieces("9" * 1000, NANO)) > 2 * len(read_in_pieces("a" * 1000, NANO)) > 4


@given(st.text("ab, .。，\n1“”", max_size=400), st.integers(5, 3000))
def test_nothing_is_lost(text, context_tokens):
    pieces = read_in_pieces(text, context_tokens)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(piece == piece.strip() for piece in pieces) or not text.strip()
