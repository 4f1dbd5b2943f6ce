"""Outer gradients and Fisher products against per-step derivations and differences."""

import numpy as np
import pytest
import tensorflow as tf

from metarl.adaptation import adapt, inner_gradient
from metarl.objectives import (
    clipped_gradient,
    improvement_and_kl,
    kl_gradient,
    mean_kl,
    meta_fisher_product,
)
from metarl.settings import InnerSettings
from tests.conftest import (
    TASKS,
    naive_average,
    naive_behaviour_log_prob,
    naive_log_prob,
    naive_outputs,
    numerical_gradient,
    steps_taken,
)

AVERAGINGS = ["steps", "trajectories"]
CLIP = 0.1


def naive_ratio(batch, parameters: np.ndarray, step: tuple[int, int, int]) -> float:
    observation, action = batch.observations.numpy()[step], batch.actions.numpy()[step]
    current = naive_log_prob(parameters, observation, action)
    return np.exp(current - naive_behaviour_log_prob(batch, step))


def naive_clipped_gain(batch, parameters: np.ndarray, step: tuple[int, int, int]) -> float:
    ratio, advantage = naive_ratio(batch, parameters, step), batch.advantages.numpy()[step]
    return min(ratio * advantage, min(max(ratio, 1 - CLIP), 1 + CLIP) * advantage)


def case(ratio: float, advantage: float) -> str:
    """PPO's objective is flat beyond the clipping range, on the side the advantage pushes to."""
    if ratio > 1 + CLIP:
        return "flat" if advantage > 0 else "open above"
    if ratio < 1 - CLIP:
        return "flat" if advantage < 0 else "open below"
    return "inside"


@pytest.mark.parametrize("averaging", AVERAGINGS)
@pytest.mark.parametrize("clip", [CLIP, None])
def test_clipped_gradient_step_by_step(policy, parameters, batch, averaging, clip):
    """A step adds ratio A grad log pi where the objective is not flat, and nothing where it is."""
    gradient = clipped_gradient(policy, parameters, batch, averaging, clip)
    assert gradient.shape == parameters.shape
    cases = []
    for task in range(TASKS):
        point = parameters.numpy()[task]

        def term(step, point=point):
            ratio, advantage = naive_ratio(batch, point, step), batch.advantages.numpy()[step]
            cases.append(case(ratio, advantage))
            if clip is not None and cases[-1] == "flat":
                return np.zeros(policy.parameter_size)
            observation, action = batch.observations.numpy()[step], batch.actions.numpy()[step]
            score = numerical_gradient(lambda x: naive_log_prob(x, observation, action), point)
            return ratio * advantage * score

        expected = naive_average(batch, task, averaging, term)
        np.testing.assert_allclose(gradient[task], expected, rtol=1e-7, atol=1e-8)
    assert set(cases) == {"flat", "open above", "open below", "inside"}


@pytest.mark.parametrize("averaging", AVERAGINGS)
def test_clipped_gradient_against_finite_differences(policy, parameters, batch, averaging):
    gradient = clipped_gradient(policy, parameters, batch, averaging, CLIP)
    for task in range(TASKS):

        def objective(point: np.ndarray, task=task) -> float:
            return naive_average(
                batch, task, averaging, lambda step: naive_clipped_gain(batch, point, step)
            )

        for taken in steps_taken(batch, task):  # no kink within the differences' reach
            ratio = naive_ratio(batch, parameters.numpy()[task], taken)
            assert min(abs(ratio - 1 + CLIP), abs(ratio - 1 - CLIP)) > 1e-3
        expected = numerical_gradient(objective, parameters.numpy()[task])
        np.testing.assert_allclose(gradient[task], expected, rtol=1e-7, atol=1e-8)


def test_on_the_policy_that_acted_it_is_the_policy_gradient(policy, parameters, batch):
    acted = batch._replace(behaviour=policy.outputs(parameters, batch.observations))
    expected = inner_gradient(policy, parameters, acted, "steps")
    for clip in (CLIP, None):
        found = clipped_gradient(policy, parameters, acted, "steps", clip)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def gaussian_kl(mean_p, log_std_p, mean_q, log_std_q) -> float:
    """KL(p || q) of diagonal Gaussians in closed form."""
    variance_p, variance_q = np.exp(2 * log_std_p), np.exp(2 * log_std_q)
    terms = log_std_q - log_std_p + (variance_p + (mean_p - mean_q) ** 2) / (2 * variance_q) - 0.5
    return terms.sum()


