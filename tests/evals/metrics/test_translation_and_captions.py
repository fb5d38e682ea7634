"""Translations and captions."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from kimi_audio.evals.contract.types import EvalSample, Prediction
from kimi_audio.evals.metrics import captions, translation
from kimi_audio.evals.tasks.text_scorers import Translations

CAPTION = st.lists(st.sampled_from(["a", "dog", "barks", "rain", "falls"]), min_size=4, max_size=7).map(" ".join)


def bleu_of(replies, references, language="en"):
    metric = translation.bleu(translation.tokenizer_for(language))
    rows = [translation.counts_of(metric, *row) for row in zip(replies, references, strict=True)]
    return translation.corpus_score(metric, rows)


REPLIES = ["the cat sat on the mat", "a dog barked at two men in the park", "it rains"]
REFERENCES = [["the cat is on the mat", "a cat sat on the mat"], ["the dog barked at men in a park"] * 2, ["rain"] * 2]


def test_added_counts_are_the_public_scores_of_a_corpus():
    columns = [list(column) for column in zip(*REFERENCES, strict=True)]
    assert bleu_of(REPLIES, REFERENCES) == pytest.approx(BLEU().corpus_score(REPLIES, columns).score)
    chrf = translation.chrf()
    rows = [translation.counts_of(chrf, *row) for row in zip(REPLIES, REFERENCES, strict=True)]
    assert translation.corpus_score(chrf, rows) == pytest.approx(CHRF().corpus_score(REPLIES, columns).score)
    assert math.isnan(translation.corpus_score(chrf, []))


def test_signatures_name_tokenizer_and_version():
    assert translation.signature(translation.bleu("13a")) == "case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0"
    assert [translation.tokenizer_for(name) for name in ("en", "zh-CN", "ko", "th")] == ["13a", "zh", "char", "char"]
    assert all(f"tok:{name}|" in Translations().versions()[f"bleu {name}"] for name in ("13a", "zh", "char"))
    assert "version:2.6.0" in translation.signature(translation.chrf())


def test_words_that_are_cut_in_several_ways_have_no_common_bleu():
    rows = [
        Translations().score(EvalSample(code, reference=text, meta={"language": code}), Prediction(text)).values["bleu"]
        for code, text in (
            ("en", "the cat sat on the mat"),
            ("de", "die Katze sass auf der Matte"),
            ("zh", "今天天气好"),
        )
    ]
    combine = Translations.metrics[0].combine
    assert combine(rows[:2]) == pytest.approx(100)
    assert combine(rows[2:]) == pytest.approx(100)
    assert math.isnan(combine(rows))


def test_a_missing_translation_counts_as_empty():
    # All n-grams fit, and half the length is missing: brevity penalty exp(1 - 8/4).
    bleu = bleu_of(["one two three four", ""], [["one two three four"], ["five six seven eight"]])
    assert bleu == pytest.approx(100 * math.exp(-1))


def ciders(replies, references):
    tokens = captions.caption_tokens
    return captions.cider_d(
        [(tokens(reply), [tokens(text) for text in row]) for reply, row in zip(replies, references, strict=True)]
    )


def test_cider_d_by_hand():
    # Words of one row alone weigh log 2; "barks" is in both rows and weighs nothing.
    score = ciders(["dog barks", "rain barks"], [["dog barks"], ["cat barks"]])
    # Row 1: perfect 1-grams and 2-grams, no longer ones. Row 2: nothing that weighs is shared.
    assert score == pytest.approx([10 * 2 / 4, 0.0])


def test_cider_d_punishes_other_lengths():
    references = [["dog"], ["cat"]]
    short, long = (ciders([text, "x"], references)[0] for text in ("dog", "dog dog dog"))
    # The clipped weight is that of one "dog"; the norm is three times as large; two words too many.
    assert short == pytest.approx(10 / 4)
    assert 0 < long < short * math.exp(-4 / 72) / 3 + 1e-9


def test_rouge_l_by_hand():
    value = captions.rouge_l(["a", "dog", "barks"], [["the", "dog", "barks", "loudly"]])
    precision, recall, beta = 2 / 3, 2 / 4, 1.2
    assert value == pytest.approx((1 + beta**2) * precision * recall / (recall + beta**2 * precision))
    assert captions.rouge_l([], [["a"]]) == 0.0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(CAPTION, CAPTION), min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_captions_are_bounded_and_do_not_depend_on_order(rows, random):
    replies, references = [row[0] for row in rows], [[row[1]] for row in rows]
    score = ciders(replies, references)
    assert all(0 <= value <= 10 + 1e-9 for value in score)
    for reply, (reference,) in zip(replies, references, strict=True):
        said, wanted = captions.caption_tokens(reply), captions.caption_tokens(reference)
        assert 0 <= captions.rouge_l(said, [wanted]) <= 1 + 1e-9
    places = random.sample(range(len(rows)), len(rows))
    shuffled = ciders([replies[place] for place in places], [references[place] for place in places])
    assert shuffled == pytest.approx([score[place] for place in places])
    best = ciders([row[1] for row in rows], references)
    assert all(one >= other - 1e-9 for one, other in zip(best, score, strict=True))
