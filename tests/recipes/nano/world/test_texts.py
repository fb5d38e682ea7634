"""Texts beside the conversations: everyday sentences for evaluation, commands, and the judges of replies."""

import random
import re
from itertools import islice

import pytest

from kimi_audio.core.words import normalise
from recipes.nano.closed import sentences as frames
from recipes.nano.closed.grammar import WORDS
from recipes.nano.closed.splits import is_reserved
from recipes.nano.stock import PARTS_OF_SPEECH, WORDNET, wordnet_definitions, wordnet_examples, wordnet_words
from recipes.nano.world import aloud
from recipes.nano.world.commands import GRAMMARS, commands
from recipes.nano.world.registry import take_talks
from recipes.nano.world.sentences import development_sentences, evaluation_sentences, without_everyday
from recipes.nano.world.wording import is_readable, sentence, with_article

pytestmark = pytest.mark.skipif(not WORDNET.is_dir(), reason="Debian's package wordnet-base is not installed")
EVERYDAY = {normalise(text) for text in (*evaluation_sentences(), *development_sentences())}


def test_everyday_sentences_are_many_different_and_readable():
    assert len(evaluation_sentences()) == 200
    assert len(development_sentences()) == 100
    assert len(EVERYDAY) == 300
    for text in (*evaluation_sentences(), *development_sentences()):
        assert is_readable(text)
        assert 5 <= len(text.split()) <= 14, text


def test_everyday_sentences_are_in_no_stock():
    stock = {normalise(text) for text in (*wordnet_examples(), *wordnet_definitions())}
    assert len(stock) > 50_000
    assert not stock & EVERYDAY


def test_everyday_sentences_are_in_no_frame():
    """Look for them among the frames of general sentences, with every word where its class may stand."""
    classes = {name: {normalise(word) for word in words} for name, words in WORDS.items()}

    def pattern(frame: str) -> str:
        parts = re.findall(r"\{(\w+)\}|([A-Za-z']+)", frame)
        return " ".join("(?:" + "|".join(classes[name]) + ")" if name else word.lower() for name, word in parts)

    patterns = [re.compile(pattern(frame)) for frame in frames.FRAMES]
    assert any(p.fullmatch("the actor admired my bag") for p in patterns) or len(patterns) > 20
    assert not [text for text in EVERYDAY for p in patterns if p.fullmatch(re.sub(r"\ban\b", "a", text))]


def test_everyday_sentences_are_never_learned():
    said = {line for talk in take_talks(1500, random.Random(1), reserved=False) for line in talk.lines}
    said |= set(map(normalise, islice(commands(random.Random(1), reserved=False), 1500)))
    assert not said & EVERYDAY
    assert not {text for text in aloud.texts() if normalise(text) in EVERYDAY}
    assert [*without_everyday(["Hello there.", "he always reads the newspaper from back to front"])] == ["Hello there."]


def test_commands_are_different_readable_and_of_their_side():
    for side in (False, True):
        texts = list(islice(commands(random.Random(3), reserved=side), 600))
        assert len({normalise(text) for text in texts}) == 600
        assert all(is_readable(text) for text in texts)
        assert {is_reserved(normalise(text)) for text in texts} == {side}


@pytest.mark.parametrize("name", GRAMMARS)
def test_every_grammar_says_many_things(name: str):
    grammar, _ = GRAMMARS[name]
    generator = random.Random(1)
    said = {grammar(generator) for _ in range(300)}
    assert len(said) > 100
    assert not [text for text in said if not is_readable(text) or text[0] != text[0].upper() or "  " in text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a apple and a bear", "An apple and a bear"),
        ("an bear", "A bear"),
        ("is a hour a unit or a one", "Is an hour a unit or a one"),
        ("a umbrella, a uncle, a european", "An umbrella, an uncle, a european"),
        ("vitamin A is good", "Vitamin A is good"),
    ],
)
def test_articles(text: str, expected: str):
    assert sentence(text) == expected


def test_with_article():
    assert [with_article(noun) for noun in ("ice", "university", "hour", "toy")] == [
        "an ice",
        "a university",
        "an hour",
        "a toy",
    ]


@pytest.mark.parametrize("text", ["2 dogs", "Tom & Bob", "he said 'no'", "", "a: b", "naïve"])
def test_unreadable(text: str):
    assert not is_readable(text)


def test_words_of_wordnet_are_entries_of_one_word(tmp_path):
    lines = "  1 the licence\nice_cream n 1\nlatte n 1\no'clock r 1\n'hood n 1\n24-hour a 1\n"
    for part in PARTS_OF_SPEECH:
        (tmp_path / f"index.{part}").write_text(lines if part == "noun" else "")
    assert wordnet_words(tmp_path) == {"latte", "o'clock"}
