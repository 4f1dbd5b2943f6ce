"""Outer (meta) objectives and optimizers: v = grad V_hat(theta'), and what is done with the meta-gradient."""

from typing import NamedTuple

import tensorflow as tf

from metarl.adaptation import likelihood_ratios
from metarl.policies import Policy
from metarl.settings import Averaging
from metarl.trajectories import Trajectories, step_weights


def clipped_gradient(
    policy: Policy,
    parameters: tf.Tensor,
    batch: Trajectories,
    averaging: Averaging,
    clip: float | None,
) -> tf.Tensor:
    """v: the gradient of mean_it min(ratio_it A_it, clip(ratio_it, 1 - clip, 1 + clip) A_it), per task.

    On the policy that acted this is the plain policy gradient; PPO's clipping (Schulman et al. 2017, eq. 7)
    bounds later epochs on the same data.

    Args:
      policy: the policy.
      parameters: theta', [K, P].
      batch: the post-update trajectories.
      averaging: over steps or trajectories.
      clip: PPO's epsilon; None leaves ratios as they are.

    Returns:
      [K, P], an ascent direction.
    """
    average = step_weights(batch, averaging)
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        ratios = likelihood_ratios(policy, parameters, batch)
        gains = ratios * batch.advantages
        if clip is not None:
            clipped = tf.clip_by_value(ratios, 1.0 - clip, 1.0 + clip)
            gains = tf.minimum(gains, clipped * batch.advantages)
        objective = tf.reduce_sum(average * gains)
    return tape.gradient(objective, parameters)


def kl_gradient(policy: Policy, parameters: tf.Tensor, batch: Trajectories) -> tf.Tensor:
    """The gradient of mean_it KL(behaviour || pi_theta) at every task's parameters: [K, P].

    ProMP's inner KL penalty without its coefficient (Rothfuss et al. 2019, eq. 11); 0 on the policy that acted.
    """
    average = step_weights(batch, "steps")
    behaviour = policy.distribution(batch.behaviour)
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        current = policy.distribution(policy.outputs(parameters, batch.observations))
        divergence = tf.reduce_sum(average * behaviour.kl_divergence(current))
    return tape.gradient(divergence, parameters)


class AdamState(NamedTuple):
    """Adam's memory: step count [], first and second moments [P]."""

    count: tf.Tensor
    first: tf.Tensor
    second: tf.Tensor


def adam_start(parameters: tf.Tensor) -> AdamState:
    """Nothing seen yet."""
    zeros = tf.zeros_like(parameters)
    return AdamState(tf.zeros([], parameters.dtype), zeros, zeros)


def adam(
    parameters: tf.Tensor,
    gradient: tf.Tensor,
    state: AdamState,
    learning_rate: float,
) -> tuple[tf.Tensor, AdamState]:
    """One ascent step of Adam, Kingma and Ba 2015, algorithm 1, with its default constants.

    Pure, so that the optimizer's memory travels through a compiled step and into a checkpoint as tensors.
    """
    decay_first, decay_second, epsilon = 0.9, 0.999, 1e-8
    count = state.count + 1.0
    first = decay_first * state.first + (1.0 - decay_first) * gradient
    second = decay_second * state.second + (1.0 - decay_second) * gradient**2
    unbiased_first = first / (1.0 - decay_first**count)
    unbiased_second = second / (1.0 - decay_second**count)
    step = learning_rate * unbiased_first / (tf.sqrt(unbiased_second) + epsilon)
    return parameters + step, AdamState(count, first, second)
