"""What is said about held-out samples, and what is left unsaid."""

import pytest

from kimi_audio.train.scores import task_losses, word_error_rate


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


def test_where_nothing_could_be_read_there_is_no_loss():
    class Gone:
        name, positions, rows = "talk.jsonl:1", 8, {"text"}

        def build(self):
            raise OSError("there is no file")

    told = []
    scores = task_losses(lambda _batch: 1 / 0, {"asr": [Gone()]}, 64, 0, lambda name, _error: told.append(name))
    assert (scores, told) == ({}, ["talk.jsonl:1"])
