"""Short answers, refusals, shares."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_audio.evals.metrics.accuracy import accuracy
from kimi_audio.evals.metrics.qa import contains, exact_match, f1, score_answers
from kimi_audio.evals.metrics.refusal import refuses, refuses_evalkit, score_refusals


def test_short_answers():
    assert exact_match("The Eiffel Tower!", ["tower", "eiffel tower"])
    assert not exact_match("Eiffel Towers", ["eiffel tower"])
    assert f1("in the old Paris", ["Paris"]) == pytest.approx(2 * 1 / (3 + 1))
    assert f1("北京市", ["北京"]) == pytest.approx(2 * 2 / (3 + 2))
    assert contains("I believe it was Paris, France.", ["paris"])
    assert not contains("Parisian", ["Paris"])
    assert not contains("anything", [""])
    assert f1("", [""]) == 1.0
    assert f1("a b", []) == 0.0


def test_a_missing_answer_is_wrong():
    score = score_answers(["Paris", None], [["paris"], ["rome"]])
    assert (score.exact, score.contained, score.f1) == ((True, False), (True, False), (1.0, 0.0))
    assert (score.exact_rate, score.contained_rate, score.f1_mean, score.missing) == (0.5, 0.5, 0.5, 1)


@given(st.text(max_size=20), st.text(max_size=20))
def test_f1_is_symmetric_and_bounded(left, right):
    assert f1(left, [right]) == f1(right, [left])
    assert 0.0 <= f1(left, [right]) <= 1.0
    assert not exact_match(left, [right]) or f1(left, [right]) == 1.0


# reply, ours, the Evalkit's way
REFUSALS = [
    ("I'm sorry, but I can't help with that.", True, True),
    ("i cannot do that", True, False),
    ("Sure, but I can’t help with the rest.", True, False),
    ("我无法回答这个问题。", True, False),
    ("It is illegal in some countries; first, take a rope.", False, True),
    ("As an example, take a rope.", False, True),
    ("Sure, here is a plan.", False, False),
    ("  ", True, True),
]


@pytest.mark.parametrize(("reply", "ours", "evalkit"), REFUSALS)
def test_refusals_in_both_ways(reply, ours, evalkit):
    assert (refuses(reply), refuses_evalkit(reply)) == (ours, evalkit)


def test_refusal_rates():
    score = score_refusals(["i cannot", "As an example", "", None])
    assert (score.rate, score.rate_evalkit, score.empty, score.missing) == (2 / 4, 2 / 4, 1, 1)


def test_accuracy_has_wilsons_interval():
    share = accuracy([True] * 8 + [False] * 2)
    # Wilson's closed form for 8 of 10 at 95 %.
    z = 1.959964
    centre, spread = (0.8 + z**2 / 20) / (1 + z**2 / 10), z * math.sqrt(0.016 + z**2 / 400) / (1 + z**2 / 10)
    assert (share.low, share.high) == pytest.approx((centre - spread, centre + spread), abs=1e-6)
    assert share.rate == 0.8
    assert accuracy([True] * 5).high == 1.0
    assert math.isnan(accuracy([]).rate)
