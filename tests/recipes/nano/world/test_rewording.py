"""Other words: what people say is said differently and means the same, and some words are kept from training."""

import itertools
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_audio.core.words import normalise
from recipes.nano.evaluation_recordings import in_other_words
from recipes.nano.stock import WORDNET
from recipes.nano.world import refusals, small_talk
from recipes.nano.world.registry import KINDS, REWORDED_SHARES, take_talks
from recipes.nano.world.rewording import Use, expanded, other_words, reworded
from recipes.nano.world.types import Talk, Turn
from recipes.nano.world.wording import is_decent, is_readable, read_list

needs_wordnet = pytest.mark.skipif(not WORDNET.is_dir(), reason="Debian's package wordnet-base is not installed")


def otherwise(text: str, use: Use = Use.LEARNING, kind: str = "definition") -> set[str]:
    """Return what a turn may be turned into."""
    talk = Talk(kind, (Turn(text, "A reply."),), "a reply")
    drawn = (reworded([talk] * 200, random.Random(seed), use) for seed in range(3))
    return {other.turns[0].said for some in drawn for other in some}


def test_choices_are_written_out_and_leave_no_space_behind():
    assert expanded("[a/b] c") == ("a c", "b c")
    assert expanded("Go [now/] [please/].") == ("Go now please.", "Go now.", "Go please.", "Go.")
    assert expanded("No choice, none.") == ("No choice, none.",)


def test_a_known_wording_gets_others_with_the_same_words_in_its_slots():
    found = otherwise("What does brave mean?")
    assert len(found) > 50
    assert all("brave" in text.lower() for text in found)
    assert "What does brave mean?" not in found


def test_articles_follow_the_word_that_they_stand_before():
    assert {"What's an owl?", "Describe an owl."} <= otherwise("What is an owl?")
    assert not [text for text in otherwise("Tell me if an owl is a bird.") if re.search(r"\ba owl|\ban bird", text)]


def test_numbers_stay_in_their_places():
    found = otherwise("What is seven minus two?")
    assert {"Take two from seven.", "Calculate seven minus two."} <= found
    assert not [text for text in found if "two minus seven" in text.lower()]


def test_the_first_line_that_fits_counts():
    found = otherwise("What is my number plus two?")
    assert found
    assert all("my number" in text.lower() or re.search(r"\b(it|that)\b", text) for text in found)


def test_what_has_no_other_words_or_must_be_said_back_is_left_out():
    assert not otherwise("The weather in the mountains was bad.")
    assert not otherwise("What does brave mean?", kind="echo")


def test_requests_that_are_refused_keep_their_words():
    phrasing, reply = next(pair for pair in refusals.phrasings() if "{" not in pair[0])
    asked = Talk("refusal", (Turn("What does brave mean?", reply), Turn(phrasing, reply)), "")
    assert not [*reworded([asked], random.Random(0))]


def test_words_that_are_kept_are_never_learned():
    learned, development, scores = ({way for words in other_words() for way in words.others[use]} for use in Use)
    known = {way for way, _, _ in small_talk.exchanges()}
    assert not development & scores
    assert not (development | scores) & (learned | known), (
        "said elsewhere in training, with another meaning or the same"
    )
    assert development == {*read_list("other-words-development")}, "kept, but said nowhere"
    assert scores == {*read_list("other-words-scores")}


def test_all_words_can_be_said():
    slots = {str(number): "seven" for number in range(2)}
    for words in other_words():
        for ways in words.others.values():
            texts = [re.sub(r"\{(\d)\}", lambda match: slots[match[1]], way) for way in ways]
            assert not [text for text in texts if not is_readable(text) or not is_decent(text) or "  " in text]


@needs_wordnet
@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_nothing_that_is_scored_is_learned(seed: int):
    generator = random.Random(seed)
    drawn = take_talks(400, generator, reserved=False, shares=REWORDED_SHARES)
    learned = [*drawn, *reworded(drawn, generator)]
    assert not any(talk.is_reserved for talk in learned)
    kept = (Use.DEVELOPMENT, Use.SCORES)
    asked = {normalise(talk.turns[-1].said) for use in kept for talk in in_other_words(60, use)}
    assert len(asked) > 100
    assert not asked & {normalise(turn.said) for talk in learned for turn in talk.turns}


def test_no_way_that_is_learned_says_what_is_kept_for_something_else():
    """As "my number minus eight is what" would, of any two numbers and of the one that was told."""

    def said(use: Use, *fillings: str) -> set[str]:
        ways = {way for words in other_words() for way in words.others[use]}
        return {normalise(way.format(*pair)) for way in ways for pair in itertools.product(fillings, repeat=2)}

    fillings = "seven", "my number", "the word seven"
    kept = said(Use.DEVELOPMENT, *fillings) | said(Use.SCORES, *fillings)
    assert not kept & said(Use.LEARNING, "seven")


@needs_wordnet
def test_every_line_is_about_something_that_is_said_in_the_world():
    talks = [talk for kind in KINDS.values() for talk in kind.talks(120, random.Random(3), reserved=False)]
    lines = {turn.said for talk in talks for turn in talk.turns} | {way for way, _, _ in small_talk.exchanges()}
    for words in other_words():
        assert any(words.slots(line) is not None for line in lines), words.known


@needs_wordnet
def test_replies_in_other_words_are_right_as_they_were():
    drawn = take_talks(400, random.Random(8), reserved=False, shares=REWORDED_SHARES)
    for talk in reworded(drawn, random.Random(9)):
        assert KINDS[talk.kind].is_right(talk, talk.turns[-1].reply), talk.key
