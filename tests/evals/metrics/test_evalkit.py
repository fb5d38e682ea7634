"""The compatibility profile against results of the official Evalkit."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_audio.evals.metrics.cn_tn import read_digits
from kimi_audio.evals.metrics.evalkit import evalkit_errors, evalkit_normalize, evalkit_tokens

# Results of the original, faults included; without the spaces that punctuation leaves, if they do not matter.
READINGS = [
    ("1500", "一五零零"),
    ("１００", "一百零十零"),
    ("1,000元", "一 元"),
    ("2008-08-08", "二零零八 零八 零八"),
    ("-5度", " 五度"),
    ("12:30", "十二 三十"),
    ("1kg", "一kg"),
    ("1500元", "一千五百元"),
    ("2008年8月8日", "二零零八年八月八日"),
    ("3.5", "三点五"),
    ("50%", "百分之五十"),
    ("0.5%", "百分之零点五"),
    ("3/4", "四分之三"),
    ("200个", "两百个"),
    ("22", "二十二"),
    ("20000005人", "二零零零零零零五人"),
    ("20年后", "二十年后"),
    ("95年", "九五年"),
    ("1998年", "一九九八年"),
    ("11年级", "十一年级"),
    ("0岁", "零岁"),
    ("10～16个", "十 十六个"),
    ("13800138000", "一三八零零一三八零零零"),
    ("010-62345678", "零一零六二三四五六七八"),
    ("第10名", "第十名"),
    ("12000米", "一二零零零米"),
    ("12000个", "一万两千个"),
    ("2亿", "二亿"),
    ("B2B", "B2B"),
    ("5多块", "五多块"),
    ("1111", "一一一一"),
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


@pytest.mark.parametrize(("text", "expected"), READINGS)
def test_digits_are_read_like_the_original(text, expected):
    assert read_digits(text) == expected


@pytest.mark.parametrize(("language", "text", "expected"), TOKENS)
def test_tokens(language, text, expected):
    assert evalkit_tokens(text, language) == expected


def test_white_space_before_punctuation_goes_and_markers_become_spaces():
    assert evalkit_normalize("  <|a|>one<|b|>two", "de") == "one two"


def test_the_list_of_contractions_is_that_of_the_original():
    assert evalkit_tokens("the cause of it, kinda", "en") == ["the", "cause", "of", "it", "kinda"]


def test_an_english_run_in_chinese_is_one_word():
    for prediction in ("hello word 你好", "hallo word 你好"):
        assert evalkit_errors("hello world 你好", prediction, "zh") == (1, 3)


def test_null_is_dropped():
    assert evalkit_errors("null", "null", "en") is None
    assert evalkit_errors("a b", "", "en") == (2, 2)


@settings(max_examples=30, deadline=None)
@given(st.text("ab你好1５，. %-", max_size=8), st.sampled_from(["zh", "en"]))
def test_identical_texts_have_no_errors_and_tokens_hold_no_space(text, language):
    errors = evalkit_errors(text, text, language)
    assert errors is None or errors[0] == 0
    assert all(token == "".join(token.split()) for token in evalkit_tokens(text, language))
