import numpy as np
import pytest

from metarl.results import statistics


def test_interquartile_mean_of_three_seeds_is_their_mean():
    assert statistics.interquartile_mean(np.array([0.0, 1.0, 5.0])) == pytest.approx(2.0)


def test_interquartile_mean_drops_the_outer_quarters():
    assert statistics.interquartile_mean(np.array([-99.0, 1.0, 3.0, 99.0])) == pytest.approx(2.0)


@pytest.mark.parametrize("centre", [statistics.mean, statistics.interquartile_mean])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_diverged_seed_is_not_trimmed_away(centre, bad):
    values = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, bad], [4.0, 4.0]])
    assert centre(values)[0] == pytest.approx(2.5)
    assert np.isnan(centre(values)[1])


def test_interval_of_three_seeds_is_their_range():
    # A resample repeats one seed three times with probability 1/27 = 3.7%, more than the 2.5% cut.
    low, high = statistics.bootstrap_interval(np.array([0.0, 1.0, 2.0]))
    assert (low, high) == (0.0, 2.0)


def test_interval_narrows_with_less_confidence():
    values = np.arange(10.0)
    wide = np.ptp(statistics.bootstrap_interval(values, confidence=0.99))
    assert np.ptp(statistics.bootstrap_interval(values, confidence=0.5)) < wide


def test_fewer_than_three_seeds_have_no_interval():
    low, high = statistics.bootstrap_interval(np.zeros((2, 5)))
    assert low.shape == high.shape == (5,)
    assert np.isnan([low, high]).all()


def test_only_the_points_with_a_diverged_seed_lose_their_interval():
    values = np.array([[1.0, 1.0, 1.0], [2.0, np.nan, 2.0], [3.0, 3.0, 3.0]])
    low, high = statistics.bootstrap_interval(values)
    assert np.isfinite(low).tolist() == np.isfinite(high).tolist() == [True, False, True]


def test_the_random_stream_is_fixed():
    values = np.random.default_rng(0).normal(size=(5, 4))
    first, second = (statistics.bootstrap_interval(values) for _ in range(2))
    np.testing.assert_array_equal(first, second)
