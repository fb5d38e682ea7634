"""Subtitles are what players read."""

import itertools
import re

from hypothesis import given
from hypothesis import strategies as st

from kimi_audio.transcript.subtitles import MAX_CHARS, MAX_S, captions, to_srt, to_vtt
from kimi_audio.transcript.timed_text import Segment, Word, joined

HELLO = Segment("Hello, there.", 0.0, 1.2345)
LATE = Segment("a < b & c --> d", 3661.0005, 3662.9999)


def test_srt():
    assert to_srt([HELLO, LATE]) == (
        "1\n00:00:00,000 --> 00:00:01,234\nHello, there.\n\n2\n01:01:01,000 --> 01:01:03,000\na < b & c -> d\n\n"
    )
    assert to_srt([]) == ""


def test_vtt():
    assert to_vtt([HELLO, LATE]) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.234\nHello, there.\n\n"
        "01:01:01.000 --> 01:01:03.000\na &lt; b &amp; c --&gt; d\n\n"
    )
    assert to_vtt([]) == "WEBVTT\n\n"


def test_a_caption_lasts_and_has_no_empty_line():
    (caption,) = to_srt([Segment("one\n\n2\r\ntwo ", 5.0, 5.0)]).split("\n\n")[:-1]
    assert caption == "1\n00:00:05,000 --> 00:00:05,001\none 2 two"


def words_of(text: str, each_s: float) -> tuple[Word, ...]:
    return tuple(Word(word, number * each_s, (number + 0.5) * each_s) for number, word in enumerate(text.split()))


@given(st.lists(st.text("abc", min_size=1, max_size=30), min_size=1, max_size=40), st.floats(0.01, 3))
def test_long_segments_are_cut_between_words(texts: list[str], each_s: float):
    text = " ".join(texts)
    words = words_of(text, each_s)
    found = list(captions([Segment(text, 0.0, words[-1].end_s, words)]))
    assert " ".join(one.text for one in found) == text
    assert all(len(one.text) <= MAX_CHARS and one.end_s - one.start_s <= MAX_S for one in found)
    assert all(one.end_s <= other.start_s for one, other in itertools.pairwise(found))
    assert len(found) == 1 or len(text) > MAX_CHARS or words[-1].end_s > MAX_S


def test_segments_without_words_stay_whole():
    text = "word " * 100
    assert [one.text for one in captions([Segment(text, 0, 30)])] == [text.strip()]


def test_numbers_count_captions():
    text = "word " * 100
    srt = to_srt([Segment(text, 0, 30, words_of(text, 0.3)), HELLO])
    numbers = [int(number) for number in re.findall(r"^\d+$", srt, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 4


def test_texts_are_joined_without_spaces_in_chinese():
    assert joined(["", "one", "", "two.", "你好", "世界。", "three"]) == "one two. 你好世界。 three"
    assert joined(["他说：", "“对。”", "——是", "ｱｲ", "ｳｴ"]) == "他说：“对。”——是ｱｲｳｴ"
    assert joined(["“yes”", "—", "привет", "你好", "“no”"]) == "“yes” — привет 你好 “no”"


def test_segments_survive_json():
    segment = Segment("a b", 0.12345, 1.0, (Word("a", 0.1, 0.2), Word("b", 0.3, 0.4)))
    values = segment.as_dict()
    assert values["start_s"] == 0.123
    assert Segment.from_dict(values).as_dict() == values
    assert "words" not in HELLO.as_dict()