def test_kl_gradient(policy, parameters, batch):
    gradient = kl_gradient(policy, parameters, batch)
    assert gradient.shape == parameters.shape
    observations, means, log_stds = (x.numpy() for x in (batch.observations, *batch.behaviour))
    for task in range(TASKS):

        def divergence(point: np.ndarray, task=task) -> float:
            return naive_average(
                batch,
                task,
                "steps",
                lambda step: gaussian_kl(
                    means[step], log_stds[step], *naive_outputs(point, observations[step])
                ),
            )

        expected = numerical_gradient(divergence, parameters.numpy()[task])
        assert np.abs(expected).max() > 0.01
        np.testing.assert_allclose(gradient[task], expected, rtol=1e-7, atol=1e-8)


def test_kl_gradient_is_0_on_the_policy_that_acted(policy, parameters, batch):
    acted = batch._replace(behaviour=policy.outputs(parameters, batch.observations))
    np.testing.assert_allclose(kl_gradient(policy, parameters, acted), 0.0, atol=1e-14)


def adapted_chain(policy, parameters, batches, settings) -> list[tf.Tensor]:
    chain = [parameters]
    for batch in batches:
        chain.append(adapt(policy, chain[-1], batch, settings))
    return chain


@pytest.mark.parametrize("inner_steps", [1, 2])
def test_meta_fisher_product_is_the_hessian_of_the_post_update_kl(
    policy, parameters, batch, inner_steps
):
    """Against central differences of the gradient of mean KL(stop(pi_theta') || pi_theta'(theta))
    by autodiff."""
    settings = InnerSettings(0.05, "steps")
    theta = parameters[:1]
    inner = [batch, batch._replace(advantages=batch.advantages[::-1])][:inner_steps]
    copies = tf.repeat(theta, TASKS, axis=0)
    chain = adapted_chain(policy, copies, inner, settings)
    outer = batch._replace(behaviour=policy.outputs(chain[-1], batch.observations))

    def gradient(point: np.ndarray) -> np.ndarray:
        point = tf.constant(point)
        with tf.GradientTape() as tape:
            tape.watch(point)
            moved = adapted_chain(policy, tf.repeat(point[None], TASKS, axis=0), inner, settings)
            divergence = tf.reduce_mean(mean_kl(policy, moved[-1], outer))
        return tape.gradient(divergence, point).numpy()

    start = theta.numpy()[0]
    generator = np.random.default_rng(3)
    for _ in range(3):
        vector = generator.normal(size=start.shape)
        h = 1e-5
        expected = (gradient(start + h * vector) - gradient(start - h * vector)) / (2 * h)
        vectors = tf.constant(np.tile(vector, (TASKS, 1)))
        found = meta_fisher_product(policy, chain, [*inner, outer], settings, vectors)
        np.testing.assert_allclose(found.numpy().mean(axis=0), expected, rtol=1e-6, atol=1e-7)


def test_improvement_and_kl_step_by_step(policy, parameters, batch):
    improvement, divergence = improvement_and_kl(policy, parameters, batch, "steps")

    def kl(step):
        task = step[0]
        mean, log_std = naive_outputs(parameters.numpy()[task], batch.observations.numpy()[step])
        old_mean, old_log_std = (x.numpy()[step] for x in batch.behaviour)
        variances = np.exp(2 * old_log_std) + (old_mean - mean) ** 2
        return (log_std - old_log_std + variances / (2 * np.exp(2 * log_std)) - 0.5).sum()

    gains = [
        naive_average(
            batch,
            task,
            "steps",
            lambda step, task=task: (
                (naive_ratio(batch, parameters.numpy()[task], step) - 1.0)
                * batch.advantages.numpy()[step]
            ),
        )
        for task in range(TASKS)
    ]
    kls = [naive_average(batch, task, "steps", kl) for task in range(TASKS)]
    assert float(improvement) == pytest.approx(np.mean(gains), rel=1e-9)
    assert float(divergence) == pytest.approx(np.mean(kls), rel=1e-9)
