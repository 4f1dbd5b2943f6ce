"""Baseline and advantages against plain loops over trajectories of unequal length."""

import math

import numpy as np
import pytest
import tensorflow as tf

from metarl.advantages import (
    baseline_features,
    discounted_sums,
    fit,
    linear_feature_baseline,
    trajectories,
)
from metarl.rollouts import Rollout
from metarl.settings import AdvantageSettings

TASKS, ROWS, HORIZON = 2, 6, 5
SETTINGS = [(1.0, 1.0), (0.99, 1.0), (0.5, 1.0), (0.99, 0.9), (0.7, 0.0)]


@pytest.fixture
def rollout() -> Rollout:
    """float32, as sampled: rewards are 0 after a trajectory's end."""
    generator = np.random.default_rng(0)
    shape = (TASKS, ROWS, HORIZON)
    lengths = np.array([[5, 1, 3, 5, 2, 4], [2, 5, 5, 1, 4, 3]])
    mask = (np.arange(HORIZON) < lengths[..., None]).astype(np.float32)
    observations = generator.normal(scale=6.0, size=(*shape, 2)).astype(np.float32)
    assert (np.abs(observations) > 10.0).any()  # the features' clipping matters
    return Rollout(
        observations=observations,
        actions=generator.normal(size=(*shape, 1)).astype(np.float32),
        rewards=mask * generator.normal(size=shape).astype(np.float32),
        mask=mask,
        behaviour=tuple(generator.normal(size=(*shape, 1)).astype(np.float32) for _ in range(2)),
    )


def features(observation: np.ndarray, t: int) -> list[float]:
    clipped = [min(max(float(x), -10.0), 10.0) for x in observation]
    time = t / 100.0
    return [*clipped, *(x**2 for x in clipped), time, time**2, time**3, 1.0]


def naive_baseline(observations, mask, targets) -> np.ndarray:
    """Ridge regression as ordinary least squares on rows that pull every coefficient to 0."""
    predictions = np.zeros(mask.shape)
    for k in range(len(mask)):
        taken = [tuple(step) for step in np.argwhere(mask[k])]
        rows = np.array([features(observations[k][step], step[1]) for step in taken])
        size = rows.shape[1]
        coefficients, *_ = np.linalg.lstsq(
            np.concatenate([rows, math.sqrt(1e-5) * np.eye(size)]),
            np.concatenate([[targets[k][step] for step in taken], np.zeros(size)]),
            rcond=None,
        )
        for step, row in zip(taken, rows, strict=True):
            predictions[k][step] = row @ coefficients
    return predictions


def predicted(observations, mask, targets) -> np.ndarray:
    """The fitted baseline on what it was fitted on."""
    features = baseline_features(observations, mask)
    coefficients = linear_feature_baseline(features, mask, targets)
    return (features.numpy() @ coefficients.numpy()).reshape(mask.shape)


def naive_advantages(rollout: Rollout, discount: float, gae_lambda: float, values=None):
    """gamma^t times GAE, TD error and reward of every step, unscaled, from double sums."""
    rewards = rollout.rewards.astype(np.float64)
    lengths = rollout.mask.sum(axis=-1).astype(int)
    returns_to_go = np.zeros(rewards.shape)
    for k, i in np.ndindex(TASKS, ROWS):
        for t in range(lengths[k, i]):
            returns_to_go[k, i, t] = sum(
                discount ** (later - t) * rewards[k, i, later] for later in range(t, lengths[k, i])
            )
    if values is None:
        values = naive_baseline(rollout.observations, rollout.mask, returns_to_go)
    advantages, errors = np.zeros(rewards.shape), np.zeros(rewards.shape)
    discounted = np.zeros(rewards.shape)
    for k, i in np.ndindex(TASKS, ROWS):
        length = lengths[k, i]
        deltas = []
        for t in range(length):
            following = values[k, i, t + 1] if t + 1 < length else 0.0
            deltas.append(rewards[k, i, t] + discount * following - values[k, i, t])
        for t in range(length):
            advantages[k, i, t] = discount**t * sum(
                (discount * gae_lambda) ** (later - t) * deltas[later] for later in range(t, length)
            )
            errors[k, i, t] = discount**t * deltas[t]
            discounted[k, i, t] = discount**t * rewards[k, i, t]
    return advantages, errors, discounted


