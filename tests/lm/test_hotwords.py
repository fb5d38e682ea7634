"""Hotwords decide among what is about equally likely, and nothing else."""

import pytest
import torch

from kimi_audio.lm.hotwords import BONUS, FIRST_SHARE, MAX_CHARS, MAX_PHRASES, Hotwords

END = 9
WORDS = Hotwords(((1, 2, 3), (1, 4), (5,)), openings=((6, 2), (7,)))


class Letters:
    def encode(self, text: str) -> list[int]:
        return [ord(char) for char in text]


@pytest.mark.parametrize(
    ("history", "beginning", "going_on"),
    [
        ([], {1, 5, 6, 7}, set()),
        ([1], {1, 5}, {2, 4}),
        ([8, 1], {1, 5}, {2, 4}),
        ([1, 2], {1, 5}, {3}),
        ([1, 8], {1, 5}, set()),
        ([1, 2, 3], {1, 5}, set()),
        ([1, 1, 2], {1, 5}, {3}),
        ([6], {1, 5}, {2}),
        ([8, 6], {1, 5}, set()),
        ([8, 6, 2], {1, 5}, set()),
    ],
)
def test_phrases_are_followed_wherever_they_begin(history: list[int], beginning: set[int], going_on: set[int]):
    assert WORDS.favoured(history) == (beginning, going_on)


def test_the_bonus_decides_among_likely_ids_alone():
    logits = torch.zeros(10)
    logits[8], logits[2] = 5.0, 5.0 - 0.9 * BONUS
    assert int(WORDS.biased(logits, [1], END).argmax()) == 2
    assert int(WORDS.biased(logits, [8], END).argmax()) == 8
    logits[2] = 5.0 - 1.1 * BONUS
    assert int(WORDS.biased(logits, [1], END).argmax()) == 8
    logits[5] = 5.0 - 0.9 * FIRST_SHARE * BONUS
    assert int(WORDS.biased(logits, [8], END).argmax()) == 5
    logits[5] = 5.0 - 1.1 * FIRST_SHARE * BONUS
    assert int(WORDS.biased(logits, [8], END).argmax()) == 8
    assert logits[8] == 5.0


def test_nothing_speaks_against_the_end_of_the_text():
    logits = torch.zeros(10)
    logits[END], logits[5] = 1.0, 0.9
    assert int(WORDS.biased(logits, [], END).argmax()) == END
    logits[END] = 0.8
    assert int(WORDS.biased(logits, [], END).argmax()) == 5


def test_phrases_are_written_as_in_a_text():
    words = Hotwords.of([" New  York ", "New York", "", "ab", "北京"], Letters())
    assert words is not None
    within, openings = ({"".join(map(chr, ids)) for ids in phrases} for phrases in (words.phrases, words.openings))
    assert within == {" New York", " ab", " 北京", "北京"}
    assert openings == {"New York", "ab", "北京"}
    assert Hotwords.of(["", " "], Letters()) is None


def test_a_text_is_not_a_phrase_per_letter():
    with pytest.raises(ValueError, match=r"must be a list of phrases, not a text; for one phrase give \['Berlin'\]"):
        Hotwords.of("Berlin", Letters())


def test_limits():
    with pytest.raises(ValueError, match=r"1,001 hotwords; at most 1,000"):
        Hotwords.of(map(str, range(MAX_PHRASES + 1)), Letters())
    with pytest.raises(ValueError, match=r"the hotword 'aaa.*has 101 characters"):
        Hotwords.of(["a" * (MAX_CHARS + 1)], Letters())
