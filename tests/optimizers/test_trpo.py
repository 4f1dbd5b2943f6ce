"""Conjugate gradient against a direct solve; the line search on quadratics."""

import numpy as np
import pytest

from metarl.optimizers.trpo import conjugate_gradient, natural_step


def test_conjugate_gradient_solves():
    """In as many iterations as there are dimensions, whatever the condition."""
    generator = np.random.default_rng(0)
    root = generator.normal(size=(8, 8))
    matrix, target = root @ root.T + 0.1 * np.eye(8), generator.normal(size=8)
    found, _ = conjugate_gradient(lambda x: matrix @ x, target, 20)
    np.testing.assert_allclose(found, np.linalg.solve(matrix, target), rtol=1e-6)
    one, residual = conjugate_gradient(lambda x: matrix @ x, target, 1)
    np.testing.assert_allclose(one, target @ target / (target @ matrix @ target) * target)
    np.testing.assert_allclose(residual, target - matrix @ one)


def quadratic(gain: float, kl: float):
    """A surrogate gain . theta and a divergence kl |theta|^2, whose Hessian at 0 is 2 kl."""
    measure = lambda theta: (gain * theta.sum(), kl * (theta**2).sum())
    return measure, lambda x: 2.0 * x  # what the natural gradient believes: kl = 1


def test_trpo_takes_the_whole_step_where_the_model_is_right():
    measure, product = quadratic(gain=1.0, kl=0.999)
    step = natural_step(np.zeros(3), np.ones(3), product, measure, trust_region=0.01)
    assert step.accepted
    np.testing.assert_allclose(step.parameters, np.sqrt(0.01 / 3) * np.ones(3), rtol=1e-3)
    assert step.kl <= 0.01


def test_trpo_backtracks_into_the_trust_region():
    """The divergence is four times what its Hessian says: half the length is the longest, 0.8^4 the
    first within."""
    measure, product = quadratic(gain=1.0, kl=4.0)
    step = natural_step(np.zeros(3), np.ones(3), product, measure, trust_region=0.01)
    assert step.accepted
    assert step.kl <= 0.01
    np.testing.assert_allclose(step.parameters, 0.8**4 * np.sqrt(0.01 / 3) * np.ones(3), rtol=1e-3)


@pytest.mark.parametrize(("gain", "kl"), [(-1.0, 1.0), (1.0, 1e6), (np.nan, 1.0), (1.0, np.nan)])
def test_trpo_rejects(gain, kl):
    """A surrogate that falls, a divergence too large for every trial, and numbers that are none."""
    measure, product = quadratic(gain, kl)
    step = natural_step(np.zeros(3), np.ones(3), product, measure, trust_region=0.01)
    assert not step.accepted
    np.testing.assert_array_equal(step.parameters, np.zeros(3))
    assert step.kl == 0.0


def test_trpo_rejects_a_direction_of_negative_curvature():
    measure, _ = quadratic(gain=1.0, kl=1.0)
    step = natural_step(np.zeros(3), np.ones(3), lambda x: -x, measure, trust_region=0.01)
    assert not step.accepted
    np.testing.assert_array_equal(step.parameters, np.zeros(3))
