"""Our normalisers: what is heard the same is written the same."""

import pytest

from kimi_audio.evals.metrics import normalizers
from kimi_audio.evals.metrics.libraries import eval_extra
from kimi_audio.evals.metrics.normalizers import BASIC, CHINESE, ENGLISH, normalizer_for

ENGLISH_CASES = [
    ("Hello, World!", "hello world"),
    ("I'm Mr. Smith", "i am mister smith"),
    ("twenty one", "21"),
    ("It costs $5.", "it costs $5"),
    ("<|en|> hi (noise)", "hi"),
    ("I don’t know what it‘s for…", "i do not know what it is for"),
    ("the cause of the fire", "the cause of the fire"),
]
CHINESE_CASES = [
    ("今天，是1号。", "今天 是一号"),
    ("1500", "一千五百"),
    ("１００元", "一百元"),
    ("1,000元", "一千元"),
    ("2008-08-08", "二零零八年八月八日"),
    ("-5度", "负五度"),
    ("12:30", "十二点三十分"),
    ("1kg", "一千克"),
    ("50%", "百分之五十"),
    ("漢語臺灣", "汉语台湾"),
    ("COVID-19", "covid 十九"),
    ("<|zh|>用Python吧！", "用python吧"),
    ("《》", ""),
]


@pytest.mark.parametrize(("text", "expected"), ENGLISH_CASES)
def test_english(text, expected):
    assert ENGLISH(text) == expected


@pytest.mark.parametrize(("text", "expected"), CHINESE_CASES)
def test_chinese(text, expected):
    assert CHINESE(text) == expected


@pytest.mark.parametrize("text", [case[0] for case in CHINESE_CASES])
def test_chinese_twice_is_chinese_once(text):
    assert CHINESE(CHINESE(text)) == CHINESE(text)


def test_languages_find_their_normalizer():
    codes = ("en", "en_US", "zh", "zh-CN", "cmn_hans_cn", "yue", "de", "")
    assert [normalizer_for(code) for code in codes] == [ENGLISH] * 2 + [CHINESE] * 4 + [BASIC] * 2
    assert BASIC("Grüß Gott, [Lachen] Welt!") == "grüß gott welt"


@pytest.mark.parametrize(
    ("one", "other"),
    [("जाता", "जाती"), ("กา", "กี"), ("كَتَبَ", "كُتِبَ"), ("కా", "కీ")],
    ids=["hindi", "thai", "arabic", "telugu"],
)
def test_vowel_signs_are_heard(one, other):
    assert BASIC(one) != BASIC(other)


def test_fingerprint_names_the_versions():
    assert ENGLISH.fingerprint == "english/2 (whisper_normalizer 0.1.15)"
    assert CHINESE.fingerprint.startswith("chinese/1 (wetext 0.1.8, opencc ")
    assert normalizers.Normalizer("x", 2, ("no-such-library",), str).fingerprint == "x/2 (no-such-library missing)"


def test_a_missing_library_is_explained():
    message = r"no_such_library is missing: install kimi-audio\[eval\]"
    with pytest.raises(ModuleNotFoundError, match=message), eval_extra():
        import no_such_library  # noqa: F401  # pyright: ignore[reportMissingImports]
