import jiwer
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_audio.evals.metrics.error_rate import AlignedStep, Errors, align, count_errors, count_steps, tokenize
from kimi_audio.evals.metrics.sclite import sclite_text

WORDS = st.lists(st.sampled_from(["a", "b", "c", "你", "好"]), max_size=6)


def aligned(left: str, right: str):
    return align(left.split(), right.split())


def test_every_kind_of_error():
    row = aligned("the cat sat down here", "oh the cut sat here")
    assert count_steps(row) == Errors(hits=3, substitutions=1, deletions=1, insertions=1)
    assert row[0] == AlignedStep("insert", "", "oh")
    assert row[2] == AlignedStep("substitute", "cat", "cut")
    assert row[4] == AlignedStep("delete", "down", "")


def test_units():
    text = "我用Python 3"
    assert tokenize(text, "words") == ["我用Python", "3"]
    assert tokenize(text, "characters") == ["我", "用", "P", "y", "t", "h", "o", "n", "3"]
    assert tokenize(text, "mixed") == ["我", "用", "Python", "3"]
    assert tokenize("ひらカタ𠀀 한국", "mixed") == ["ひ", "ら", "カ", "タ", "𠀀", "한국"]
    assert tokenize("ดี ok ລາວ", "mixed") == ["ด", "ี", "ok", "ລ", "າ", "ວ"]


def test_sclite_text_marks_errors_and_keeps_columns():
    assert sclite_text(aligned("the cat sat", "the cut sat on"), "spk-1") == (
        "id: (spk-1)\nScores: (#C #S #D #I) 2 1 0 1\nREF:  the CAT sat **\nHYP:  the CUT sat ON\nEval:     S       I\n"
    )


def test_sclite_text_counts_chinese_as_two_columns_and_wraps():
    row = aligned("你 好 吗", "你 a 吗")
    assert sclite_text(row, "1").splitlines()[2:5] == ["REF:  你 好 吗", "HYP:  你 A  吗", "Eval:    S"]
    assert len(sclite_text(row, "1", width=10).splitlines()) == 2 + 3 * 3
    assert sclite_text(aligned("", ""), "1").splitlines()[2] == "REF:"


@settings(max_examples=100, deadline=None)
@given(WORDS, WORDS)
def test_as_many_errors_as_jiwer_counts_and_alignments_spell_both_texts(left, right):
    row = align(left, right)
    assert [step.reference for step in row if step.reference] == left
    assert [step.prediction for step in row if step.prediction] == right
    assert all((step.reference == step.prediction) == (step.operation == "equal") for step in row)
    theirs = jiwer.process_words(" ".join(left), " ".join(right))
    assert count_steps(row).total == theirs.substitutions + theirs.deletions + theirs.insertions
    assert count_errors(left, right) == (count_steps(row).total, count_steps(row).reference_tokens)
