"""One algebra for every estimator of the meta-gradient.

    g_hat = v + eta * mean_i[ (grad f_i)^T v ] + sum_it W_it g_it,      v = grad V_hat(theta')

with scores g_it = grad log pi(a_it | s_it) of the pre-update trajectories. Estimators differ in the
weights W alone (`metarl.estimators.catalogue`), which depend on d_it = g_it . v. Since
f_i = sum_t A_it g_it, one forward-mode product gives all d, and one reverse pass over it gives
g_hat - v as the gradient, with v held fixed, of

    eta * mean_i[ sum_t A_it d_it(theta) ] + sum_it stop(W_it) log pi_theta(a_it | s_it)

With several inner steps the same pull-back runs from the last step to the first: u_S = v,
u_{s-1} = pull_back(u_s).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from metarl.adaptation import (
    adapt,
    inner_coefficients,
    likelihood_ratios,
    score_products,
    trajectory_gradients,
)
from metarl.errors import InputError
from metarl.policies import Policy, log_prob
from metarl.settings import InnerSettings
from metarl.trajectories import Trajectories, step_scale, step_weights


def log_likelihood(policy: Policy, parameters: tf.Tensor, batch: Trajectories) -> Trajectories:
    """The inner loss mean_it A_it log pi_theta(a_it | s_it): the batch as it is."""
    return batch


def likelihood_ratio(policy: Policy, parameters: tf.Tensor, batch: Trajectories) -> Trajectories:
    """The inner loss mean_it A_it pi_theta / pi_behaviour: A_it carries the ratio.

    Rothfuss et al. 2019, eq. 6; on the policy that acted the batch is unchanged.
    """
    ratios = tf.stop_gradient(likelihood_ratios(policy, parameters, batch))
    return batch._replace(advantages=batch.advantages * ratios)


def rewards_to_go(policy: Policy, parameters: tf.Tensor, batch: Trajectories) -> Trajectories:
    """The inner loss of DiCE, which sees rewards alone: A_it is their plain sum from t on."""
    sums = tf.cumsum(batch.mask * batch.rewards, axis=-1, reverse=True)
    return batch._replace(advantages=sums)


class InnerStep(NamedTuple):
    """All that score weights may depend on, for one inner step of K tasks.

    A task's weights depend on that task alone: training calls them with one task at a time.

    Attributes:
      policy: the policy.
      settings: inner learning rate and averaging.
      batch: pre-update trajectories, N rows of T steps, as the estimator's inner loss weighs them.
      sampled: the same as they were sampled.
      adapted_parameters: theta' after the last inner step, [K, P].
      trajectory_gradients: f_i of every row at this step's parameters, called when needed:
        () -> [K, N, P].
      outer_batch: post-update trajectories, sampled from (or enumerated under) theta'.
      constant: c, the inner learning rate over the number of samples averaged, [K, 1, 1].
      score_products: d_it = g_it . u, [K, N, T].
      value_baseline: b [K], an estimate of V(theta') that does not depend on the task's own sample;
        None: the mean value of the other tasks in the batch. Training gives that of the shard's
        other tasks as they were sampled.
      first, last: whether no inner step comes before this one, and none after it.
    """

    policy: Policy
    settings: InnerSettings
    batch: Trajectories
    sampled: Trajectories
    adapted_parameters: tf.Tensor
    trajectory_gradients: Callable[[], tf.Tensor]
    outer_batch: Trajectories
    constant: tf.Tensor
    score_products: tf.Tensor
    value_baseline: tf.Tensor | None
    first: bool
    last: bool


Weights = Callable[[InnerStep], tf.Tensor]


class Estimator(NamedTuple):
    """A row of the catalogue.

    Attributes:
      name: the published name.
      weights: from an inner step to W [K, N, T] (or broadcastable to it).
      formula: W in the notation of the module docstring.
      source: who published it, or that it is ours.
      inner_loss: the published inner loss, as the batch whose A_it weigh log pi_theta(a_it | s_it).
      outer_loss: the same of the outer batch at theta', where its average is over steps.
      inner_jacobian: whether the estimate has the term eta * mean_i[ (grad f_i)^T v ].
      counterpart: of an entry `..._as_coded`, the entry that its paper describes.
    """

    name: str
    weights: Weights
    formula: str
    source: str
    inner_loss: Callable[[Policy, tf.Tensor, Trajectories], Trajectories] = log_likelihood
    outer_loss: Callable[[Policy, tf.Tensor, Trajectories], Trajectories] = log_likelihood
    inner_jacobian: bool = True
    counterpart: str = ""


def register(
    rows: list[Estimator], formula: str, source: str, *, suffix: str = "", **fields
) -> Callable[[Weights], Weights]:
    """A decorator that appends the row of the decorated weights to `rows`, in order of definition.

    The function stays what it is; its name, with the suffix, is the row's.

    Args:
      rows: the table.
      formula, source: of the row.
      suffix: of every name in the table.
      **fields: further fields of `Estimator`.
    """

    def decorate(weights: Weights) -> Weights:
        rows.append(Estimator(weights.__name__ + suffix, weights, formula, source, **fields))
        return weights

    return decorate


def outer_average(step: InnerStep, x: tf.Tensor) -> tf.Tensor:
    """The outer batch's average of x [..., K, N, T]: [..., K]."""
    return tf.reduce_sum(step_weights(step.outer_batch, step.settings.averaging) * x, axis=[-2, -1])


def value(step: InnerStep) -> tf.Tensor:
    """V_hat(theta'), the outer batch's average score reward: [K].

    Off policy (later outer epochs on the same data) rewards carry per-decision importance weights,
    Precup et al. 2000; on policy these are 1 but for rounding.
    """
    ratios = causal_ratios(step.policy, step.adapted_parameters, step.outer_batch)
    return outer_average(step, ratios * step.outer_batch.score_rewards)


def causal_ratios(policy: Policy, parameters: tf.Tensor, batch: Trajectories) -> tf.Tensor:
    """Per-decision importance weights prod_{t' <= t} pi_theta / pi_behaviour: [K, N, T]."""
    current = log_prob(policy, parameters, batch.observations, batch.actions)
    behaviour = policy.distribution(batch.behaviour).log_prob(batch.actions)
    return tf.exp(tf.cumsum(batch.mask * (current - behaviour), axis=-1))


def trajectory_shares(step: InnerStep) -> tf.Tensor:
    """c f_i, what each trajectory adds to theta': [N, K, P]."""
    return tf.transpose(step.constant * step.trajectory_gradients(), [1, 0, 2])


def leave_one_out_ratios(step: InnerStep) -> tf.Tensor:
    """Per-decision weights of the outer batch under every theta'_{-i} = theta' - c f_i.

    [N_inner, K, N_outer, T].
    The divisor in c stays that of all N trajectories, so X_i enters theta'_{-i} nowhere.
    """
    return tf.map_fn(
        lambda share: causal_ratios(step.policy, step.adapted_parameters - share, step.outer_batch),
        trajectory_shares(step),
    )


def value_curvatures(step: InnerStep) -> tf.Tensor:
    """(c f_i)^T (grad^2 V_hat)(theta') (c f_i) of every trajectory: [N, K].

    V_hat(theta) is the outer batch's average reward under the weights of `causal_ratios`.
    """
    parameters, outer = step.adapted_parameters, step.outer_batch

    def curvature(share: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as second:
            second.watch(parameters)
            with tf.GradientTape() as first:
                first.watch(parameters)
                ratios = causal_ratios(step.policy, parameters, outer)
                values = tf.reduce_sum(outer_average(step, ratios * outer.rewards))
            slope = tf.reduce_sum(first.gradient(values, parameters) * share)
        return tf.reduce_sum(second.gradient(slope, parameters) * share, axis=-1)

    return tf.map_fn(curvature, trajectory_shares(step))


def decayed_sums(x: tf.Tensor, decay: float | tf.Tensor, reverse: bool = False) -> tf.Tensor:
    """sum_{t' <= t} decay^|t - t'| x_t' along the last axis; `reverse`: over t' >= t."""
    times = tf.range(x.shape[-1], dtype=x.dtype)
    lags = times[None, :] - times[:, None]  # [t', t]
    powers = tf.where(lags >= 0, tf.convert_to_tensor(decay, x.dtype) ** tf.maximum(lags, 0.0), 0.0)
    return tf.linalg.matmul(x, powers, transpose_b=reverse)


def effective_sample_size(ratios: tf.Tensor, batch: Trajectories) -> tf.Tensor:
    """(sum w)^2 / sum w^2 of the last step's importance weights, smallest over left-out rows: [K].

    Args:
      ratios: [N_inner, K, N_outer, T], from `leave_one_out_ratios`.
      batch: the outer batch; the result is at most its number of rows.
    """
    final = ratios[..., -1]
    sizes = tf.reduce_sum(final, axis=-1) ** 2 / tf.reduce_sum(final**2, axis=-1)
    return tf.reduce_min(sizes, axis=0)


def pull_back(
    estimator: Estimator,
    step: InnerStep,
    parameters: tf.Tensor,
    direction: tf.Tensor,
) -> tf.Tensor:
    """The gradient's estimate before an inner step from the one after it: u_{s-1} [K, P] from u_s.

    Args:
      estimator: which W.
      step: the inner step; its `score_products` are filled in here.
      parameters: [K, P] before the step.
      direction: u_s [K, P].
    """
    batch = step.batch
    coefficients = step.settings.learning_rate * inner_coefficients(batch, step.settings.averaging)
    counts = batch.sample_size * batch.weights[..., None] * batch.mask
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        log_probs, products = score_products(step.policy, parameters, batch, direction)
        with tape.stop_recording():
            weights = counts * estimator.weights(step._replace(score_products=products))
        surrogate = tf.reduce_sum(coefficients * products) if estimator.inner_jacobian else 0.0
        surrogate += tf.reduce_sum(tf.stop_gradient(weights) * log_probs)
    return direction + tape.gradient(surrogate, parameters)


def inner_chain(
    policy: Policy,
    estimator: Estimator,
    parameters: tf.Tensor,
    batches: Sequence[Trajectories],
    settings: InnerSettings,
) -> tuple[list[tf.Tensor], list[Trajectories]]:
    """Parameters [K, P] before and after every inner step, and the batches that its loss sees."""
    chain, seen = [parameters], []
    for batch in batches:
        seen.append(estimator.inner_loss(policy, chain[-1], batch))
        chain.append(adapt(policy, chain[-1], seen[-1], settings))
    return chain, seen


def inner_step(
    policy: Policy,
    parameters: tf.Tensor,
    adapted_parameters: tf.Tensor,
    batch: Trajectories,
    outer_batch: Trajectories,
    settings: InnerSettings,
    value_baseline: tf.Tensor | None = None,
    sampled: Trajectories | None = None,
    first: bool = True,
    last: bool = True,
) -> InnerStep:
    """An `InnerStep` whose score products are still to be filled in by `pull_back`."""
    scale = step_scale(batch, settings.averaging)
    return InnerStep(
        policy=policy,
        settings=settings,
        batch=batch,
        sampled=batch if sampled is None else sampled,
        adapted_parameters=adapted_parameters,
        trajectory_gradients=lambda: trajectory_gradients(policy, parameters, batch),
        outer_batch=outer_batch,
        constant=settings.learning_rate * scale / batch.sample_size,
        score_products=tf.zeros_like(batch.mask),
        value_baseline=value_baseline,
        first=first,
        last=last,
    )


def meta_gradient(
    policy: Policy,
    estimator: Estimator,
    parameters: tf.Tensor,
    batches: Sequence[Trajectories],
    settings: InnerSettings,
    outer_gradient: Callable[[tf.Tensor, Trajectories], tf.Tensor],
    value_baseline: tf.Tensor | None = None,
    inner_penalty: Callable[[int, tf.Tensor, Trajectories], tf.Tensor] | None = None,
) -> tf.Tensor:
    """The estimate of every task's meta-gradient; their mean over tasks is the meta-gradient.

    Args:
      policy: the policy.
      estimator: a row of the catalogue.
      parameters: theta, one copy per task, [K, P].
      batches: S pre-update batches and the outer batch, S >= 1 inner steps.
      settings: inner learning rate and averaging.
      outer_gradient: v [K, P] from theta' [K, P] and the outer batch.
      value_baseline: b [K] for unbiased_baseline; see `InnerStep`.
      inner_penalty: gradient [K, P] to subtract at each inner step's parameters (ProMP's inner KL
        penalty), from the step's number, its parameters [K, P] and its batch.

    Returns:
      g_hat [K, P], an ascent direction.

    Raises:
      InputError: fewer than two batches.
    """
    if len(batches) < 2:
        raise InputError(
            f"{len(batches)} batches given; need at least one pre-update and the outer one"
        )
    *sampled, outer_batch = batches
    chain, seen = inner_chain(policy, estimator, parameters, sampled, settings)
    outer = outer_batch
    if settings.averaging == "steps":
        outer = estimator.outer_loss(policy, chain[-1], outer_batch)
    direction = outer_gradient(chain[-1], outer)
    for number in reversed(range(len(seen))):
        before, batch = chain[number], seen[number]
        step = inner_step(
            policy,
            before,
            chain[-1],
            batch,
            outer_batch,
            settings,
            value_baseline,
            sampled[number],
            first=number == 0,
            last=number == len(seen) - 1,
        )
        direction = pull_back(estimator, step, before, direction)
        if inner_penalty is not None:
            direction -= inner_penalty(number, before, batch)
    return direction
