"""Outer gradients against per-step derivations and differences; Adam against its sums."""

import numpy as np
import pytest
import tensorflow as tf

from metarl.adaptation import adapt, inner_gradient
from metarl.outer_optimizers import (
    adam,
    adam_start,
    adapted_kl_coefficients,
    clipped_gradient,
    conjugate_gradient,
    improvement_and_kl,
    kl_gradient,
    mean_kl,
    meta_fisher_product,
    trpo,
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


def test_adam_over_several_steps():
    """The moments as sums: m_t = (1 - b1) sum_i b1^(t - i) g_i, and v_t likewise of squares."""
    generator = np.random.default_rng(0)
    expected = generator.normal(size=5)
    gradients = generator.normal(size=(6, 5)) * [1.0, 1e-3, 10.0, 1e-9, 0.0]
    parameters = tf.constant(expected)
    state = adam_start(parameters)
    for t in range(1, 7):
        parameters, state = adam(parameters, tf.constant(gradients[t - 1]), state, 0.02)
        first = sum(0.1 * 0.9 ** (t - i) * gradients[i - 1] for i in range(1, t + 1))
        second = sum(0.001 * 0.999 ** (t - i) * gradients[i - 1] ** 2 for i in range(1, t + 1))
        expected = expected + 0.02 * (first / (1 - 0.9**t)) / (
            np.sqrt(second / (1 - 0.999**t)) + 1e-8
        )
        np.testing.assert_allclose(parameters, expected, rtol=1e-11)
        np.testing.assert_allclose(state.first, first, rtol=1e-12)
        np.testing.assert_allclose(state.second, second, rtol=1e-12)
        assert float(state.count) == t


def test_adam_ascends_by_the_learning_rate_at_first():
    """Literal: the first step is learning_rate * sign(gradient), whatever the gradient's size."""
    start = tf.constant([1.0, 2.0, 3.0], tf.float64)
    moved, _ = adam(start, tf.constant([1e-3, -50.0, 0.0], tf.float64), adam_start(start), 0.1)
    np.testing.assert_allclose(moved, [1.1, 1.9, 3.0], rtol=1e-5)


def test_adam_keeps_float32():
    start = tf.constant([1.0, 2.0])
    moved, state = adam(start, tf.ones(2), adam_start(start), 0.1)
    assert {x.dtype for x in (moved, *state)} == {tf.float32}


def adapted_chain(policy, parameters, batches, settings) -> list[tf.Tensor]:
    chain = [parameters]
    for batch in batches:
        chain.append(adapt(policy, chain[-1], batch, settings))
    return chain


@pytest.mark.parametrize("inner_steps", [1, 2])
def test_meta_fisher_product_is_the_hessian_of_the_post_update_kl(
    policy, parameters, batch, inner_steps
):
    """Against central differences of the gradient of mean KL(stop(pi_theta') || pi_theta'(theta)) by autodiff."""
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
    step = trpo(np.zeros(3), np.ones(3), product, measure, trust_region=0.01)
    assert step.accepted
    np.testing.assert_allclose(step.parameters, np.sqrt(0.01 / 3) * np.ones(3), rtol=1e-3)
    assert step.kl <= 0.01
    assert step.improvement == pytest.approx(3 * np.sqrt(0.01 / 3), rel=1e-3)


def test_trpo_backtracks_into_the_trust_region():
    """The divergence is four times what its Hessian says: half the length is the longest, 0.8^4 the first within."""
    measure, product = quadratic(gain=1.0, kl=4.0)
    step = trpo(np.zeros(3), np.ones(3), product, measure, trust_region=0.01)
    assert step.accepted
    assert step.kl <= 0.01
    np.testing.assert_allclose(step.parameters, 0.8**4 * np.sqrt(0.01 / 3) * np.ones(3), rtol=1e-3)


@pytest.mark.parametrize(("gain", "kl"), [(-1.0, 1.0), (1.0, 1e6), (np.nan, 1.0), (1.0, np.nan)])
def test_trpo_rejects(gain, kl):
    """A surrogate that falls, a divergence too large for every trial, and numbers that are none."""
    measure, product = quadratic(gain, kl)
    step = trpo(np.zeros(3), np.ones(3), product, measure, trust_region=0.01)
    assert not step.accepted
    np.testing.assert_array_equal(step.parameters, np.zeros(3))
    assert (step.kl, step.improvement) == (0.0, 0.0)


def test_trpo_rejects_a_direction_of_negative_curvature():
    measure, _ = quadratic(gain=1.0, kl=1.0)
    step = trpo(np.zeros(3), np.ones(3), lambda x: -x, measure, trust_region=0.01)
    assert not step.accepted
    np.testing.assert_array_equal(step.parameters, np.zeros(3))


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
            batch, task, "steps",
            lambda step, task=task: (naive_ratio(batch, parameters.numpy()[task], step) - 1.0)
            * batch.advantages.numpy()[step],
        )
        for task in range(TASKS)
    ]  # fmt: skip
    kls = [naive_average(batch, task, "steps", kl) for task in range(TASKS)]
    assert float(improvement) == pytest.approx(np.mean(gains), rel=1e-9)
    assert float(divergence) == pytest.approx(np.mean(kls), rel=1e-9)


def test_adapted_kl_coefficients():
    found = adapted_kl_coefficients(
        tf.constant([1.0, 1.0, 1.0]), tf.constant([0.0066, 0.0067, 0.0151]), target=0.01
    )
    np.testing.assert_array_equal(found, [0.5, 1.0, 2.0])
