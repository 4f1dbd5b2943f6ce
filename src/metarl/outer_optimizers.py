"""Outer (meta) objectives and optimizers: v = grad V_hat(theta'), and what is done with the meta-gradient."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
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


def mean_kl(policy: Policy, parameters: tf.Tensor, batch: Trajectories) -> tf.Tensor:
    """mean_it KL(behaviour || pi_theta) of every task: [K]."""
    current = policy.distribution(policy.outputs(parameters, batch.observations))
    divergences = policy.distribution(batch.behaviour).kl_divergence(current)
    return tf.reduce_sum(step_weights(batch, "steps") * divergences, axis=[1, 2])


def kl_gradient(policy: Policy, parameters: tf.Tensor, batch: Trajectories) -> tf.Tensor:
    """The gradient of mean_it KL(behaviour || pi_theta) at every task's parameters: [K, P].

    ProMP's inner KL penalty without its coefficient (Rothfuss et al. 2019, eq. 11); 0 on the policy that acted.
    """
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        divergence = tf.reduce_sum(mean_kl(policy, parameters, batch))
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


def jacobian_product(
    policy: Policy,
    parameters: tf.Tensor,
    batch: Trajectories,
    settings: InnerSettings,
    vectors: tf.Tensor,
) -> tf.Tensor:
    """(d theta' / d theta) x of an inner step, per task: [K, P] from x [K, P].

    The Jacobian I + eta mean_i[grad f_i] is symmetric, so one function serves it and its transpose: mean_i[(grad f_i) x]
    is the gradient of mean_i sum_t A_it d_it, d_it = g_it . x.
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
    """F x, F the mean Fisher matrix of the policy's actions in the batch's states, per task: [K, P].

    The Hessian of mean KL(pi || pi_theta) at pi_theta = pi, through the outputs' Jacobian D: F = mean D^T M D with M
    diagonal, 1 / sigma^2 for the mean and 2 for the log standard deviation of a Gaussian.
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

    For one x, their mean is the Hessian of the post-update mean KL at the theta that sampled the data, where the KL's own gradient is 0.
    J is that of the log-likelihood inner loss, as in MAML-TRPO: a likelihood-ratio loss (lvc) would add A g g^T, which moves
    TRPO's direction alone, since its line search measures the KL itself.

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


def conjugate_gradient(
    product: Callable[[np.ndarray], np.ndarray], target: np.ndarray, iterations: int
) -> tuple[np.ndarray, np.ndarray]:
    """x with A x = target, A symmetric positive definite, after some iterations of conjugate gradient.

    Args:
      product: x -> A x.
      target: [P].
      iterations: 10 in published TRPO code; fewer where the residual vanishes.

    Returns:
      x [P] and the residual, target - A x [P].
    """
    solution, residual, direction = np.zeros_like(target), target, target
    squared = target @ target
    for _ in range(iterations):
        if not squared > 1e-10:
            break
        image = product(direction)
        length = squared / (direction @ image)
        solution = solution + length * direction
        residual = residual - length * image
        before, squared = squared, residual @ residual
        direction = residual + squared / before * direction
    return solution, residual


class TrustRegionStep(NamedTuple):
    """What came of a TRPO step.

    Attributes:
      parameters: theta after it, [P]; as before where nothing was accepted.
      accepted: whether the line search found a step that raises the surrogate within the trust region.
      kl: mean KL of the parameters returned.
      improvement: of the surrogate.
    """

    parameters: np.ndarray
    accepted: bool
    kl: float
    improvement: float


def trpo(
    parameters: np.ndarray,
    gradient: np.ndarray,
    product: Callable[[np.ndarray], np.ndarray],
    measure: Callable[[np.ndarray], tuple[float, float]],
    trust_region: float,
) -> TrustRegionStep:
    """One step of TRPO, Schulman et al. 2015, appendix C: natural gradient, then a backtracking line search.

    The constants are those of jonasrothfuss/ProMP optimizers/conjugate_gradient_optimizer.py, with damping as in
    tristandeleu/pytorch-maml-rl. The rejection of every trial is reported, not silent. In NumPy: what takes time is
    in `product` and `measure`.

    Args:
      parameters: theta [P].
      gradient: the meta-gradient [P], an ascent direction.
      product: x -> F x, the Hessian of the mean KL at theta.
      measure: theta -> improvement of the surrogate and mean KL, both 0 at the theta that acted.
      trust_region: delta, the largest mean KL.
    """
    iterations, damping, trials, shrinkage = 10, 1e-5, 15, 0.8
    direction, residual = conjugate_gradient(
        lambda x: product(x) + damping * x, gradient, iterations
    )
    # x^T F x without another product: F x = gradient - residual - damping x
    curvature = direction @ (gradient - residual - damping * direction)
    with np.errstate(invalid="ignore"):
        # NaN where the curvature is negative, which the line search rejects
        longest = direction * np.sqrt(2.0 * trust_region / (curvature + 1e-8))
    for number in range(trials):
        moved = parameters + shrinkage**number * longest
        improvement, kl = measure(moved)
        if improvement > 0.0 and kl <= trust_region:  # false for a NaN
            return TrustRegionStep(moved, True, kl, improvement)
    return TrustRegionStep(parameters, False, 0.0, 0.0)


def improvement_and_kl(
    policy: GaussianMLPPolicy, parameters: tf.Tensor, batch: Trajectories, averaging: Averaging
) -> tuple[tf.Tensor, tf.Tensor]:
    """The mean over tasks of mean_it (ratio_it - 1) A_it and of mean_it KL(behaviour || pi): [] each, at [K, P]."""
    gains = (likelihood_ratios(policy, parameters, batch) - 1.0) * batch.advantages
    improvement = tf.reduce_sum(step_weights(batch, averaging) * gains, axis=[1, 2])
    return tf.reduce_mean(improvement), tf.reduce_mean(mean_kl(policy, parameters, batch))


def adapted_kl_coefficients(
    coefficients: tf.Tensor, divergences: tf.Tensor, target: float
) -> tf.Tensor:
    """ProMP's rule: a coefficient halves below target / 1.5 and doubles above 1.5 target: [S].

    jonasrothfuss/ProMP meta_algos/pro_mp.py, `_adapt_kl_coeff`, once an iteration, after its epochs.
    """
    halved = tf.where(divergences < target / 1.5, 0.5 * coefficients, coefficients)
    return tf.where(divergences > target * 1.5, 2.0 * coefficients, halved)
