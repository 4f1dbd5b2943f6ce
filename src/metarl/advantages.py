"""Advantages: the linear feature baseline, generalized advantage estimates and their scale.

For lambda = 1 and discounted weights of states the undiscounted reward-to-go of `rewards` below is
exactly `advantages`: every estimator sees the same inner gradient, and the reward-based ones (dice,
leave_one_out) and the advantage-based ones differ in their score weights alone. Uniform weights, as
published, change the advantages and not the rewards: dice then adapts by another gradient, and the
score terms of unbiased, emaml and leave_one_out are those of discounted rewards.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from metarl.rollouts import Rollout
from metarl.settings import AdvantageSettings
from metarl.trajectories import Trajectories


def discounted_sums(x: np.ndarray, factor: float) -> np.ndarray:
    """sum_{t' >= t} factor^(t' - t) x_t' along the last axis."""
    sums = np.zeros_like(x)
    following = np.zeros_like(x[..., 0])
    for t in reversed(range(x.shape[-1])):
        following = x[..., t] + factor * following
        sums[..., t] = following
    return sums


@tf.function(jit_compile=True, autograph=False)
def baseline_features(observations: np.ndarray, mask: np.ndarray) -> tf.Tensor:
    """Features of state and time, float64 [K, N * T, 2 O + 4], 0 where the mask is 0.

    Duan et al. 2016, appendix: observation clipped to [-10, 10], its square, t/100 and its square
    and cube, 1.
    """
    tasks, rows, horizon = mask.shape
    clipped = tf.cast(tf.clip_by_value(observations, -10.0, 10.0), tf.float64)
    powers = tf.constant((np.arange(horizon)[:, None] / 100.0) ** [1, 2, 3, 0])
    time = tf.broadcast_to(powers, [tasks, rows, horizon, 4])
    features = tf.concat([clipped, clipped**2, time], axis=-1)
    features *= tf.cast(mask, tf.float64)[..., None]
    return tf.reshape(features, [tasks, rows * horizon, -1])


def least_squares(features: tf.Tensor, targets: np.ndarray) -> tf.Tensor:
    """Coefficients [K, F, 1] of `targets` [K, M, 1] on `features` [K, M, F], with a ridge 1e-5."""
    # TensorFlow's kernels rather than BLAS: their bits do not depend on the number of threads.
    gram = tf.matmul(features, features, transpose_a=True)
    ridge = 1e-5 * tf.eye(features.shape[-1], dtype=tf.float64)
    moments = tf.matmul(features, tf.constant(targets, tf.float64), transpose_a=True)
    return tf.linalg.solve(gram + ridge, moments)


def linear_feature_baseline(
    features: tf.Tensor, mask: np.ndarray, targets: np.ndarray
) -> tf.Tensor:
    """The linear feature baseline of every task: coefficients [K, F, 1] for targets [K, N, T]."""
    return least_squares(features, (targets * mask).reshape(*features.shape[:2], 1))


class Signals(NamedTuple):
    """What rewards become under a baseline; each float64 [K, N, T], 0 where the mask is 0.

    Attributes:
      advantages: gamma^t A^GAE_t; A^GAE_t where the settings weigh states uniformly.
      rewards: gamma^t delta_t, the baseline's temporal-difference errors.
      score_rewards: gamma^t r_t.
    """

    advantages: np.ndarray
    rewards: np.ndarray
    score_rewards: np.ndarray


class Baseline(NamedTuple):
    """What one rollout tells about another: a fitted baseline and the scale of its advantages.

    Attributes:
      coefficients: of the linear feature baseline, [K, F, 1].
      deviation: sigma, the standard deviation of each task's advantages, [K, 1, 1]; infinite, so
        that advantages are 0, where all rewards are one number: else what the ridge leaves of them
        would be blown up to unit size.
    """

    coefficients: tf.Tensor
    deviation: np.ndarray

    def of(self, tasks: np.ndarray) -> "Baseline":
        """The same for a selection of tasks, given by index [K']."""
        return Baseline(tf.gather(self.coefficients, tasks), self.deviation[tasks])


