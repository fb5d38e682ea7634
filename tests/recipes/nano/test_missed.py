"""Words that a model does not explain are asked about again, and nothing reserved is."""

from types import SimpleNamespace

import pytest

from recipes.nano.missed import missed_by, talks_about
from recipes.nano.stock import WORDNET
from recipes.nano.world.dictionary import entries, plain_question

pytestmark = pytest.mark.skipif(not WORDNET.is_dir(), reason="Debian's package wordnet-base is not installed")


class Knows:
    """Explains all words but some."""

    def __init__(self, unknown: set[str]) -> None:
        self.replies = {
            plain_question(entry).turns[0].said: "i do not know." if entry.word in unknown else entry.explanation
            for entry in entries().values()
        }

    def answer(self, messages):
        return SimpleNamespace(text=self.replies[messages[0].content])


def test_what_is_missed_is_what_is_not_explained():
    words = [entries()[word] for word in ("hammer", "brave", "climb")]
    assert [entry.word for entry in missed_by(Knows({"brave"}), words)] == ["brave"]  # pyright: ignore[reportArgumentType]


def test_it_is_asked_about_in_many_words_and_none_that_are_reserved():
    talks = talks_about([entries()["hammer"]], 0)
    assert {talk.turns[0].reply for talk in talks} == {entries()["hammer"].explanation}
    assert not any(talk.is_reserved for talk in talks)
    assert len({talk.key for talk in talks}) > 25
