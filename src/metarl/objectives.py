"""Outer objectives: v = grad V_hat(theta'), and the KL divergences of both loops.

TRPO's products with the Hessian of the outer divergence stand here too.
"""

from collections.abc import Sequence

import tensorflow as tf

from metarl.adaptation import inner_coefficients, likelihood_ratios, score_products
from metarl.policies import GaussianMLPPolicy, Policy
from metarl.settings import Averaging, InnerSettings
from metarl.trajectories import Trajectories, step_weights


def clipped_gradient(
    policy: Policy,
    parameters: tf.Tensor,
    batch: Trajectories,
    averaging: Averaging,
    clip: float | None,
) -> tf.Tensor:
    """v, per task: the gradient of mean_it min(ratio_it A_it, clipped_it A_it).

    clipped_it is the ratio within [1 - clip, 1 + clip]. On the policy that acted this is the plain
    policy gradient; PPO's clipping (Schulman et al. 2017, eq. 7) bounds later epochs on the same
    data.

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


def mean_kl(policy: Policy, parameters: tf.Tensor, batch: Trajectories) -> tf.Tensor:
    """mean_it KL(behaviour || pi_theta) of every task: [K]."""
    current = policy.distribution(policy.outputs(parameters, batch.observations))
    divergences = policy.distribution(batch.behaviour).kl_divergence(current)
    return tf.reduce_sum(step_weights(batch, "steps") * divergences, axis=[1, 2])


def kl_gradient(policy: Policy, parameters: tf.Tensor, batch: Trajectories) -> tf.Tensor:
    """The gradient of mean_it KL(behaviour || pi_theta) at every task's parameters: [K, P].

    ProMP's inner KL penalty without its coefficient (Rothfuss et al. 2019, eq. 11); 0 on the policy
    that acted.
    """
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        divergence = tf.reduce_sum(mean_kl(policy, parameters, batch))
    return tape.gradient(divergence, parameters)


def improvement_and_kl(
    policy: GaussianMLPPolicy, parameters: tf.Tensor, batch: Trajectories, averaging: Averaging
) -> tuple[tf.Tensor, tf.Tensor]:
    """The surrogate's improvement and the KL divergence at parameters [K, P]: [] each.

    The means over tasks of mean_it (ratio_it - 1) A_it and of mean_it KL(behaviour || pi). At
    theta'(theta) the former's gradient in theta is maml's estimate: without score terms, of which
    jonasrothfuss/ProMP (meta_policy_search/meta_algos/trpo_maml.py, line 144) adds E-MAML's.
    """
    gains = (likelihood_ratios(policy, parameters, batch) - 1.0) * batch.advantages
    improvement = tf.reduce_sum(step_weights(batch, averaging) * gains, axis=[1, 2])
    return tf.reduce_mean(improvement), tf.reduce_mean(mean_kl(policy, parameters, batch))


def jacobian_product(
    policy: Policy,
    parameters: tf.Tensor,
    batch: Trajectories,
    settings: InnerSettings,
    vectors: tf.Tensor,
) -> tf.Tensor:
    """(d theta' / d theta) x of an inner step, per task: [K, P] from x [K, P].

    The Jacobian I + eta mean_i[grad f_i] is symmetric, so one function serves it and its transpose:
    mean_i[(grad f_i) x] is the gradient of mean_i sum_t A_it d_it, d_it = g_it . x.
    """
    coefficients = inner_coefficients(batch, settings.averaging)
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        _, products = score_products(policy, parameters, batch, vectors)
        slope = tf.reduce_sum(coefficients * products)
    return vectors + settings.learning_rate * tape.gradient(slope, parameters)


def fisher_product(
    policy: GaussianMLPPolicy, parameters: tf.Tensor, batch: Trajectories, vectors: tf.Tensor
) -> tf.Tensor:
    """F x per task, F the mean Fisher matrix of actions in the batch's states: [K, P].

    The Hessian of mean KL(pi || pi_theta) at pi_theta = pi, through the outputs' Jacobian D: F =
    mean D^T M D with M diagonal, 1 / sigma^2 for the mean and 2 for the log standard deviation of a
    Gaussian.
    """
    average = step_weights(batch, "steps")[..., None]
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        outputs, (mean_change, log_std_change) = policy.directional(
            parameters, batch.observations, vectors
        )
    weighted = (average * tf.exp(-2.0 * outputs[1]) * mean_change, average * 2.0 * log_std_change)
    return tape.gradient(outputs, parameters, weighted)


def meta_fisher_product(
    policy: GaussianMLPPolicy,
    chain: Sequence[tf.Tensor],
    batches: Sequence[Trajectories],
    settings: InnerSettings,
    vectors: tf.Tensor,
) -> tf.Tensor:
    """J^T F(theta') J x of every task, J = d theta' / d theta: [K, P] from x [K, P].

    For one x, their mean is the Hessian of the post-update mean KL at the theta that sampled the
    data, where the KL's own gradient is 0. J is that of the log-likelihood inner loss, as in
    MAML-TRPO: a likelihood-ratio loss (lvc) would add A g g^T, which moves TRPO's direction alone,
    since its line search measures the KL itself.

    Args:
      policy: the policy.
      chain: parameters [K, P] before and after every inner step.
      batches: the batches as the inner losses see them, and the outer batch.
      settings: of the inner steps.
      vectors: x [K, P].
    """
    *inner_batches, outer_batch = batches
    steps = list(zip(chain[:-1], inner_batches, strict=True))
    for parameters, batch in steps:
        vectors = jacobian_product(policy, parameters, batch, settings, vectors)
    vectors = fisher_product(policy, chain[-1], outer_batch, vectors)
    for parameters, batch in reversed(steps):
        vectors = jacobian_product(policy, parameters, batch, settings, vectors)
    return vectors