def unscaled(
    rollout: Rollout, features: tf.Tensor, settings: AdvantageSettings, coefficients: tf.Tensor
) -> Signals:
    """Generalized advantage estimates under a fitted baseline, before division by sigma."""
    discount = settings.discount
    mask = rollout.mask.astype(np.float64)
    rewards = rollout.rewards.astype(np.float64)
    values = tf.matmul(features, coefficients).numpy().reshape(mask.shape)
    following = np.concatenate([values[..., 1:], np.zeros_like(values[..., :1])], axis=-1)
    errors = mask * (rewards + discount * following - values)
    advantages = discounted_sums(errors, discount * settings.gae_lambda)
    powers = discount ** np.arange(mask.shape[-1])
    weights = powers if settings.state_weighting == "discounted" else 1.0
    return Signals(mask * weights * advantages, mask * powers * errors, mask * powers * rewards)


def fitted(
    rollout: Rollout, features: tf.Tensor, settings: AdvantageSettings
) -> tuple[Baseline, Signals]:
    """The baseline and the scale of a rollout's own tasks, and its signals under them."""
    mask = rollout.mask.astype(np.float64)
    returns_to_go = discounted_sums(rollout.rewards.astype(np.float64), settings.discount)
    coefficients = linear_feature_baseline(features, mask, returns_to_go)
    signals = unscaled(rollout, features, settings, coefficients)
    counts = mask.sum(axis=(1, 2), keepdims=True)
    means = signals.advantages.sum(axis=(1, 2), keepdims=True) / counts
    squares = (mask * (signals.advantages - means) ** 2).sum(axis=(1, 2), keepdims=True)
    deviation = np.where(constant_rewards(rollout), np.inf, np.sqrt(squares / counts))
    return Baseline(coefficients, deviation), signals


def constant_rewards(rollout: Rollout) -> np.ndarray:
    """Whether a task has nothing to learn from, [K, 1, 1]: all steps happened, with one reward."""
    rewards = rollout.rewards.reshape(len(rollout.rewards), -1)
    happened = rollout.mask.all(axis=(1, 2))
    return (happened & (rewards == rewards[:, :1]).all(axis=1))[:, None, None]


def fit(rollout: Rollout, settings: AdvantageSettings) -> Baseline:
    """The baseline and the scale of a rollout's own tasks."""
    features = baseline_features(rollout.observations, rollout.mask)
    return fitted(rollout, features, settings)[0]


def trajectories(
    rollout: Rollout,
    settings: AdvantageSettings,
    baseline: Baseline | None = None,
    dtype: tf.DType = tf.float32,
) -> Trajectories:
    """The batch that estimators see.

    advantages = gamma^t A^GAE_t / sigma, rewards = gamma^t delta_t / sigma and score_rewards =
    gamma^t r_t / sigma, with the baseline's temporal-difference errors delta_t and, per task, sigma
    the standard deviation of the advantages. Nothing is subtracted after the baseline: a mean
    removed from A but not from r would tear them apart. Uniform weights of states change the
    advantages alone: dice's rewards no longer sum to them.

    Args:
      rollout: K x N x T steps.
      settings: discount and lambda.
      baseline: of the K tasks. None: fitted on the rollout itself, as published code does; each
        trajectory's advantages then depend on the others, a bias of O(1/N) from the baseline and of
        O(1) from sigma in any estimator that assumes independence.
      dtype: of the batch.

    Returns:
      Trajectories, weights 1/N.
    """
    features = baseline_features(rollout.observations, rollout.mask)
    if baseline is None:
        baseline, signals = fitted(rollout, features, settings)
    else:
        signals = unscaled(rollout, features, settings, baseline.coefficients)
    scale = 1.0 / (baseline.deviation + 1e-8)
    tasks, rows, _ = rollout.mask.shape

    def tensor(x: np.ndarray) -> tf.Tensor:
        return tf.constant(x, dtype)

    return Trajectories(
        observations=tensor(rollout.observations),
        actions=tensor(rollout.actions),
        advantages=tensor(scale * signals.advantages),
        rewards=tensor(scale * signals.rewards),
        score_rewards=tensor(scale * signals.score_rewards),
        mask=tensor(rollout.mask),
        behaviour=tuple(tensor(x) for x in rollout.behaviour),
        weights=tf.fill([tasks, rows], tf.constant(1.0 / rows, dtype)),
        sample_size=tf.constant(float(rows), dtype),
    )
