"""The inner loop against finite differences and against one trajectory at a time."""

import numpy as np
import pytest
import tensorflow as tf

from metarl.adaptation import adapt, inner_gradient, likelihood_ratios, trajectory_gradients
from metarl.policies import TabularSoftmaxPolicy
from metarl.settings import InnerSettings
from tests.conftest import (
    HORIZON,
    ROWS,
    TASKS,
    naive_average,
    naive_behaviour_log_prob,
    naive_log_prob,
    numerical_gradient,
    steps_taken,
)

AVERAGINGS = ["steps", "trajectories"]


def step_log_prob(batch, parameters: np.ndarray, step: tuple[int, int, int]) -> float:
    return naive_log_prob(parameters, batch.observations.numpy()[step], batch.actions.numpy()[step])


def differenced(batch, parameters, task: int, averaging: str) -> np.ndarray:
    """mean_i f_i of one task by finite differences of mean_it A_it log pi: [P]."""

    def objective(point: np.ndarray) -> float:
        return naive_average(
            batch,
            task,
            averaging,
            lambda step: batch.advantages.numpy()[step] * step_log_prob(batch, point, step),
        )

    return numerical_gradient(objective, parameters.numpy()[task])


def test_likelihood_ratios(policy, parameters, batch):
    ratios = likelihood_ratios(policy, parameters, batch).numpy()
    assert ratios.shape == (TASKS, ROWS, HORIZON)
    for task in range(TASKS):
        for step in steps_taken(batch, task):
            current = step_log_prob(batch, parameters.numpy()[task], step)
            expected = np.exp(current - naive_behaviour_log_prob(batch, step))
            np.testing.assert_allclose(ratios[step], expected, rtol=1e-12)
    assert np.abs(ratios - 1.0).max() > 0.1


def test_likelihood_ratios_are_1_on_the_policy_that_acted(policy, parameters, batch):
    acted = batch._replace(behaviour=policy.outputs(parameters, batch.observations))
    np.testing.assert_array_equal(likelihood_ratios(policy, parameters, acted), 1.0)


@pytest.mark.parametrize("averaging", AVERAGINGS)
def test_inner_gradient(policy, parameters, batch, averaging):
    gradient = inner_gradient(policy, parameters, batch, averaging)
    assert gradient.shape == parameters.shape
    for task in range(TASKS):
        expected = differenced(batch, parameters, task, averaging)
        np.testing.assert_allclose(gradient[task], expected, rtol=1e-7, atol=1e-8)


def test_steps_that_did_not_happen_are_ignored(policy, parameters, batch):
    absent = 1.0 - batch.mask
    elsewhere = batch._replace(
        advantages=batch.advantages + 5.0 * absent,
        actions=batch.actions + 3.0 * absent[..., None],
        observations=batch.observations - absent[..., None],
    )
    np.testing.assert_allclose(
        inner_gradient(policy, parameters, elsewhere, "steps"),
        inner_gradient(policy, parameters, batch, "steps"),
        rtol=1e-13,
    )
    np.testing.assert_allclose(
        trajectory_gradients(policy, parameters, elsewhere),
        trajectory_gradients(policy, parameters, batch),
        rtol=1e-13,
    )


@pytest.mark.parametrize("averaging", AVERAGINGS)
def test_adapt(policy, parameters, batch, averaging):
    adapted = adapt(policy, parameters, batch, InnerSettings(0.3, averaging))
    for task in range(TASKS):
        expected = parameters[task] + 0.3 * differenced(batch, parameters, task, averaging)
        np.testing.assert_allclose(adapted[task], expected, rtol=1e-8, atol=1e-8)


def test_adapt_keeps_tasks_apart(policy, parameters, batch):
    settings = InnerSettings(0.3, "steps")
    before = adapt(policy, parameters, batch, settings)
    second_only = tf.constant([[0.0], [1.0]], tf.float64)
    after = adapt(policy, parameters + 0.1 * second_only, batch, settings)
    np.testing.assert_array_equal(after[0], before[0])
    assert np.abs(after[1] - before[1] - 0.1).max() > 1e-3


@pytest.mark.parametrize("averaging", AVERAGINGS)
def test_the_jacobian_of_adapt_reaches_through_the_gradient(policy, parameters, batch, averaging):
    """Second derivatives, on which every estimator rests, by central differences of adapt."""
    settings = InnerSettings(0.3, averaging)
    direction = tf.constant(np.random.default_rng(3).normal(size=parameters.shape))
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        projected = tf.reduce_sum(adapt(policy, parameters, batch, settings) * direction)
    found = tape.gradient(projected, parameters).numpy()

    @tf.function
    def along(point: tf.Tensor) -> tf.Tensor:
        adapted = adapt(policy, tf.reshape(point, parameters.shape), batch, settings)
        return tf.reduce_sum(adapted * direction)

    expected = numerical_gradient(
        lambda point: float(along(tf.constant(point))), parameters.numpy().ravel()
    )
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-6, atol=1e-8)


def test_trajectory_gradients_against_one_trajectory_at_a_time(policy, parameters, batch):
    gradients = trajectory_gradients(policy, parameters, batch)
    assert gradients.shape == (TASKS, ROWS, policy.parameter_size)
    for task, row in np.ndindex(TASKS, ROWS):
        taken = [step for step in steps_taken(batch, task) if step[1] == row]

        def objective(point: np.ndarray, taken=taken) -> float:
            return sum(
                batch.advantages.numpy()[step] * step_log_prob(batch, point, step) for step in taken
            )

        expected = numerical_gradient(objective, parameters.numpy()[task])
        np.testing.assert_allclose(gradients[task, row], expected, rtol=1e-7, atol=1e-8)


def test_the_inner_gradient_is_the_weighted_mean_of_trajectory_gradients(policy, parameters, batch):
    gradients = trajectory_gradients(policy, parameters, batch).numpy()
    weights = batch.weights.numpy()
    mean = inner_gradient(policy, parameters, batch, "trajectories")
    for task in range(TASKS):
        expected = sum(weights[task, row] * gradients[task, row] for row in range(ROWS))
        np.testing.assert_allclose(mean[task], expected, rtol=1e-12, atol=1e-14)


def test_a_softmax_adapts_by_the_policy_gradient_theorem(batch):
    """Literal: two equal arms; grad log pi(first) = (1/2, -1/2). Advantage 3, weight 1, eta 0.1."""
    policy = TabularSoftmaxPolicy(states=1, actions=2)
    one = tf.ones([1, 1, 1], tf.float64)
    pull = batch._replace(
        observations=one[..., None],
        actions=tf.constant([[[[1.0, 0.0]]]], tf.float64),
        advantages=3.0 * one,
        mask=one,
        weights=one[..., 0],
    )
    adapted = adapt(policy, tf.zeros([1, 2], tf.float64), pull, InnerSettings(0.1, "steps"))
    np.testing.assert_allclose(adapted, [[0.15, -0.15]], rtol=1e-14)
