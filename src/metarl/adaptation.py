"""The inner loop, per task: theta' = theta + eta mean_i f_i, f_i = sum_t A_it g_it.

The scores are g_it = grad log pi_theta(a_it | s_it).
"""

import tensorflow as tf

from metarl.policies import Policy, log_prob
from metarl.settings import Averaging, InnerSettings
from metarl.trajectories import Trajectories, step_weights


def likelihood_ratios(policy: Policy, parameters: tf.Tensor, batch: Trajectories) -> tf.Tensor:
    """pi_theta(a | s) / pi_behaviour(a | s), step by step: [K, N, T]; 1 for the acting policy."""
    current = log_prob(policy, parameters, batch.observations, batch.actions)
    return tf.exp(current - policy.distribution(batch.behaviour).log_prob(batch.actions))


def inner_coefficients(batch: Trajectories, averaging: Averaging) -> tf.Tensor:
    """What mean_i f_i weighs every score g_it by, [K, N, T].

    A_it times the step's share of the average.
    """
    return step_weights(batch, averaging) * batch.advantages


def score_products(
    policy: Policy, parameters: tf.Tensor, batch: Trajectories, vectors: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """log pi_theta(a_it | s_it) and its directional derivatives: [K, N, T] each.

    d_it = g_it . x, with vectors x [K, P].
    """
    outputs, changes = policy.directional(parameters, batch.observations, vectors)
    log_probs = policy.distribution(outputs).log_prob(batch.actions)
    return log_probs, policy.log_prob_change(outputs, changes, batch.actions)


def inner_gradient(
    policy: Policy, parameters: tf.Tensor, batch: Trajectories, averaging: Averaging
) -> tf.Tensor:
    """mean_i f_i at the parameters of every task.

    Args:
      policy: the policy.
      parameters: [K, P].
      batch: the pre-update trajectories.
      averaging: see `InnerSettings`.

    Returns:
      [K, P], the policy gradient of every task, an ascent direction.
    """
    coefficients = inner_coefficients(batch, averaging)
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        log_probs = log_prob(policy, parameters, batch.observations, batch.actions)
        objective = tf.reduce_sum(coefficients * log_probs)
    return tape.gradient(objective, parameters)


def adapt(
    policy: Policy, parameters: tf.Tensor, batch: Trajectories, settings: InnerSettings
) -> tf.Tensor:
    """One inner step of every task: theta' [K, P] = theta + eta * mean_i f_i."""
    gradient = inner_gradient(policy, parameters, batch, settings.averaging)
    return parameters + settings.learning_rate * gradient


def trajectory_gradients(policy: Policy, parameters: tf.Tensor, batch: Trajectories) -> tf.Tensor:
    """f_i of every trajectory by itself: [K, N, P].

    Each trajectory gets its own copy of the parameters, so that one reverse pass returns all N
    gradients.
    """
    tasks, rows, size = batch.mask.shape[0], batch.mask.shape[1], parameters.shape[-1]

    def by_row(x: tf.Tensor) -> tf.Tensor:
        return tf.reshape(x, [tasks * rows, 1, *x.shape[2:]])

    copies = tf.repeat(parameters, rows, axis=0)
    with tf.GradientTape() as tape:
        tape.watch(copies)
        log_probs = log_prob(policy, copies, by_row(batch.observations), by_row(batch.actions))
        objective = tf.reduce_sum(by_row(batch.mask * batch.advantages) * log_probs)
    return tf.reshape(tape.gradient(objective, copies), [tasks, rows, size])
