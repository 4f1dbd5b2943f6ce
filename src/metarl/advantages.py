"""Advantages: the linear feature baseline, generalized advantage estimates and their scale.

Every estimator sees the same first-order inner gradient. For lambda = 1 the undiscounted reward-to-go of
`rewards` below is exactly `advantages`, so the reward-based estimators (dice, leave_one_out) and the advantage-based
ones differ in their score weights alone.
"""

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


def linear_feature_baseline(
    observations: np.ndarray, mask: np.ndarray, targets: np.ndarray
) -> np.ndarray:
    """Least-squares fit of `targets` on features of state and time, per task (Duan et al. 2016, appendix).

    Features: observation clipped to [-10, 10], its square, t/100 and its square and cube, 1. Fitted and predicted on
    the same trajectories, as published code does: a bias of O(1/N) in any estimator that assumes independence.

    Args:
      observations: [K, N, T, O].
      mask: [K, N, T].
      targets: [K, N, T].

    Returns:
      Predictions [K, N, T] float64, 0 where the mask is 0.
    """
    tasks, rows, horizon = mask.shape
    clipped = np.clip(observations, -10.0, 10.0).astype(np.float64)
    time = np.broadcast_to(np.arange(horizon)[:, None] / 100.0, (tasks, rows, horizon, 1))
    features = np.concatenate(
        [clipped, clipped**2, time, time**2, time**3, np.ones_like(time)], axis=-1
    )
    features = (features * mask[..., None]).reshape(tasks, rows * horizon, -1)
    masked_targets = (targets * mask).reshape(tasks, rows * horizon, 1)
    # TensorFlow's kernels rather than BLAS: their bits do not depend on the number of threads.
    gram = tf.matmul(features, features, transpose_a=True)
    ridge = 1e-5 * tf.eye(features.shape[-1], dtype=tf.float64)
    moments = tf.matmul(features, tf.constant(masked_targets, tf.float64), transpose_a=True)
    coefficients = tf.linalg.solve(gram + ridge, moments)
    return tf.matmul(features, coefficients).numpy().reshape(tasks, rows, horizon)


def trajectories(rollout: Rollout, settings: AdvantageSettings) -> Trajectories:
    """The batch that estimators see.

    advantages = gamma^t A^GAE_t / sigma, rewards = gamma^t delta_t / sigma and score_rewards = gamma^t r_t / sigma, with
    the baseline's temporal-difference errors delta_t and, per task, sigma the standard deviation of the advantages.
    Nothing is subtracted after the baseline: a mean removed from A but not from r would tear them apart.

    Args:
      rollout: K x N x T steps.
      settings: discount and lambda.

    Returns:
      Trajectories, float32, weights 1/N.
    """
    discount = settings.discount
    mask = rollout.mask.astype(np.float64)
    rewards = rollout.rewards.astype(np.float64)
    returns_to_go = discounted_sums(rewards, discount)
    values = linear_feature_baseline(rollout.observations, mask, returns_to_go)
    following = np.concatenate([values[..., 1:], np.zeros_like(values[..., :1])], axis=-1)
    errors = mask * (rewards + discount * following - values)
    advantages = discounted_sums(errors, discount * settings.gae_lambda)
    powers = discount ** np.arange(mask.shape[-1])
    advantages, errors, rewards = (mask * powers * x for x in (advantages, errors, rewards))
    counts = mask.sum(axis=(1, 2), keepdims=True)
    means = advantages.sum(axis=(1, 2), keepdims=True) / counts
    variances = (mask * (advantages - means) ** 2).sum(axis=(1, 2), keepdims=True) / counts
    scale = 1.0 / (np.sqrt(variances) + 1e-8)
    tasks, rows, _ = mask.shape

    def tensor(x: np.ndarray) -> tf.Tensor:
        return tf.constant(x, tf.float32)

    return Trajectories(
        observations=tensor(rollout.observations),
        actions=tensor(rollout.actions),
        advantages=tensor(scale * advantages),
        rewards=tensor(scale * errors),
        score_rewards=tensor(scale * rewards),
        mask=tensor(rollout.mask),
        behaviour=tuple(tensor(x) for x in rollout.behaviour),
        weights=tf.fill([tasks, rows], tf.constant(1.0 / rows)),
        sample_size=tf.constant(float(rows)),
    )
