import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_audio.evals.metrics.error_rate import AlignedToken, Errors, error_rate, tokenize
from kimi_audio.evals.metrics.sclite import sclite_text

WORDS = st.lists(st.sampled_from(["a", "b", "c", "你", "好"]), max_size=6).map(" ".join)
ROWS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6)
UNITS = ("words", "characters", "mixed")


def columns(rows):
    return [row[0] for row in rows], [row[1] for row in rows]


def test_a_corpus_with_every_kind_of_error():
    # 2 hits, 1 substitution, 1 deletion; 2 hits, 1 insertion: 3 errors in 6 words.
    score = error_rate(["the cat sat down", "yes sir"], ["the cut sat", "yes oh sir"])
    assert score.errors == Errors(hits=4, substitutions=1, deletions=1, insertions=1)
    assert score.rate == 3 / 6
    assert score.sentence_error_rate == 1.0
    assert score.rows[0].tokens[1] == AlignedToken("substitute", "cat", "cut")
    assert score.rows[0].tokens[3] == AlignedToken("delete", "down", "")
    assert score.rows[1].tokens[1] == AlignedToken("insert", "", "oh")


def test_units():
    text = "我用Python 3"
    assert tokenize(text, "words") == ["我用Python", "3"]
    assert tokenize(text, "characters") == ["我", "用", "P", "y", "t", "h", "o", "n", "3"]
    assert tokenize(text, "mixed") == ["我", "用", "Python", "3"]
    assert tokenize("ひらカタ𠀀 한국", "mixed") == ["ひ", "ら", "カ", "タ", "𠀀", "한국"]


def test_empty_and_missing_rows_follow_the_policy():
    score = error_rate(["a b", "", "c d", "e"], ["a b", "x y", None, ""])
    assert score.errors == Errors(hits=2, deletions=3, insertions=2)
    assert score.answered == Errors(hits=2, deletions=1, insertions=2)
    assert score.rate == 5 / 5
    assert (score.empty_references, score.empty_predictions, score.missing.count(True)) == (1, 1, 1)


def test_no_reference_token_gives_no_rate():
    assert math.isnan(error_rate([""], ["a b"]).rate)
    assert math.isnan(error_rate([], []).rate)


def test_columns_of_different_length_are_an_error():
    with pytest.raises(ValueError, match="2 references but 1 predictions"):
        error_rate(["a", "b"], ["a"])


def test_confusions_are_counted():
    score = error_rate(["a b", "a b", "c"], ["x b", "x b", "c c"])
    assert score.confusions(1) == [(AlignedToken("substitute", "a", "x"), 2)]


def test_sclite_text_marks_errors_and_keeps_columns():
    (row,) = error_rate(["the cat sat"], ["the cut sat on"]).rows
    assert sclite_text(row, "spk-1") == (
        "id: (spk-1)\nScores: (#C #S #D #I) 2 1 0 1\nREF:  the CAT sat **\nHYP:  the CUT sat ON\nEval:     S       I\n"
    )


def test_sclite_text_counts_chinese_as_two_columns_and_wraps():
    (row,) = error_rate(["你 好 吗"], ["你 a 吗"]).rows
    lines = sclite_text(row, "1").splitlines()
    assert lines[2:5] == ["REF:  你 好 吗", "HYP:  你 A  吗", "Eval:    S"]
    assert len(sclite_text(row, "1", width=10).splitlines()) == 2 + 3 * 3
    assert sclite_text(error_rate([""], [""]).rows[0], "1").splitlines()[2] == "REF:"


@settings(max_examples=40, deadline=None)
@given(ROWS, st.sampled_from(UNITS))
def test_identical_texts_have_no_errors(rows, unit):
    texts, _ = columns(rows)
    assert error_rate(texts, texts, unit).errors.total == 0


@settings(max_examples=40, deadline=None)
@given(ROWS, st.sampled_from(UNITS))
def test_swapping_the_sides_swaps_insertions_and_deletions(rows, unit):
    left, right = columns(rows)
    forth, back = error_rate(left, right, unit).errors, error_rate(right, left, unit).errors
    assert forth.total == back.total
    # Ties between shortest ways may be broken differently, but what one side has more of stays.
    assert forth.insertions - forth.deletions == back.deletions - back.insertions


@settings(max_examples=40, deadline=None)
@given(ROWS, st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(rows, random):
    shuffled = random.sample(rows, len(rows))
    assert error_rate(*columns(rows)).errors == error_rate(*columns(shuffled)).errors


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_counts_are_bounded_and_alignments_spell_both_texts(rows):
    for (left, right), row in zip(rows, error_rate(*columns(rows)).rows, strict=True):
        words, others = left.split(), right.split()
        assert [step.reference for step in row.tokens if step.reference] == words
        assert [step.prediction for step in row.tokens if step.prediction] == others
        assert abs(len(words) - len(others)) <= row.errors.total <= max(len(words), len(others))
        assert all((step.reference == step.prediction) == (step.operation == "equal") for step in row.tokens)


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_character_errors_are_word_errors_of_split_characters(rows):
    left, right = columns(rows)
    spaced = [[" ".join(text.replace(" ", "")) for text in side] for side in (left, right)]
    assert error_rate(left, right, "characters").errors == error_rate(*spaced).errors


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_one_more_wrong_word_never_helps(rows):
    left, right = columns(rows)
    worse = [text + " wrong" for text in right]
    assert error_rate(left, worse).errors.total >= error_rate(left, right).errors.total
