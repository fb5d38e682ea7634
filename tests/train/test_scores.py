"""What is said about held-out samples, and what is left unsaid."""

import pytest

from kimi_audio.train.scores import word_error_rate


@pytest.mark.parametrize(
    ("said", "heard", "rate"),
    [
        ("one two", "one", 0.5),
        ("今天天气", "今天下雨", 0.5),
        ("добрый день", "Добрый день.", 0.0),
        ("добрый день", "нет", 1.0),
        ("你好", "", 1.0),
        ("请打开 iphone", "iphone", 0.75),
    ],
)
def test_what_was_said_in_any_script_has_an_error_rate(said: str, heard: str, rate: float):
    assert word_error_rate([(said, heard)]) == {"dev_wer": rate}


def test_where_nothing_was_said_there_is_no_error_rate():
    assert word_error_rate([]) == word_error_rate([("...", "one")]) == {}
