"""Iterations to epsilon, and the bound."""

import math

import numpy as np
import pytest

from metarl.results.iterations import iterations_to, mean_iterations_to, predicted_iterations

EVALUATED = np.array([0, 1, 2, 4, 8])


def test_first_iteration_at_the_level():
    norms = np.array(
        [[5.0, 4.0, 1.0, 3.0, 0.5], [5.0, 4.0, 3.0, 2.0, 1.5], [0.0, 9.0, 9.0, 9.0, 9.0]]
    )
    np.testing.assert_array_equal(iterations_to(EVALUATED, norms, 1.0), [2, math.inf, 0])


def test_the_mean_over_seeds_and_its_interval():
    """Of two seeds a resample has both, or one of them twice."""
    norms = np.array([[8.0, 4.0, 1.0, 0.0, 0.0], [8.0, 8.0, 8.0, 4.0, 1.0]])
    assert mean_iterations_to(EVALUATED, norms, 1.0, 0.95) == (8.0, 2.0, 8.0)
    assert mean_iterations_to(EVALUATED, np.full((2, 5), 9.0), 1.0, 0.95) == (math.inf,) * 3


@pytest.mark.parametrize(("variance", "bias"), [(0.0, 0.0), (0.3, 0.1), (5.0, 0.2), (400.0, 0.0)])
def test_the_predicted_iterations_are_the_least_of_the_bound(variance, bias):
    """Against a search over step sizes a <= 1/L of 2 gap / (a k) + a L s^2 + b^2 <= epsilon."""
    gap, smoothness, epsilon = 2.0, 3.0, 0.5
    steps = np.geomspace(1e-6, 1.0 / smoothness, 200_001)
    room = epsilon - bias - steps * smoothness * variance
    needed = np.where(room > 0, 2.0 * gap / (steps * room), np.inf)
    predicted = predicted_iterations(epsilon, gap, smoothness, variance, bias)
    assert predicted == pytest.approx(needed.min(), rel=1e-4)


def test_a_bias_above_the_level_is_never_overcome():
    assert predicted_iterations(0.5, 1.0, 1.0, 0.0, 0.5) == math.inf
