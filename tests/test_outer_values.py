"""Values after adaptation: two implementations without a common formula, on one problem."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from metarl.audit.exact import ExactAudit
from metarl.audit.problems import problem
from metarl.estimators.algebra import log_likelihood
from metarl.outer_values import ClosedForm, Resimulated, Sampled

TASKS, ROWS = 2, 3


@pytest.fixture(params=["chain", "windy", "stopping"])
def audit(request):
    return ExactAudit(problem(request.param), [])


@pytest.fixture
def parameters(audit):
    size = audit.problem.policy.parameter_size
    return tf.constant(np.random.default_rng(0).normal(size=(TASKS, size)))


@pytest.fixture
def shares(parameters):
    return tf.constant(0.5 * np.random.default_rng(1).normal(size=(ROWS, *parameters.shape)))


def enumerated(audit, parameters: tf.Tensor) -> Sampled:
    """A batch that holds every trajectory with its probability: importance weights are exact."""
    chances = tf.exp(audit.log_probabilities(parameters))
    batch = audit.batch(parameters, chances, tf.constant(1.0, tf.float64))
    return Sampled(audit.problem.policy, batch, "trajectories", None, parameters)


def test_gradients_of_weighted_trajectories_are_the_closed_form(audit, parameters):
    expected = enumerated(audit, parameters).gradient(log_likelihood)
    gradient = ClosedForm(audit.totals, parameters).gradient(log_likelihood)
    np.testing.assert_allclose(gradient, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("method", ["value", "mean_reward", "mean_advantage"])
def test_weighted_trajectories_give_the_closed_form(audit, parameters, method):
    closed_form = ClosedForm(audit.totals, parameters)
    expected = getattr(enumerated(audit, parameters), method)()
    np.testing.assert_allclose(getattr(closed_form, method)(), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("method", ["differences", "curvatures"])
def test_weighted_trajectories_give_the_closed_form_nearby(audit, parameters, shares, method):
    closed_form = ClosedForm(audit.totals, parameters)
    expected = getattr(enumerated(audit, parameters), method)(shares)
    result = getattr(closed_form, method)(shares)
    assert result.shape == (ROWS, TASKS)
    np.testing.assert_allclose(result, expected, rtol=1e-11, atol=1e-12)


def test_differences_are_those_of_values(audit, parameters, shares):
    at = partial(ClosedForm, audit.totals)
    expected = [at(parameters).value() - at(parameters - share).value() for share in shares]
    np.testing.assert_allclose(at(parameters).differences(shares), expected, atol=1e-14)


def test_effective_sample_size_is_that_of_whole_trajectories(audit, parameters, shares):
    at = audit.log_probabilities(parameters)
    ratios = [np.exp(audit.log_probabilities(parameters - share) - at) for share in shares]
    sizes = [w.sum(axis=1) ** 2 / (w**2).sum(axis=1) for w in ratios]
    result = enumerated(audit, parameters).effective_sample_size(shares)
    np.testing.assert_allclose(result, np.min(sizes, axis=0), rtol=1e-12)


def test_resimulated_values_are_the_sampled_ones_but_for_differences(audit, parameters, shares):
    sampled = enumerated(audit, parameters)
    simulated = tf.constant(np.random.default_rng(2).normal(size=(ROWS, TASKS)))
    values = Resimulated(sampled, simulated)
    np.testing.assert_array_equal(values.differences(shares), simulated)
    with pytest.raises(ValueError, match="compatible"):
        values.differences(shares[:2])
    for method, *arguments in (
        ("value",),
        ("gradient", log_likelihood),
        ("curvatures", shares),
        ("mean_reward",),
        ("mean_advantage",),
    ):
        expected = getattr(sampled, method)(*arguments)
        np.testing.assert_array_equal(getattr(values, method)(*arguments), expected)
