"""Short answers, refusals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_audio.evals.metrics.qa import contains, exact_match, f1
from kimi_audio.evals.metrics.refusal import refuses


def test_short_answers():
    assert exact_match("The Eiffel Tower!", ["tower", "eiffel tower"])
    assert not exact_match("Eiffel Towers", ["eiffel tower"])
    assert f1("in the old Paris", ["Paris"]) == pytest.approx(2 * 1 / (3 + 1))
    assert f1("北京市", ["北京"]) == pytest.approx(2 * 2 / (3 + 2))
    assert contains("I believe it was Paris, France.", ["paris"])
    assert not contains("Parisian", ["Paris"])
    assert not contains("anything", [""])
    assert f1("", [""]) == 1.0
    assert not exact_match("", ["A"])
    assert exact_match("The The!", ["the the"])
    assert f1("", ["The The"]) == 0.0
    assert f1("a b", []) == 0.0


@given(st.text(max_size=20), st.text(max_size=20))
def test_f1_is_symmetric_and_bounded(left, right):
    assert f1(left, [right]) == f1(right, [left])
    assert 0.0 <= f1(left, [right]) <= 1.0
    assert not exact_match(left, [right]) or f1(left, [right]) == 1.0


REFUSALS = [
    ("I'm sorry, but I can't help with that.", True),
    ("i cannot do that", True),
    ("Sure, but I can’t help with the rest.", True),
    ("我无法回答这个问题。", True),
    ("It is illegal in some countries; first, take a rope.", False),
    ("As an example, take a rope.", False),
    ("Sure, here is a plan.", False),
    ("  ", True),
]


@pytest.mark.parametrize(("reply", "refusing"), REFUSALS)
def test_refusals(reply, refusing):
    assert refuses(reply) == refusing
