"""From statistics of samples to scores."""

import math

import pytest
from evaluation_fakes import Words
from hypothesis import given
from hypothesis import strategies as st

from kimi_audio.evals.contract.types import EvalSample, Metric, Scorer, ratio
from kimi_audio.evals.run.aggregate import count, difference, interval, make_score, subsets_of, value_of
from kimi_audio.evals.run.store import SampleOutcome, State

WER = Words.metrics[0]
states = st.sampled_from(list(State))


@st.composite
def outcomes(draw) -> list[SampleOutcome]:
    found = []
    for number in range(draw(st.integers(1, 12))):
        words = draw(st.integers(1, 5))
        sample = EvalSample(str(number), reference=" ".join("w" * words), subset=draw(st.sampled_from("xy")))
        state = draw(states)
        errors = words if state is State.failed else draw(st.integers(0, words))
        values = {"wer": (errors, words)} if state in (State.scored, State.failed) else {}
        found.append(SampleOutcome(sample, state, values))
    return found


@given(outcomes())
def test_counts_add_up_and_the_worst_case_is_no_better(items):
    scorer: Scorer = Words()
    counts = count(items)
    assert counts.total == counts.scored + counts.failed + counts.unscored + counts.skipped == len(items)
    groups = subsets_of(items)
    assert sum(len(group) for subset, group in groups.items() if subset) == len(groups[""])
    score = make_score(WER, "", items, scorer)
    assert score.samples == counts.scored + counts.failed
    assert score.pessimistic is not None
    if score.value is not None:
        assert 0 <= score.value <= 100
        assert score.pessimistic >= score.value - 1e-9
    if score.answered is not None:
        assert score.value >= score.answered - 1e-9
    if score.low is not None:
        assert score.low <= score.value + 1e-9
        assert score.value - 1e-9 <= score.high


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), min_size=1), st.randoms())
def test_order_does_not_matter(statistics, random):
    shuffled = list(statistics)
    random.shuffle(shuffled)
    assert value_of(WER, shuffled) == pytest.approx(value_of(WER, statistics))


def test_ratio_without_weight_is_no_number():
    assert math.isnan(ratio([(1, 0)]))
    assert value_of(WER, [(1, 0)]) is None
    assert value_of(WER, []) is None
    assert interval(WER, [(1, 0), (1, 0)]) == (None, None)
    assert interval(WER, [(1, 2)]) == (None, None)


def test_two_of_two_right_answers_prove_little():
    right = Metric("right")
    low, high = interval(right, [(1, 1), (1.0, 1)])
    assert (round(low), high) == (34, 100)  # Wilson's 1 / (1 + 1.96^2 / 2)
    assert interval(right, [(0.5, 1), (0.5, 1)]) == (None, None)  # no share of samples, and too few of them


def test_words_and_characters_have_no_sum():
    assert value_of(WER, [(1, 2, "words"), (1, 2, "words")]) == 50
    assert value_of(WER, [(1, 2, "words"), (1, 2, "mixed")]) is None
    assert interval(WER, [(1, 2, "words"), (1, 2, "mixed")] * 10) == (None, None)


def test_a_metric_may_combine_in_its_own_way():
    largest = Metric("largest", unit="", scale=2, combine=max)
    assert value_of(largest, [1, 5, 3]) == 10
    assert interval(largest, [1, 5, 3] * 16) == (None, None)  # 48 samples
    assert interval(largest, [1, 5, 3] * 17) == (10, 10)
    sample = EvalSample("a")
    score = make_score(largest, "", [SampleOutcome(sample, State.scored, {"largest": 4})], Words())
    assert (score.value, score.scale) == (8, None)


def test_what_rules_say_stays_where_a_judge_says_nothing():
    items = [
        SampleOutcome(EvalSample("a"), State.scored, {"right": (1, 1)}),
        SampleOutcome(EvalSample("b"), State.unscored, {"right": (0, 1)}),
    ]
    score = make_score(Words.metrics[1], "", items, Words())
    assert (score.value, score.samples, score.pessimistic) == (50, 2, 50)


def test_statistics_are_settled_once_for_all_samples():
    def shares(values):
        return [(value, sum(values)) for value in values]

    share = Metric("share", settle=shares)
    assert not share.is_ratio
    assert value_of(share, [1, 3]) == pytest.approx(100 * 4 / 8)
    found = difference(share, [1, 3], [2, 2], 100)
    assert found.difference == pytest.approx(0)


def test_a_corpus_score_is_compared_in_its_unit():
    largest = Metric("largest", unit="", scale=2, combine=max)
    found = difference(largest, [1, 1, 1], [4, 4, 4], 100)
    assert (found.difference, *found.interval) == (6, 6, 6)
