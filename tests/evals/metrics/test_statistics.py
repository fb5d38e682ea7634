import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_audio.evals.metrics.statistics import bootstrap, compare, compare_ratios, holm, ratio_interval, wilson

ROW = st.tuples(st.integers(0, 5), st.integers(1, 20))


def test_the_interval_of_a_mean_is_students():
    values = np.random.default_rng(1).normal(10, 2, 400)
    low, high = ratio_interval(values, np.ones(400))
    error = values.std(ddof=1) / math.sqrt(400)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.05 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.05 * error)


def draw(generator, rows):
    """Return errors and words of sentences of which most are right and some are quite wrong."""
    words = generator.integers(3, 25, rows)
    return generator.binomial(words, generator.beta(0.3, 5.0, rows)), words


@pytest.mark.parametrize("rows", [10, 50, pytest.param(200, marks=pytest.mark.slow)])
def test_the_intervals_of_error_rates_cover_what_they_say(rows):
    generator = np.random.default_rng(0)
    true = 0.3 / 5.3  # the mean of the beta distribution
    found = [ratio_interval(*draw(generator, rows)) for _ in range(1000)]
    assert sum(low <= true <= high for low, high in found) / len(found) > 0.92


def test_no_error_is_not_certainty():
    low, high = ratio_interval([0] * 50, [10] * 50)
    assert low == 0
    assert high == pytest.approx(1.96**2 / (500 + 1.96**2), rel=1e-3)
    assert ratio_interval([10] * 50, [10] * 50) == pytest.approx((1 - high, 1))
    assert all(map(math.isnan, ratio_interval([4] * 50, [1] * 50)))  # ratings that are all equal


def test_wilsons_interval():
    # The closed form for 8 of 10 at 95 %.
    z = 1.959964
    centre, spread = (0.8 + z**2 / 20) / (1 + z**2 / 10), z * math.sqrt(0.016 + z**2 / 400) / (1 + z**2 / 10)
    assert wilson(8, 10) == pytest.approx((centre - spread, centre + spread), abs=1e-6)
    assert ratio_interval([1] * 8 + [0] * 2, [1] * 10) == wilson(8, 10)
    assert wilson(5, 5)[1] == 1.0


def test_too_few_rows_and_rows_without_weight():
    assert all(map(math.isnan, ratio_interval([], [])))
    assert all(map(math.isnan, ratio_interval([1, 2, 0], [3, 4, 5])))
    assert all(map(math.isnan, ratio_interval([1] * 20, [0] * 20)))
    with pytest.raises(ValueError, match="one numerator and one weight per row"):
        ratio_interval([1, 2], [1])


def test_the_bootstrap_is_the_same_in_any_chunks(monkeypatch):
    values = np.arange(100.0)
    low, high = first = bootstrap(lambda index: np.median(values[index], axis=1), 100, seed=3)
    assert low < 49.5 < high
    monkeypatch.setattr("kimi_audio.evals.metrics.statistics._CELLS", 400)
    assert bootstrap(lambda index: np.median(values[index], axis=1), 100, seed=3) == first


@settings(max_examples=30, deadline=None)
@given(st.lists(ROW, min_size=10, max_size=30))
def test_the_interval_lies_around_the_rate(rows):
    errors, tokens = zip(*rows, strict=True)
    low, high = ratio_interval(errors, tokens)
    assert math.isnan(low) or 0 <= low <= sum(errors) / sum(tokens) <= high


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(ROW, st.integers(0, 5)), min_size=2, max_size=20))
def test_swapping_the_models_turns_everything_around(rows):
    tokens = [row[0][1] for row in rows]
    a, b = ([row[0][0] for row in rows], tokens), ([row[1] for row in rows], tokens)
    forth, back = (compare_ratios(*pair, permutations=200) for pair in ((a, b), (b, a)))
    assert forth.difference == pytest.approx(-back.difference)
    assert forth.interval[0] == pytest.approx(-back.interval[1])
    assert forth.p_value == back.p_value
    assert 0 < forth.p_value <= 1


def test_a_clear_winner_and_a_draw():
    tokens = [10] * 50
    clear = compare_ratios(([3] * 50, tokens), ([1] * 50, tokens))
    assert clear.difference == pytest.approx(-0.2)
    assert clear.p_value < 0.01
    assert compare_ratios(([1, 2] * 25, tokens), ([1, 2] * 25, tokens)).p_value == 1.0


def test_the_permutation_test_agrees_with_all_permutations():
    # Differences 1, 2 and 3: of the 8 sign patterns, 2 are as extreme as the observed one.
    test = compare_ratios(([0, 0, 0], [1, 1, 1]), ([1, 2, 3], [1, 1, 1]), permutations=20000)
    assert test.p_value == pytest.approx(2 / 8, abs=0.01)


def test_any_score_of_a_corpus_can_be_compared():
    values = np.array([1.0, 2.0, 9.0, 2.0, 3.0, 10.0])  # of model A, then those of model B
    test = compare(lambda index: np.median(values[index], axis=1), 3)
    assert test.difference == 1.0
    same = compare(lambda index: values[index].mean(axis=1), 3)
    assert same.p_value == compare_ratios((values[:3], np.ones(3)), (values[3:], np.ones(3))).p_value
    with pytest.raises(ValueError, match="at least one row"):
        compare(lambda index: values[index].mean(axis=1), 0)


def test_unpaired_models_are_refused():
    with pytest.raises(ValueError, match="model A has 1, model B 2"):
        compare_ratios(([1], [1]), ([1, 1], [1, 1]))


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
