"""The Mandarin world: readings, sentences, facts shared with English, and judging by characters."""

import random
import re
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.nano.closed import qa
from recipes.nano.closed.judging import is_right
from recipes.nano.closed.mandarin import (
    IN_ENGLISH,
    TRANSCRIBE,
    all_mandarin_items,
    cross_examples,
    find_mandarin,
    is_cross_right,
    is_right_mandarin,
    mandarin_side,
    question_examples,
    recognition_examples,
    sentence_key,
    sentences,
    take_mandarin_sentences,
)
from recipes.nano.closed.pinyin import pinyin, to_engine
from recipes.nano.closed.scoring import character_errors, characters, chinese_number
from recipes.nano.closed.splits import is_reserved
from recipes.nano.closed.voices import MANDARIN_RESERVED, MANDARIN_SEEN


def all_texts():
    yield from islice(sentences(random.Random(0)), 500)
    yield from (*TRANSCRIBE, *IN_ENGLISH)
    for item in all_mandarin_items():
        yield from (item.question, item.answer)


def test_every_text_has_a_reading_that_the_engine_can_say():
    for text in all_texts():
        syllables = [syllable for syllable in pinyin(text) if syllable[-1].isdigit()]
        assert len(syllables) == len(characters(text))
        assert re.fullmatch(r"[a-zü0-9 ,.?]+", to_engine(text))


def test_words_change_readings():
    assert pinyin("首都") == ["shou3", "du1"]
    assert pinyin("学生，学校。") == ["xue2", "sheng5", ",", "xue2", "xiao4", "."]
    assert to_engine("绿色，茶。") == "lü4 se4, cha2."
    with pytest.raises(ValueError, match="has no reading"):
        pinyin("鑫")


def test_sentences_are_of_their_side_and_follow_the_generator():
    for reserved in (True, False):
        texts = take_mandarin_sentences(40, random.Random(1), reserved)
        assert texts == take_mandarin_sentences(40, random.Random(1), reserved)
        assert len(set(texts)) == 40
        assert all(is_reserved(sentence_key(text)) == reserved for text in texts)


def test_questions_are_distinct_and_know_the_facts_of_the_english_world():
    items = all_mandarin_items()
    assert len({item.question for item in items}) == len({item.key for item in items}) == len(items)
    assert {item.fact for item in items} <= {item.fact for item in qa.all_items()}
    assert 0.06 < len(mandarin_side(reserved=True)) / len(items) < 0.14


def test_nearly_every_fact_is_trained_in_some_phrasing():
    trained = {item.fact for item in mandarin_side(reserved=False)}
    assert len({item.fact for item in all_mandarin_items()} - trained) <= 1


def test_sums_are_the_same_in_both_languages():
    for item in all_mandarin_items():
        if item.kind in ("add", "subtract"):
            _, first, second = item.fact.split(":")
            english = next(other for other in qa.all_items() if other.fact == item.fact)
            value = next(n for n in range(21) if qa.number_words(n) == english.essential)
            assert item.essential == chinese_number(value), (first, second)


@pytest.mark.parametrize(
    ("key", "reply", "right"),
    [
        ("zh:add:seven:five/0", "七加五等于十二。", True),
        ("zh:add:seven:five/0", "12", True),
        ("zh:add:seven:five/0", "十", False),
        ("zh:add:seven:five/0", "二十", False),
        ("zh:add:seven:five/0", "十二还是十三", False),
        ("zh:capital:France/0", "巴黎", True),
        ("zh:capital:France/0", "罗马和巴黎", False),
        ("zh:capital:France/0", "Paris", False),
        ("zh:opposite:hot/0", "热的反义词是冷。", True),
        ("zh:opposite:hot/0", "冷的反义词是热。", False),
        ("zh:legs:bird/0", "鸟有二条腿", True),
        ("zh:legs:dog/0", "狗有四条腿。", True),
        ("zh:day-after:Sunday/0", "星期日后面是星期一。", True),
        ("zh:day-after:Sunday/0", "", False),
    ],
)
def test_judging_replies(key, reply, right):
    assert is_right_mandarin(find_mandarin(key), reply) is right


@pytest.mark.parametrize(
    ("key", "reply", "right"),
    [
        ("capital:France/0", "法国的首都是巴黎。", True),
        ("capital:France/0", "The capital of France is Paris.", False),  # right, but not in Mandarin
        ("zh:capital:France/0", "The capital of France is Paris.", True),
        ("zh:capital:France/0", "法国的首都是巴黎。", False),
        ("zh:capital:France/0", "Rome.", False),
    ],
)
def test_cross_language_needs_the_language_that_was_asked_for(key, reply, right):
    assert is_cross_right(key, reply) is right


def test_unknown_keys_are_named():
    with pytest.raises(ValueError, match="not a Mandarin question"):
        find_mandarin("zh:capital:Mars/0")


@pytest.mark.parametrize("draw", [recognition_examples, question_examples, cross_examples])
@pytest.mark.parametrize(("reserved", "unseen"), [(False, False), (True, False), (True, True)])
def test_examples_keep_to_their_side_and_voices(draw, reserved, unseen):
    examples = draw(30, random.Random(4), reserved, unseen)
    assert examples == draw(30, random.Random(4), reserved, unseen)
    for example in examples:
        assert is_reserved(example.key) == reserved
        assert is_right(example, example.reply.text)
        for part in example.parts:
            if part.role == "user" and part.sound:
                assert part.sound.delivery.voice.reserved == unseen


def test_cross_language_goes_both_ways_with_written_and_spoken_requests():
    examples = cross_examples(60, random.Random(0), False)
    assert {e.kind for e in examples} == {"en-zh", "zh-en"}
    assert {e.parts[0].sound is None for e in examples} == {True, False}


def test_mandarin_voices():
    assert len(MANDARIN_SEEN) >= 15
    assert len(MANDARIN_RESERVED) >= 2
    assert all(voice.reserved for voice in MANDARIN_RESERVED)
    assert not {voice.argument for voice in MANDARIN_SEEN} & {voice.argument for voice in MANDARIN_RESERVED}


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors", "length"),
    [
        ("今天天气很好。", "今天 天气很好", 0, 6),
        ("今天天气很好", "今天天很好", 1, 6),
        ("他有21个苹果", "他有二十一个苹果", 0, 8),
        ("他有１２个", "他有十二个", 0, 5),
        ("他的手机", "她的手机", 1, 4),
        ("好", "", 1, 1),
        ("我喜欢pizza", "我喜欢 PIZZA！", 0, 4),
        ("二零零七", "2007", 0, 4),
    ],
)
def test_character_errors(reference, hypothesis, errors, length):
    assert character_errors(reference, hypothesis) == (errors, length)


@given(st.integers(0, 99), st.integers(0, 99))
def test_different_numbers_have_different_characters(one, other):
    assert (chinese_number(one) == chinese_number(other)) == (one == other)
    assert characters(str(one)) == list(chinese_number(one))
