"""The written side of the corpora: sentences, questions, transcripts and what is kept for evaluation."""

import hashlib
import random
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_audio.core.words import MAX_NUMBER, normalise, number_words
from recipes.nano.closed.qa import all_items, find_item, is_right, side, take_questions
from recipes.nano.closed.sentences import sentences, take_sentences
from recipes.nano.closed.splits import is_reserved
from recipes.nano.closed.vocabulary import WORDS

RESERVED_COUNT, RESERVED_DIGEST = 1009, "6213dc5e07286f98"

seeds = st.integers(0, 2**32)


@given(st.text())
def test_transcripts_have_a_closed_alphabet_and_normalise_to_themselves(text):
    transcript = normalise(text)
    assert re.fullmatch(r"([a-z']+( [a-z']+)*)?", transcript)
    assert normalise(transcript) == transcript


@pytest.mark.parametrize(
    ("text", "transcript"),
    [
        ("Where's “Zoë”?", "where's zoe"),
        ("It’s 21 o'clock, 'tis!", "it's twenty one o'clock tis"),
        ("1,000 or 1,5 or 007", "one thousand or one five or zero zero seven"),
        ("Twenty-one A.M.", "twenty one a m"),
        ("", ""),
    ],
)
def test_transcript_examples(text, transcript):
    assert normalise(text) == transcript


def test_numbers_are_read_as_in_speech():
    assert number_words(0) == "zero"
    assert number_words(144) == "one hundred forty four"
    assert number_words(1_000_020) == "one million twenty"
    with pytest.raises(ValueError, match="outside 0 to"):
        number_words(MAX_NUMBER + 1)


@given(st.lists(st.integers(0, MAX_NUMBER), min_size=2, max_size=2, unique=True))
def test_different_numbers_have_different_words(numbers):
    assert len({number_words(number) for number in numbers}) == 2


def test_every_word_is_heard_about_equally_often():
    vocabulary = {word for words in WORDS.values() for phrase in words for word in normalise(phrase).split()}
    texts = take_sentences(12_000, random.Random(0), reserved=False)
    counts = Counter(word for text in texts for word in normalise(text).split())
    assert len(vocabulary) >= 1500
    assert min(counts[word] for word in vocabulary) >= 20
    often = sorted(counts[word] for word in vocabulary)[: round(0.95 * len(vocabulary))]
    assert often[-1] < 4 * often[0]  # apart from function words


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_sentences_are_written_whole_and_follow_the_generator(seed):
    def first(count):
        stream = sentences(random.Random(seed))
        return [next(stream) for _ in range(count)]

    texts = first(50)
    assert texts == first(50)
    for text in texts:
        assert re.fullmatch(r"[A-Z][A-Za-z', ]*[.?]", text)
        assert 3 <= len(normalise(text).split()) <= 11
        assert not re.search(r"\b[Aa] [aeio]", text)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_training_texts_and_reserved_texts_never_meet(seed):
    generator = random.Random(seed)
    assert not any(is_reserved(normalise(text)) for text in take_sentences(60, generator, reserved=False))
    assert all(is_reserved(normalise(text)) for text in take_sentences(10, generator, reserved=True))
    assert not any(is_reserved(item.key) for item in take_questions(60, generator, reserved=False))
    assert all(is_reserved(item.key) for item in take_questions(10, generator, reserved=True))


def test_a_tenth_is_reserved():
    texts = [f"sentence {number}" for number in range(20_000)]
    assert sum(map(is_reserved, texts)) / len(texts) == pytest.approx(0.1, abs=0.01)
    assert len(side(reserved=True)) / len(all_items()) == pytest.approx(0.1, abs=0.01)
    assert len(side(reserved=True)) + len(side(reserved=False)) == len(all_items())


def test_the_reserved_tenth_is_fixed():
    """The released scores hold only as long as these keys stay on their sides."""
    reserved = [item.key for item in all_items() if is_reserved(item.key)]
    assert len(reserved) == RESERVED_COUNT
    assert hashlib.sha256("\n".join(sorted(reserved)).encode()).hexdigest()[:16] == RESERVED_DIGEST


def test_questions_are_distinct_plain_words():
    items = all_items()
    assert len({item.question for item in items}) == len({item.key for item in items}) == len(items)
    for item in items:
        assert not re.search(r"\d", item.question + item.answer)
        assert item.essential == normalise(item.essential)


def test_nearly_every_fact_is_trained_in_some_phrasing():
    trained = {item.fact for item in side(reserved=False)}
    facts = {item.fact for item in all_items()}
    assert len(facts - trained) < 0.001 * len(facts)


def test_the_own_answer_is_right_in_any_writing():
    for item in all_items()[::7]:
        assert is_right(item, item.answer)
        assert is_right(item, item.answer.upper().replace(",", " ").rstrip(".") + " !")
        assert is_right(item, normalise(item.answer))
        assert not is_right(item, "")
        assert not is_right(item, item.question) or item.essential in normalise(item.question)


def test_the_answer_to_another_question_is_wrong():
    generator = random.Random(0)
    by_kind = {}
    for item in all_items():
        by_kind.setdefault(item.kind, []).append(item)
    for items in by_kind.values():
        for _ in range(200):
            asked, told = generator.choices(items, k=2)
            if asked.essential != told.essential:
                assert not is_right(asked, told.answer), (asked, told)


def _item(fact):
    return next(item for item in all_items() if item.fact == fact)


@pytest.mark.parametrize(
    ("fact", "reply", "right"),
    [
        ("add:seven:five", "It is twelve.", True),
        ("add:seven:five", "12", True),
        ("add:seven:five", "Seven plus twelve is nineteen.", False),
        ("add:zero:five", "Zero plus five is zero.", False),
        ("add:sixteen:five", "Sixteen plus five is twenty.", False),
        ("add:sixteen:five", "Sixteen plus five is twenty-one.", True),
        ("add:sixteen:four", "Sixteen plus four is twenty-one.", False),
        ("capital:France", "Paris", True),
        ("capital:France", "Rome or Paris", False),
        ("capital:France", "The capital of Paris is France.", True),  # names the answer and no other
        ("spell:cat", "c a t", True),
        ("spell:cat", "C, A, T, S.", False),
        ("count:three:five", "three four five", True),
        ("count:three:five", "Three, four, six.", False),
        ("larger:two:three", "Three is larger than two.", False),  # the answer must be the last one said
        ("opposite:hot", "Hot is the opposite of warm.", False),
    ],
)
def test_judging_replies(fact, reply, right):
    assert is_right(_item(fact), reply) is right


def test_evaluation_and_training_draw_from_every_kind():
    kinds = {item.kind for item in all_items()}
    assert {item.kind for item in take_questions(2000, random.Random(1), reserved=False)} == kinds


def test_questions_are_found_by_their_key():
    for item in all_items()[::100]:
        assert find_item(item.key) is item
    with pytest.raises(ValueError, match="not a question"):
        find_item("add:seven:cheese/0")
