"""The compatibility profile against the documented behaviour of the official Evalkit."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_audio.evals.metrics.cn_tn import read_digits
from kimi_audio.evals.metrics.evalkit import evalkit_error_rate, evalkit_normalize, evalkit_tokens
from kimi_audio.evals.metrics.transcription import score_transcripts

# Results of the original, faults included.
READINGS = [
    ("1500", "一五零零"),
    ("１００", "一百零十零"),
    ("1,000元", "一 元"),
    ("2008-08-08", "二零零八零八零八"),
    ("-5度", "五度"),
    ("12:30", "十二 三十"),
    ("1kg", "一kg"),
]
# The plain reading where the original's results are not known.
PRESUMED = [
    ("1500元", "一千五百元"),
    ("2008年8月8日", "二零零八年八月八日"),
    ("3.5", "三点五"),
    ("50%", "百分之五十"),
    ("3/4", "四分之三"),
    ("200个", "两百个"),
    ("22", "二十二"),
    ("20000005人", "两千万零五人"),
    ("13800138000", "一三八零零一三八零零零"),
    ("第10名", "第十名"),
]
TOKENS = [
    ("en", "3.5", ["3", "5"]),
    ("en", "$5", ["5"]),
    ("en", "50%", ["50"]),
    ("en", "<|en|>Hello , world !", ["hello", "world"]),
    ("en", "I'm twenty-one.", ["i", "am", "21"]),
    ("zh", "hello world 你好", ["helloworld", "你", "好"]),
    ("zh", "<|zh|> 你 好 ， 吗 ？", ["你", "好", "吗"]),
    ("zh", "OK，你好", ["ok", "你", "好"]),
    ("zh", "ＡＢ你", ["ａ", "ｂ", "你"]),  # full-width letters are tokens, and stay full-width
    ("zh", "嗯花儿漢", ["嗯", "花", "儿", "漢"]),  # fillers, erhua, traditional characters stay
    ("yue", "漢字，係", ["汉", "字", "系"]),
    ("de", "Grüß Gott!", ["grüß", "gott"]),
]


@pytest.mark.parametrize(("text", "expected"), READINGS + PRESUMED)
def test_digits_are_read_like_the_original(text, expected):
    assert read_digits(text) == expected


@pytest.mark.parametrize(("language", "text", "expected"), TOKENS)
def test_tokens(language, text, expected):
    assert evalkit_tokens(text, language) == expected


def test_white_space_before_punctuation_goes_and_markers_become_spaces():
    assert evalkit_normalize("  <|a|>one<|b|>two", "de") == "one two"


def test_an_english_run_in_chinese_is_one_word():
    for prediction in ("hello word 你好", "hallo word 你好"):
        assert evalkit_error_rate(["hello world 你好"], [prediction], "zh").wer == 33.33


def test_null_rows_are_dropped_and_counted():
    score = evalkit_error_rate(["a b c", "null", "d"], ["a b x", "null", None], "en")
    assert (score.wer, score.dropped) == (33.33, 2)
    assert score.rows[1:] == (None, None)


def test_equal_to_the_evalkit_means_unequal_to_a_proper_score():
    score = score_transcripts(["it costs $5 or 3.5"], ["it costs 5 or 3 5"], "en")
    assert score.evalkit.wer == 0.0
    assert score.wer.rate > 0


def test_both_profiles_are_always_reported():
    references = ["COVID-19在2008年，1,000元", "你好 world"]
    score = score_transcripts(references, ["covid 十九在二零零八年一千元", None], "zh-CN")
    assert score.primary is score.mer
    assert score.mer.errors.total == score.mer.errors.deletions == 3
    assert score.mer.answered.total == 0
    assert score.evalkit.dropped == 1
    assert score.evalkit.errors.total == 1  # it lost a thousand
    assert score.normalizer.startswith("chinese/1 (wetext ")
    assert score.evalkit_normalizer.startswith("evalkit/1 (sacrebleu 2.6.0")
    assert score_transcripts(["a"], ["a"], "en").primary.unit == "words"


def test_where_the_evalkit_crashes_there_is_no_score():
    assert math.isnan(evalkit_error_rate(["..."], ["a"], "en").wer)
    assert math.isnan(evalkit_error_rate([], [], "en").wer)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text("ab你好1５，. %-", max_size=8), min_size=1, max_size=4), st.sampled_from(["zh", "en"]))
def test_identical_texts_have_no_errors_and_tokens_hold_no_space(texts, language):
    assert evalkit_error_rate(texts, texts, language).errors.total == 0
    assert all(token == "".join(token.split()) for text in texts for token in evalkit_tokens(text, language))