@pytest.mark.parametrize("factor", [0.0, 0.9, 1.0])
def test_discounted_sums(factor):
    x = np.random.default_rng(0).normal(size=(2, 3, 5))
    sums = discounted_sums(x, factor)
    for index in np.ndindex(2, 3, 5):
        *row, t = index
        expected = sum(factor ** (later - t) * x[(*row, later)] for later in range(t, 5))
        np.testing.assert_allclose(sums[index], expected, rtol=1e-13)


def test_baseline_against_least_squares(rollout):
    targets = np.random.default_rng(1).normal(size=rollout.mask.shape)
    predictions = predicted(rollout.observations, rollout.mask, targets)
    assert predictions.dtype == np.float64
    expected = naive_baseline(rollout.observations, rollout.mask, targets)
    np.testing.assert_allclose(predictions, expected, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(predictions[rollout.mask == 0], 0.0)


def test_baseline_fits_every_task_by_itself(rollout):
    targets = np.random.default_rng(1).normal(size=rollout.mask.shape)
    together = predicted(rollout.observations, rollout.mask, targets)
    targets[1] *= -3.0
    apart = predicted(rollout.observations, rollout.mask, targets)
    np.testing.assert_allclose(apart[0], together[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(apart[1], -3.0 * together[1], rtol=0, atol=1e-9)


@pytest.mark.parametrize(("discount", "gae_lambda"), SETTINGS)
def test_trajectories_against_plain_loops(rollout, discount, gae_lambda):
    batch = trajectories(rollout, AdvantageSettings(discount, gae_lambda))
    advantages, errors, discounted = naive_advantages(rollout, discount, gae_lambda)
    for k in range(TASKS):
        taken = rollout.mask[k] == 1
        sigma = math.sqrt(np.mean((advantages[k][taken] - advantages[k][taken].mean()) ** 2))
        for found, expected in (
            (batch.advantages, advantages),
            (batch.rewards, errors),
            (batch.score_rewards, discounted),
        ):
            np.testing.assert_allclose(found[k], expected[k] / sigma, rtol=1e-6, atol=1e-6)


def test_uniform_weights_leave_gamma_to_the_t_out_of_the_advantages_alone(rollout):
    discounted, uniform = (
        trajectories(rollout, AdvantageSettings(0.7, 0.9, weighting), dtype=tf.float64)
        for weighting in ("discounted", "uniform")
    )
    expected, _, _ = naive_advantages(rollout, 0.7, 0.9)
    for k in range(TASKS):
        taken = rollout.mask[k] == 1
        undiscounted = expected[k] / 0.7 ** np.arange(HORIZON)
        sigma = undiscounted[taken].std()
        np.testing.assert_allclose(uniform.advantages[k], undiscounted / sigma, atol=1e-6)
        # one scale for all three: rewards differ by it and by nothing else
        for name in ("rewards", "score_rewards"):
            ratio = getattr(uniform, name)[k].numpy()[taken] / getattr(discounted, name)[k][taken]
            np.testing.assert_allclose(ratio, expected[k][taken].std() / sigma, rtol=1e-6)


def test_a_baseline_from_elsewhere_enters_as_it_is(rollout):
    """Fitted on the tasks in another order with other rewards, then chosen by task; float64."""
    settings = AdvantageSettings(0.99, 0.9)
    other = rollout._replace(rewards=rollout.mask * (3.0 + 2.0 * rollout.rewards[:, ::-1]))
    pilot = fit(Rollout(*(x[::-1] for x in other[:-1]), other.behaviour), settings)
    batch = trajectories(rollout, settings, pilot.of(np.array([1, 0])), tf.float64)
    returns_to_go = discounted_sums(other.rewards.astype(float), 0.99)
    features = baseline_features(other.observations, other.mask)
    coefficients = linear_feature_baseline(features, other.mask, returns_to_go).numpy()
    features = baseline_features(rollout.observations, rollout.mask).numpy()
    values = (features @ coefficients).reshape(rollout.mask.shape)
    found = naive_advantages(rollout, 0.99, 0.9, values)
    scales, *_ = naive_advantages(other, 0.99, 0.9)
    for k in range(TASKS):
        sigma = scales[k][other.mask[k] == 1].std()
        for x, expected in zip(
            (batch.advantages, batch.rewards, batch.score_rewards), found, strict=True
        ):
            np.testing.assert_allclose(x[k], expected[k] / sigma, rtol=1e-7, atol=1e-7)
    assert {x.dtype for x in tf.nest.flatten(batch)} == {tf.float64}


@pytest.mark.parametrize("discount", [1.0, 0.99, 0.9, 0.5])
def test_rewards_to_go_are_the_advantages_for_lambda_1(rollout, discount):
    batch = trajectories(rollout, AdvantageSettings(discount, 1.0))
    for index in np.ndindex(TASKS, ROWS, HORIZON):
        *row, t = index
        to_go = sum(float(batch.rewards[(*row, later)]) for later in range(t, HORIZON))
        np.testing.assert_allclose(batch.advantages[index], to_go, rtol=0, atol=2e-6)


def test_advantages_have_unit_scale_in_every_task(rollout):
    batch = trajectories(rollout, AdvantageSettings(0.99, 0.95))
    for k in range(TASKS):
        taken = batch.advantages[k].numpy()[rollout.mask[k] == 1]
        assert taken.std() == pytest.approx(1.0, abs=1e-6)
    rescaled = trajectories(
        rollout._replace(rewards=100.0 * rollout.rewards), AdvantageSettings(0.99, 0.95)
    )
    np.testing.assert_allclose(rescaled.advantages, batch.advantages, rtol=0, atol=1e-5)


def test_steps_that_did_not_happen_are_zero_and_unseen(rollout):
    batch = trajectories(rollout, AdvantageSettings(0.9, 0.9))
    absent = rollout.mask == 0
    for values in (batch.advantages, batch.rewards, batch.score_rewards):
        np.testing.assert_array_equal(values.numpy()[absent], 0.0)
    elsewhere = rollout.observations.copy()
    elsewhere[absent] = 9.0
    other = trajectories(rollout._replace(observations=elsewhere), AdvantageSettings(0.9, 0.9))
    np.testing.assert_array_equal(other.advantages, batch.advantages)
    np.testing.assert_array_equal(other.rewards, batch.rewards)


def test_the_rest_of_the_batch_is_the_rollout(rollout):
    batch = trajectories(rollout, AdvantageSettings(0.99, 1.0))
    for name in ("observations", "actions", "mask"):
        np.testing.assert_array_equal(getattr(batch, name), getattr(rollout, name))
    for found, expected in zip(batch.behaviour, rollout.behaviour, strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(batch.weights, np.full((TASKS, ROWS), 1.0 / ROWS), rtol=1e-6)
    assert float(batch.sample_size) == ROWS
    assert {x.dtype for x in tf.nest.flatten(batch)} == {tf.float32}


def test_rewards_that_are_all_equal_to_zero_give_zero_advantages(rollout):
    silent = rollout._replace(rewards=np.zeros_like(rollout.rewards))
    batch = trajectories(silent, AdvantageSettings(0.99, 1.0))
    for values in (batch.advantages, batch.rewards, batch.score_rewards):
        np.testing.assert_array_equal(values, np.zeros((TASKS, ROWS, HORIZON)))


def test_a_constant_reward_gives_zero_advantages_in_its_task_alone(rollout):
    """Whatever its size; where episodes differ in length the same reward tells them apart."""
    whole = rollout._replace(mask=np.ones_like(rollout.mask))
    for reward in (1.0, 1e6, -3.7):
        rewards = np.stack([np.full(whole.rewards.shape[1:], reward), rollout.rewards[1]])
        batch = trajectories(
            whole._replace(rewards=rewards.astype(np.float32)), AdvantageSettings(0.99, 1.0)
        )
        for signal in (batch.advantages, batch.rewards, batch.score_rewards):
            assert not signal[0].numpy().any() and signal[1].numpy().any()
    survival = rollout._replace(rewards=rollout.mask)
    assert trajectories(survival, AdvantageSettings(0.99, 1.0)).advantages[0].numpy().any()
