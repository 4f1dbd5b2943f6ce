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
from functools import partial
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
from metarl.estimators.whole import WholeGradient
from metarl.outer_values import Loss, OuterValues
from metarl.policies import Policy
from metarl.settings import InnerSettings
from metarl.trajectories import Trajectories, step_scale


def log_likelihood(policy: Policy, parameters: tf.Tensor, batch: Trajectories) -> Trajectories:
    """The inner loss mean_it A_it log pi_theta(a_it | s_it): the batch as it is."""
    return batch


def likelihood_ratio(policy: Policy, parameters: tf.Tensor, batch: Trajectories) -> Trajectories:
    """The inner loss mean_it A_it pi_theta / pi_behaviour: A_it carries the ratio.

    Rothfuss et al. 2019, eq. 6; on the policy that acted the batch is unchanged.
    """
    ratios = likelihood_ratios(policy, parameters, batch)
    return batch._replace(advantages=batch.advantages * ratios)


def rewards_to_go(policy: Policy, parameters: tf.Tensor, batch: Trajectories) -> Trajectories:
    """The inner loss of DiCE, which sees rewards alone: A_it is their plain sum from t on."""
    sums = tf.cumsum(batch.mask * batch.rewards, axis=-1, reverse=True)
    return batch._replace(advantages=sums)


class InnerStep(NamedTuple):
    """All that score weights may depend on, for one inner step of K tasks.

    A task's weights depend on that task alone: training calls them with one task at a time.

    Attributes:
      batch: pre-update trajectories, N rows of T steps, as the estimator's inner loss weighs them.
      sampled: the same as they were sampled.
      outer: V_hat around theta', the parameters after the last inner step.
      constant: c, the inner learning rate over the number of samples averaged, [K, 1, 1].
      shares: c f_i, what each trajectory adds to the parameters, called when needed:
        () -> [N, K, P]. The divisor is that of all N, so X_i enters theta' - c f_i nowhere.
      score_products: d_it = g_it . u, [K, N, T].
      value_baseline: b [K], an estimate of V(theta') that does not depend on the task's own sample;
        None: the mean value of the other tasks in the batch. Training gives that of the shard's
        other tasks as they were sampled.
      first, last: whether no inner step comes before this one, and none after it.
    """

    batch: Trajectories
    sampled: Trajectories
    outer: OuterValues
    constant: tf.Tensor
    shares: Callable[[], tf.Tensor]
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
      gradient: of a plug-in that is a whole gradient, in the place of all of this; it is not to be
        compiled by its caller.
    """

    name: str
    weights: Weights
    formula: str
    source: str
    inner_loss: Loss = log_likelihood
    outer_loss: Loss = log_likelihood
    inner_jacobian: bool = True
    counterpart: str = ""
    gradient: WholeGradient | None = None


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


def inner_constant(batch: Trajectories, settings: InnerSettings) -> tf.Tensor:
    """c, the inner learning rate over the number of samples averaged: [K, 1, 1]."""
    return settings.learning_rate * step_scale(batch, settings.averaging) / batch.sample_size


def trajectory_shares(
    policy: Policy, parameters: tf.Tensor, batch: Trajectories, settings: InnerSettings
) -> tf.Tensor:
    """c f_i, what each trajectory adds to the parameters: [N, K, P]."""
    gradients = trajectory_gradients(policy, parameters, batch)
    return tf.transpose(inner_constant(batch, settings) * gradients, [1, 0, 2])


def decayed_sums(x: tf.Tensor, decay: float | tf.Tensor, reverse: bool = False) -> tf.Tensor:
    """sum_{t' <= t} decay^|t - t'| x_t' along the last axis; `reverse`: over t' >= t."""
    times = tf.range(x.shape[-1], dtype=x.dtype)
    lags = times[None, :] - times[:, None]  # [t', t]
    powers = tf.where(lags >= 0, tf.convert_to_tensor(decay, x.dtype) ** tf.maximum(lags, 0.0), 0.0)
    return tf.linalg.matmul(x, powers, transpose_b=reverse)


def pull_back(
    policy: Policy,
    estimator: Estimator,
    step: InnerStep,
    parameters: tf.Tensor,
    direction: tf.Tensor,
    settings: InnerSettings,
) -> tf.Tensor:
    """The gradient's estimate before an inner step from the one after it: u_{s-1} [K, P] from u_s.

    Args:
      policy: the policy.
      estimator: which W.
      step: the inner step; its `score_products` are filled in here.
      parameters: [K, P] before the step.
      direction: u_s [K, P].
      settings: inner learning rate and averaging.
    """
    batch = step.batch
    coefficients = settings.learning_rate * inner_coefficients(batch, settings.averaging)
    counts = batch.sample_size * batch.weights[..., None] * batch.mask
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        log_probs, products = score_products(policy, parameters, batch, direction)
        with tape.stop_recording():
            weights = counts * estimator.weights(step._replace(score_products=products))
        surrogate = tf.reduce_sum(coefficients * products) if estimator.inner_jacobian else 0.0
        surrogate += tf.reduce_sum(weights * log_probs)
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


def meta_gradient(
    policy: Policy,
    estimator: Estimator,
    parameters: tf.Tensor,
    batches: Sequence[Trajectories],
    settings: InnerSettings,
    outer: Callable[[tf.Tensor], OuterValues],
    value_baseline: tf.Tensor | None = None,
    inner_penalty: Callable[[int, tf.Tensor, Trajectories], tf.Tensor] | None = None,
) -> tf.Tensor:
    """The estimate of every task's meta-gradient; their mean over tasks is the meta-gradient.

    Args:
      policy: the policy.
      estimator: a row of the catalogue.
      parameters: theta, one copy per task, [K, P].
      batches: the pre-update batches of S >= 1 inner steps.
      settings: inner learning rate and averaging.
      outer: the values after adaptation, from theta' [K, P].
      value_baseline: b [K] for unbiased_baseline; see `InnerStep`.
      inner_penalty: gradient [K, P] to subtract at each inner step's parameters (ProMP's inner KL
        penalty), from the step's number, its parameters [K, P] and its batch.

    Returns:
      g_hat [K, P], an ascent direction.

    Raises:
      InputError: no batch.
    """
    if not batches:
        raise InputError("no pre-update batch given; give one for every inner step")
    chain, seen = inner_chain(policy, estimator, parameters, batches, settings)
    values = outer(chain[-1])
    if estimator.gradient is not None:
        batch = getattr(getattr(values, "sampled", values), "batch", None)
        if batch is None:
            raise estimator.gradient.no_batch()
        if inner_penalty is not None:
            raise estimator.gradient.no_penalty()
        return estimator.gradient(policy, parameters, [*batches, batch], settings)
    direction = values.gradient(estimator.outer_loss)
    for number in reversed(range(len(seen))):
        before, batch = chain[number], seen[number]
        step = InnerStep(
            batch=batch,
            sampled=batches[number],
            outer=values,
            constant=inner_constant(batch, settings),
            shares=partial(trajectory_shares, policy, before, batch, settings),
            score_products=tf.zeros_like(batch.mask),
            value_baseline=value_baseline,
            first=number == 0,
            last=number == len(seen) - 1,
        )
        direction = pull_back(policy, estimator, step, before, direction, settings)
        if inner_penalty is not None:
            direction -= inner_penalty(number, before, batch)
    return direction
