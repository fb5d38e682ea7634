import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_audio.evals.metrics.statistics import bootstrap, bootstrap_ratio, compare, compare_ratios, holm

ROW = st.tuples(st.integers(0, 5), st.integers(1, 20))
ROWS = st.lists(ROW, min_size=1, max_size=30)


def columns(rows):
    return [row[0] for row in rows], [row[1] for row in rows]


def test_the_interval_of_a_mean_agrees_with_theory():
    values = np.random.default_rng(1).normal(10, 2, 400)
    interval = bootstrap_ratio(values, np.ones(400), resamples=4000)
    error = values.std() / math.sqrt(400)
    assert interval.estimate == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert interval.high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_the_corpus_ratio_is_resampled_not_the_mean_of_ratios():
    # A long row without errors and a short one with errors: 1 in 101, not (0 + 1) / 2.
    interval = bootstrap_ratio([0, 1], [100, 1])
    assert interval.estimate == 1 / 101
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_the_same_seed_gives_the_same_numbers_in_any_chunks(monkeypatch):
    first = bootstrap_ratio([1, 0, 1, 0], [1, 1, 1, 1], seed=3)
    monkeypatch.setattr("kimi_audio.evals.metrics.statistics._CELLS", 40)
    assert bootstrap_ratio([1, 0, 1, 0], [1, 1, 1, 1], seed=3) == first
    assert bootstrap_ratio(range(20), [1] * 20, seed=4) != bootstrap_ratio(range(20), [1] * 20, seed=5)


def test_rows_without_weight_and_no_rows():
    assert math.isnan(bootstrap_ratio([], []).estimate)
    interval = bootstrap_ratio([1, 1], [0, 2])
    assert interval.estimate == 1.0
    assert interval.resamples < 2000  # those that drew the weightless row alone have no value
    with pytest.raises(ValueError, match="one numerator and one weight per row"):
        bootstrap_ratio([1, 2], [1])


def test_any_statistic_of_rows():
    values = np.arange(100.0)
    interval = bootstrap(lambda index: np.median(values[index], axis=1), 100, confidence=0.9)
    assert interval.low < interval.estimate == 49.5 < interval.high
    assert interval.confidence == 0.9


@settings(max_examples=30, deadline=None)
@given(ROWS)
def test_the_interval_lies_within_the_rows_and_around_the_estimate(rows):
    errors, tokens = columns(rows)
    interval = bootstrap_ratio(errors, tokens, resamples=400)
    ratios = [error / token for error, token in rows]
    assert min(ratios) - 1e-9 <= interval.low <= interval.high <= max(ratios) + 1e-9
    assert interval.low - 1e-9 <= interval.estimate <= interval.high + 1e-9 or len(rows) < 10


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(ROW, st.integers(0, 5)), min_size=1, max_size=20))
def test_swapping_the_models_turns_everything_around(rows):
    tokens = [row[0][1] for row in rows]
    a, b = ([row[0][0] for row in rows], tokens), ([row[1] for row in rows], tokens)
    forth = compare_ratios(a, b, higher_is_better=False, resamples=200)
    back = compare_ratios(b, a, higher_is_better=False, resamples=200)
    assert forth.difference.estimate == pytest.approx(-back.difference.estimate)
    assert forth.difference.low == pytest.approx(-back.difference.high)
    assert forth.p_improvement == pytest.approx(1 - back.p_improvement)
    assert forth.p_value == back.p_value
    assert 0 < forth.p_value <= 1


def test_a_clear_winner_and_a_draw():
    tokens = [10] * 50
    clear = compare_ratios(([3] * 50, tokens), ([1] * 50, tokens), higher_is_better=False)
    assert clear.difference.estimate == pytest.approx(-0.2)
    assert clear.p_improvement == 1.0
    assert clear.p_value < 0.01
    same = compare_ratios(([1, 2] * 25, tokens), ([1, 2] * 25, tokens), higher_is_better=True)
    assert (same.p_improvement, same.p_value) == (0.5, 1.0)


def test_the_permutation_test_agrees_with_all_permutations():
    # Differences 1, 2 and 3: of the 8 sign patterns, 2 are as extreme as the observed one.
    test = compare_ratios(([0, 0, 0], [1, 1, 1]), ([1, 2, 3], [1, 1, 1]), higher_is_better=True, resamples=20000)
    assert test.p_value == pytest.approx(2 / 8, abs=0.01)


def test_any_score_of_a_corpus_can_be_compared():
    values = np.array([1.0, 2.0, 9.0, 2.0, 3.0, 10.0])  # of model A, then those of model B
    test = compare(lambda index: np.median(values[index], axis=1), 3, higher_is_better=True)
    assert (test.difference.estimate, test.p_improvement) == (1.0, 1.0)
    ratios = compare_ratios((values[:3], np.ones(3)), (values[3:], np.ones(3)), higher_is_better=True)
    same = compare(lambda index: values[index].mean(axis=1), 3, higher_is_better=True)
    assert same.p_value == ratios.p_value
    assert same.difference.low == pytest.approx(ratios.difference.low)
    with pytest.raises(ValueError, match="at least one row"):
        compare(lambda index: values[index].mean(axis=1), 0, higher_is_better=True)


def test_unpaired_models_are_refused():
    with pytest.raises(ValueError, match="model A has 1, model B 2"):
        compare_ratios(([1], [1]), ([1, 1], [1, 1]), higher_is_better=True)


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
