import itertools

import numpy as np
import pytest

from metarl.results import statistics
from metarl.results.statistics import bootstrap_interval, interquartile_mean, mean


def test_interquartile_mean_of_three_seeds_is_their_mean():
    assert interquartile_mean(np.array([0.0, 1.0, 5.0])) == pytest.approx(2.0)


def test_interquartile_mean_drops_the_outer_quarters():
    assert interquartile_mean(np.array([-99.0, 1.0, 3.0, 99.0])) == pytest.approx(2.0)


@pytest.mark.parametrize("centre", [mean, interquartile_mean])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_diverged_seed_is_not_trimmed_away(centre, bad):
    values = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, bad], [4.0, 4.0]])
    assert centre(values)[0] == pytest.approx(2.5)
    assert np.isnan(centre(values)[1])


def test_resamples_take_as_many_as_there_are_and_the_first_row_is_the_estimate():
    counts = statistics.resampled_counts(np.random.default_rng(0), 5, 100)
    assert counts.shape == (101, 5)
    np.testing.assert_array_equal(counts[0], np.ones(5))
    np.testing.assert_array_equal(counts.sum(axis=1), 5.0)


def test_resamples_are_as_likely_as_draws_with_replacement():
    """Of two: both with probability 1/2, each twice with 1/4; within 5 standard errors of 10^4.

    False-fail rate below 1e-5 over seeds; it would catch a probability that is 0.03 off.
    """
    counts = statistics.resampled_counts(np.random.default_rng(0), 2, 10_000)[1:]
    for row, probability in (([1, 1], 0.5), ([2, 0], 0.25), ([0, 2], 0.25)):
        share = np.mean((counts == row).all(axis=1))
        assert share == pytest.approx(probability, abs=5 * (0.25 / 10_000) ** 0.5)


@pytest.mark.parametrize("statistic", [mean, interquartile_mean])
def test_interval_against_a_loop_over_resamples(statistic):
    values = np.random.default_rng(1).normal(size=(5, 2, 3))
    draws = []
    for counts in statistics.seed_counts(5)[1:].astype(int):
        taken = list(itertools.chain(*([seed] * times for seed, times in enumerate(counts))))
        draws.append(statistic(values[taken], axis=0))
    expected = np.quantile(draws, [0.05, 0.95], axis=0)
    np.testing.assert_allclose(bootstrap_interval(values, statistic, 0.9), expected, rtol=1e-12)


def test_interval_of_three_seeds_is_their_range():
    # A resample repeats one seed three times with probability 1/27 = 3.7%, more than the 2.5% cut.
    assert bootstrap_interval(np.array([0.0, 1.0, 2.0]), interquartile_mean, 0.95) == (0.0, 2.0)


def test_interval_narrows_with_less_confidence():
    values = np.arange(10.0)
    wide, narrow = (np.ptp(bootstrap_interval(values, mean, level)) for level in (0.99, 0.5))
    assert narrow < wide


def test_fewer_than_three_seeds_have_no_interval():
    low, high = bootstrap_interval(np.zeros((2, 5)), mean, 0.95)
    assert low.shape == high.shape == (5,)
    assert np.isnan([low, high]).all()


def test_only_the_points_with_a_diverged_seed_lose_their_interval():
    values = np.array([[1.0, 1.0, 1.0], [2.0, np.nan, 2.0], [3.0, 3.0, 3.0]])
    low, high = bootstrap_interval(values, interquartile_mean, 0.95)
    assert np.isfinite(low).tolist() == np.isfinite(high).tolist() == [True, False, True]


def test_the_random_stream_is_fixed():
    values = np.random.default_rng(0).normal(size=(5, 4))
    first, second = (bootstrap_interval(values, mean, 0.95) for _ in range(2))
    np.testing.assert_array_equal(first, second)
