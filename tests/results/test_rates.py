import numpy as np
import pytest
from scipy import stats

from metarl.results import rates

SIZES = np.array([4, 8, 16, 32, 64])


@pytest.mark.parametrize("exponent", [-1.0, -0.5, 0.0, 1.0])
def test_power_law_has_its_exponent_and_an_interval_of_no_width(exponent):
    rate = rates.fit(SIZES, 3.0 * SIZES**exponent)
    assert [rate.slope, rate.low, rate.high] == pytest.approx([exponent] * 3, abs=1e-12)
    assert (rate.first, rate.last, rate.points) == (8, 64, 4)


def test_agrees_with_linear_regression_and_its_t_interval():
    values = np.array([1.0, 0.7, 0.2, 0.16, 0.05])
    rate = rates.fit(SIZES, values, confidence=0.9, octaves=10)
    line = stats.linregress(np.log(SIZES), np.log(values))
    margin = stats.t.ppf(0.95, 3) * line.stderr
    expected = [line.slope, line.slope - margin, line.slope + margin]
    assert [rate.slope, rate.low, rate.high] == pytest.approx(expected)


def test_only_the_last_octaves_count():
    values = 1.0 / SIZES
    values[0] = np.nan
    assert rates.fit(SIZES, values, octaves=3).slope == pytest.approx(-1)
    values[:3] = 7.0
    assert rates.fit(SIZES, values, octaves=1).slope == pytest.approx(-1)


def test_order_of_sample_sizes_does_not_matter():
    order = [3, 0, 4, 1, 2]
    values = np.array([1.0, 0.7, 0.2, 0.16, 0.05])
    forward, shuffled = rates.fit(SIZES, values), rates.fit(SIZES[order], values[order])
    assert shuffled.slope == pytest.approx(forward.slope)
    assert (shuffled.first, shuffled.last) == (forward.first, forward.last)


def test_two_points_have_a_slope_and_no_interval():
    rate = rates.fit([10, 20], [1.0, 0.5])
    assert rate.slope == pytest.approx(-1)
    assert np.isnan([rate.low, rate.high]).all()


def test_one_point_has_no_slope():
    assert np.isnan(rates.fit([10], [1.0]).slope)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_value_without_a_logarithm_is_not_left_out(bad):
    values = 1.0 / SIZES
    values[-2] = bad
    assert np.isnan(rates.fit(SIZES, values).slope)


@pytest.mark.parametrize(("sizes", "values"), [([], []), ([1, 2], [1.0]), ([[1, 2]], [[1.0, 2.0]])])
def test_shapes_are_checked(sizes, values):
    with pytest.raises(ValueError, match="must both be"):
        rates.fit(sizes, values)
