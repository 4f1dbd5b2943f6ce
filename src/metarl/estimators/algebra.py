"""One algebra for every estimator of the meta-gradient.

    g_hat = v + eta * mean_i[ (grad f_i)^T v ] + sum_it W_it g_it,      v = grad V_hat(theta')

with scores g_it = grad log pi(a_it | s_it) of the pre-update trajectories. Estimators differ in the weights W
alone (`metarl.estimators.catalogue`), which depend on d_it = g_it . v. A forward-mode product gives all d, and one
reverse pass gives g_hat as the gradient of

    theta'(theta) . stop(v) + sum_it stop(W_it) log pi_theta(a_it | s_it)

With several inner steps the same pull-back runs from the last step to the first: u_S = v, u_{s-1} = pull_back(u_s).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from metarl.adaptation import adapt, likelihood_ratios, trajectory_gradients
from metarl.errors import InputError
from metarl.policies import Policy, log_prob
from metarl.settings import InnerSettings
from metarl.trajectories import Trajectories, step_scale, step_weights


class InnerStep(NamedTuple):
    """All that score weights may depend on, for one inner step of K tasks.

    Attributes:
      policy: the policy.
      settings: inner learning rate and averaging.
      batch: pre-update trajectories, N rows of T steps.
      adapted_parameters: theta' after the last inner step, [K, P].
      trajectory_gradients: f_i of every row at this step's parameters, called when needed: () -> [K, N, P].
      outer_batch: post-update trajectories, sampled from (or enumerated under) theta'.
      constant: c, the inner learning rate over the number of samples averaged, [K, 1, 1].
      score_products: d_it = g_it . u, [K, N, T].
      value_baseline: b [K], an estimate of V(theta') that does not depend on the task's own sample; None: the mean
        value of the other tasks in the batch.
    """

    policy: Policy
    settings: InnerSettings
    batch: Trajectories
    adapted_parameters: tf.Tensor
    trajectory_gradients: Callable[[], tf.Tensor]
    outer_batch: Trajectories
    constant: tf.Tensor
    score_products: tf.Tensor
    value_baseline: tf.Tensor | None


class Estimator(NamedTuple):
    """A row of the catalogue.

    Attributes:
      name: the published name.
      weights: from an inner step to W [K, N, T] (or broadcastable to it); None drops the inner Jacobian as well.
      formula: W in the notation of the module docstring.
      source: who published it, or that it is ours.
      inner_loss: "log_likelihood", or "likelihood_ratio" whose A_it carries pi_theta / pi_behaviour off policy.
      one_inner_step: whether W is derived for a single inner step only.
    """

    name: str
    weights: Callable[[InnerStep], tf.Tensor] | None
    formula: str
    source: str
    inner_loss: str = "log_likelihood"
    one_inner_step: bool = False


def outer_average(step: InnerStep, x: tf.Tensor) -> tf.Tensor:
    """The outer batch's average of x [..., K, N, T]: [..., K]."""
    return tf.reduce_sum(step_weights(step.outer_batch, step.settings.averaging) * x, axis=[-2, -1])


def value(step: InnerStep) -> tf.Tensor:
    """V_hat(theta'), the outer batch's average score reward: [K].

    Off policy (later outer epochs on the same data) rewards carry per-decision importance weights, Precup et
    al. 2000; on policy these are exactly 1.
    """
    ratios = causal_ratios(step.policy, step.adapted_parameters, step.outer_batch)
    return outer_average(step, ratios * step.outer_batch.score_rewards)


def causal_ratios(policy: Policy, parameters: tf.Tensor, batch: Trajectories) -> tf.Tensor:
    """Per-decision importance weights prod_{t' <= t} pi_theta / pi_behaviour: [K, N, T]."""
    current = log_prob(policy, parameters, batch.observations, batch.actions)
    behaviour = policy.distribution(batch.behaviour).log_prob(batch.actions)
    return tf.exp(tf.cumsum(batch.mask * (current - behaviour), axis=-1))


def leave_one_out_parameters(step: InnerStep) -> tf.Tensor:
    """theta'_{-i} = theta' - c f_i, the update without trajectory i: [N, K, P].

    The sum's divisor stays that of all N trajectories, so X_i enters theta'_{-i} nowhere.
    """
    shares = step.constant * step.trajectory_gradients()
    return tf.transpose(step.adapted_parameters[:, None, :] - shares, [1, 0, 2])


def leave_one_out_ratios(step: InnerStep) -> tf.Tensor:
    """Per-decision weights of the outer batch under every theta'_{-i}: [N_inner, K, N_outer, T]."""
    return tf.map_fn(
        lambda parameters: causal_ratios(step.policy, parameters, step.outer_batch),
        leave_one_out_parameters(step),
    )


def effective_sample_size(ratios: tf.Tensor, batch: Trajectories) -> tf.Tensor:
    """(sum w)^2 / sum w^2 of the importance weights at the last step, smallest over left-out rows: [K].

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
    """The estimate of the gradient before an inner step from the one after it: u_{s-1} [K, P] from u_s.

    Args:
      estimator: which W.
      step: the inner step; its `score_products` are filled in here.
      parameters: [K, P] before the step.
      direction: u_s [K, P].
    """
    if estimator.weights is None:
        return direction
    batch = step.batch
    with tf.autodiff.ForwardAccumulator(parameters, direction) as forward:
        log_probs = log_prob(step.policy, parameters, batch.observations, batch.actions)
    step = step._replace(score_products=forward.jvp(log_probs))
    counts = batch.sample_size * batch.weights[..., None] * batch.mask
    weights = tf.stop_gradient(counts * estimator.weights(step))
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        adapted = adapt(step.policy, parameters, batch, step.settings)
        log_probs = log_prob(step.policy, parameters, batch.observations, batch.actions)
        surrogate = tf.reduce_sum(adapted * direction) + tf.reduce_sum(weights * log_probs)
    return tape.gradient(surrogate, parameters)


def inner_chain(
    policy: Policy,
    estimator: Estimator,
    parameters: tf.Tensor,
    batches: Sequence[Trajectories],
    settings: InnerSettings,
) -> tuple[list[tf.Tensor], list[Trajectories]]:
    """The parameters [K, P] before and after every inner step, and the batches as that step's loss sees them.

    A likelihood-ratio loss has A_it * ratio_it in place of A_it, which differs once theta has moved off the
    policy that acted (Rothfuss et al. 2019, eq. 6).
    """
    chain, seen = [parameters], []
    for batch in batches:
        if estimator.inner_loss == "likelihood_ratio":
            ratios = tf.stop_gradient(likelihood_ratios(policy, chain[-1], batch))
            batch = batch._replace(advantages=batch.advantages * ratios)
        seen.append(batch)
        chain.append(adapt(policy, chain[-1], batch, settings))
    return chain, seen


def inner_step(
    policy: Policy,
    parameters: tf.Tensor,
    adapted_parameters: tf.Tensor,
    batch: Trajectories,
    outer_batch: Trajectories,
    settings: InnerSettings,
    value_baseline: tf.Tensor | None = None,
) -> InnerStep:
    """An `InnerStep` whose score products are still to be filled in by `pull_back`."""
    scale = step_scale(batch, settings.averaging)
    return InnerStep(
        policy=policy,
        settings=settings,
        batch=batch,
        adapted_parameters=adapted_parameters,
        trajectory_gradients=lambda: trajectory_gradients(policy, parameters, batch),
        outer_batch=outer_batch,
        constant=settings.learning_rate * scale / batch.sample_size,
        score_products=tf.zeros_like(batch.mask),
        value_baseline=value_baseline,
    )


def require_inner_steps(estimator: Estimator, inner_steps: int) -> None:
    """Raises InputError for several inner steps with an estimator derived for one."""
    if estimator.one_inner_step and inner_steps > 1:
        raise InputError(
            f"{estimator.name} is derived for one inner step, inner_steps is {inner_steps}; "
            "use 1, or another estimator such as lsf"
        )


def meta_gradient(
    policy: Policy,
    estimator: Estimator,
    parameters: tf.Tensor,
    batches: Sequence[Trajectories],
    settings: InnerSettings,
    outer_gradient: Callable[[tf.Tensor, Trajectories], tf.Tensor],
    value_baseline: tf.Tensor | None = None,
    inner_penalty: Callable[[tf.Tensor, Trajectories], tf.Tensor] | None = None,
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
      inner_penalty: gradient [K, P] to subtract at each inner step's parameters (ProMP's inner KL penalty).

    Returns:
      g_hat [K, P], an ascent direction.

    Raises:
      InputError: fewer than two batches, or several inner steps for an estimator derived for one.
    """
    if len(batches) < 2:
        raise InputError(
            f"{len(batches)} batches given; need at least one pre-update and the outer one"
        )
    require_inner_steps(estimator, len(batches) - 1)
    *inner_batches, outer_batch = batches
    chain, inner_batches = inner_chain(policy, estimator, parameters, inner_batches, settings)
    direction = outer_gradient(chain[-1], outer_batch)
    for before, batch in zip(chain[-2::-1], reversed(inner_batches), strict=True):
        step = inner_step(policy, before, chain[-1], batch, outer_batch, settings, value_baseline)
        direction = pull_back(estimator, step, before, direction)
        if inner_penalty is not None:
            direction -= inner_penalty(before, batch)
    return direction
