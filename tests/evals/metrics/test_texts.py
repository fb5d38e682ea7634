"""Translations and captions."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_audio.evals.metrics.captions import score_captions
from kimi_audio.evals.metrics.translation import score_translations

CAPTION = st.lists(st.sampled_from(["a", "dog", "barks", "rain", "falls"]), min_size=4, max_size=7).map(" ".join)


def test_translations_come_with_signatures():
    score = score_translations(["the cat sat on the mat"], [["the cat sat on the mat"]], "en")
    assert (score.bleu, score.chrf) == (pytest.approx(100.0), pytest.approx(100.0))
    assert "tok:13a" in score.bleu_signature
    assert "version:2.6.0" in score.chrf_signature
    assert "tok:zh" in score_translations(["你好"], [["你好"]], "zh").bleu_signature


def test_a_missing_translation_counts_as_empty():
    score = score_translations(["one two three four", None], [["one two three four"], ["five six seven eight"]], "en")
    # All n-grams fit, and half the length is missing: brevity penalty exp(1 - 8/4).
    assert score.bleu == pytest.approx(100 * math.exp(-1))
    assert score.missing == 1
    with pytest.raises(ValueError, match="equally many references"):
        score_translations(["a", "b"], [["a"], ["b", "c"]], "en")


def test_cider_d_by_hand():
    # Words of one row alone weigh log 2; "barks" is in both rows and weighs nothing.
    score = score_captions(["dog barks", "rain barks"], [["dog barks"], ["cat barks"]])
    # Row 1: perfect 1-grams and 2-grams, no longer ones. Row 2: nothing that weighs is shared.
    assert score.cider_d == pytest.approx((10 * 2 / 4, 0.0))


def test_cider_d_punishes_other_lengths():
    references = [["dog"], ["cat"]]
    short, long = (score_captions([text, "x"], references).cider_d[0] for text in ("dog", "dog dog dog"))
    # The clipped weight is that of one "dog"; the norm is three times as large; two words too many.
    assert short == pytest.approx(10 / 4)
    assert 0 < long < short * math.exp(-4 / 72) / 3 + 1e-9


def test_rouge_l_by_hand():
    (value,) = score_captions(["a dog barks"], [["the dog barks loudly"]]).rouge_l
    precision, recall, beta = 2 / 3, 2 / 4, 1.2
    assert value == pytest.approx((1 + beta**2) * precision * recall / (recall + beta**2 * precision))
    assert score_captions([None], [["a"]]).rouge_l_mean == 0.0
    with pytest.raises(ValueError, match="one or more references"):
        score_captions(["a"], [[]])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(CAPTION, CAPTION), min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_captions_are_bounded_and_do_not_depend_on_order(rows, random):
    replies, references = [row[0] for row in rows], [[row[1]] for row in rows]
    score = score_captions(replies, references)
    assert all(0 <= value <= 10 + 1e-9 for value in score.cider_d)
    assert all(0 <= value <= 1 + 1e-9 for value in score.rouge_l)
    places = random.sample(range(len(rows)), len(rows))
    shuffled = score_captions([replies[place] for place in places], [references[place] for place in places])
    assert shuffled.cider_d == pytest.approx([score.cider_d[place] for place in places])
    best = score_captions([row[1] for row in rows], references)
    assert all(one >= other - 1e-9 for one, other in zip(best.cider_d, score.cider_d, strict=True))
