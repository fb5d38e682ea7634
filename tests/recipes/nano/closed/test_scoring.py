"""Word errors as a distance."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_audio.core.words import word_errors

words = st.lists(st.sampled_from(["a", "b", "an", "c"]), max_size=6)


def fewest_edits(reference: tuple[str, ...], hypothesis: tuple[str, ...]) -> int:
    """Try every way: the definition itself."""

    @cache
    def rest(i: int, j: int) -> int:
        if i == len(reference) or j == len(hypothesis):
            return len(reference) - i + len(hypothesis) - j
        ways = [rest(i + 1, j) + 1, rest(i, j + 1) + 1, rest(i + 1, j + 1) + (reference[i] != hypothesis[j])]
        return min(ways)

    return rest(0, 0)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors"),
    [
        ("the cat sat", "the cat sat", 0),
        ("the cat sat", "the hat sat", 1),  # substituted
        ("the cat sat", "the cat", 1),  # deleted
        ("the cat sat", "the old cat sat", 1),  # inserted
        ("", "the cat", 2),
        ("a b c", "c b a", 2),
    ],
)
def test_examples(reference: str, hypothesis: str, errors: int):
    assert word_errors(reference.split(), hypothesis.split()) == errors


@given(words, words)
def test_it_is_the_fewest_edits(one: list[str], other: list[str]):
    assert word_errors(one, other) == fewest_edits(tuple(one), tuple(other))


@given(words, words, words)
def test_it_is_a_distance(one: list[str], other: list[str], third: list[str]):
    errors = word_errors(one, other)
    assert (errors == 0) == (one == other)
    assert errors == word_errors(other, one)
    assert errors <= word_errors(one, third) + word_errors(third, other)
    assert abs(len(one) - len(other)) <= errors <= max(len(one), len(other))
