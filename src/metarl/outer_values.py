"""V after adaptation: all that estimators need from the world behind theta'.

Estimators do not know where values come from. An `OuterValues` answers at one theta' [K, P], with
the same outer randomness for every question, so that differences of its values are small where
those of theta' are:

    Sampled      a batch of trajectories with per-decision importance weights (training)
    Resimulated  the same, but differences from rollouts at theta' - share (audit in simulation, and
                 training that asks for it)
    ClosedForm   a differentiable function: enumeration in the exact audits, dynamic programming for
                 tabular processes; no outer noise

A further implementation needs `value`, `gradient` and, for leave_one_out, `differences`; lsf2 alone
asks for `curvatures`.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from metarl.errors import InputError
from metarl.objectives import clipped_gradient
from metarl.policies import Policy, log_prob
from metarl.settings import Averaging
from metarl.trajectories import Trajectories, step_weights

Loss = Callable[[Policy, tf.Tensor, Trajectories], Trajectories]  # the batch as a loss weighs it


class OuterValues(Protocol):
    """V_hat around theta' [K, P]; `shares` are changes of theta', [N, K, P]."""

    def value(self) -> tf.Tensor:
        """V_hat(theta'): [K]."""

    def gradient(self, loss: Loss) -> tf.Tensor:
        """v = grad V_hat(theta'), an ascent direction: [K, P].

        Args:
          loss: the estimator's outer loss, where the outer average is over steps.
        """

    def differences(self, shares: tf.Tensor) -> tf.Tensor:
        """V_hat(theta') - V_hat(theta' - share): [N, K]."""

    def curvatures(self, shares: tf.Tensor) -> tf.Tensor:
        """share^T (grad^2 V_hat)(theta') share: [N, K]."""

    def mean_reward(self) -> tf.Tensor:
        """The mean over all steps of the reward, which emaml takes for a value: [K]."""

    def mean_advantage(self) -> tf.Tensor:
        """The mean over all steps of the advantage, which sgmrl_as_coded takes for one: [K]."""


class Sampled(NamedTuple):
    """Values from one outer batch, by importance weights where theta' is not the policy that acted.

    Attributes:
      policy: the policy.
      batch: post-update trajectories.
      averaging: over steps or trajectories.
      clip: PPO's epsilon in `gradient`; None: no clipping.
      parameters: theta', [K, P].
    """

    policy: Policy
    batch: Trajectories
    averaging: Averaging
    clip: float | None
    parameters: tf.Tensor

    def value(self) -> tf.Tensor:
        """The batch's average score reward.

        Off policy (later outer epochs on the same data) rewards carry per-decision importance
        weights, Precup et al. 2000; on policy these are 1 but for rounding.
        """
        return self._average(self.ratios(self.parameters) * self.batch.score_rewards)

    def gradient(self, loss: Loss) -> tf.Tensor:
        batch = self.batch
        if self.averaging == "steps":
            batch = loss(self.policy, self.parameters, batch)
        return clipped_gradient(self.policy, self.parameters, batch, self.averaging, self.clip)

    def differences(self, shares: tf.Tensor) -> tf.Tensor:
        left_out = self.ratios_without(shares)
        return self._average((self.ratios(self.parameters) - left_out) * self.batch.rewards)

    def curvatures(self, shares: tf.Tensor) -> tf.Tensor:
        """Of the average reward under the per-decision weights, which is V_hat near theta'."""
        parameters = self.parameters

        def curvature(share: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as second:
                second.watch(parameters)
                with tf.GradientTape() as first:
                    first.watch(parameters)
                    values = self._average(self.ratios(parameters) * self.batch.rewards)
                    values = tf.reduce_sum(values)
                slope = tf.reduce_sum(first.gradient(values, parameters) * share)
            return tf.reduce_sum(second.gradient(slope, parameters) * share, axis=-1)

        return tf.map_fn(curvature, shares)

    def mean_reward(self) -> tf.Tensor:
        """Of score rewards, without importance weights, as published code has it."""
        weights = step_weights(self.batch, "steps")
        return tf.reduce_sum(weights * self.batch.score_rewards, axis=[1, 2])

    def mean_advantage(self) -> tf.Tensor:
        """Without importance weights, as published code has it."""
        weights = step_weights(self.batch, "steps")
        return tf.reduce_sum(weights * self.batch.advantages, axis=[1, 2])

    def ratios(self, parameters: tf.Tensor) -> tf.Tensor:
        """Per-decision importance weights prod_{t' <= t} pi_theta / pi_behaviour: [K, N, T]."""
        batch = self.batch
        current = log_prob(self.policy, parameters, batch.observations, batch.actions)
        behaviour = self.policy.distribution(batch.behaviour).log_prob(batch.actions)
        return tf.exp(tf.cumsum(batch.mask * (current - behaviour), axis=-1))

    def ratios_without(self, shares: tf.Tensor) -> tf.Tensor:
        """Those under theta' - share, for every share: [N_inner, K, N_outer, T]."""
        return tf.map_fn(lambda share: self.ratios(self.parameters - share), shares)

    def effective_sample_size(self, shares: tf.Tensor) -> tf.Tensor:
        """(sum w)^2 / sum w^2 of the last step's weights under theta' - share: [K].

        The smallest over shares; at most the number of rows of the batch.
        """
        final = self.ratios_without(shares)[..., -1]
        sizes = tf.reduce_sum(final, axis=-1) ** 2 / tf.reduce_sum(final**2, axis=-1)
        return tf.reduce_min(sizes, axis=0)

    def _average(self, x: tf.Tensor) -> tf.Tensor:
        """The batch's average of x [..., K, N, T]: [..., K]."""
        return tf.reduce_sum(step_weights(self.batch, self.averaging) * x, axis=[-2, -1])


class Resimulated(NamedTuple):
    """`Sampled`, but for differences that were simulated: no importance weights to degenerate.

    Rollouts at theta' and at theta' - share have the same start states and action noise omega, so
    that differences are small where shares are. For leave_one_out they leave no bias, whatever the
    physics does: theta'_{-i} = theta' - c f_i and omega do not depend on trajectory i, so
    E[V_hat_omega(theta'_{-i}) s_i] = 0 and what is left is E[V_hat_omega(theta') s_i]. A random
    subset S of the N rows, weighed so that their mean over S is that of all, leaves it unbiased:
    the estimate is linear in them.

    Attributes:
      sampled: answers everything else.
      simulated: V_hat(theta') - V_hat(theta' - share) for the shares that will be asked for, as
        weighed: [N, K]. None: not simulated, and must not be asked for.
    """

    sampled: Sampled
    simulated: tf.Tensor | None

    def value(self) -> tf.Tensor:
        return self.sampled.value()

    def gradient(self, loss: Loss) -> tf.Tensor:
        return self.sampled.gradient(loss)

    def differences(self, shares: tf.Tensor) -> tf.Tensor:
        """Those simulated.

        Raises:
          InputError: none was.
        """
        if self.simulated is None:
            raise InputError(
                "left_out is 0, and an estimator such as leave_one_out asks for values without a"
                " trajectory; leave at least 1 out, or audit others"
            )
        self.simulated.shape.assert_is_compatible_with(shares.shape[:-1])
        return self.simulated

    def curvatures(self, shares: tf.Tensor) -> tf.Tensor:
        return self.sampled.curvatures(shares)

    def mean_reward(self) -> tf.Tensor:
        return self.sampled.mean_reward()

    def mean_advantage(self) -> tf.Tensor:
        return self.sampled.mean_advantage()


def left_out_differences(
    simulate: Callable[[tf.Tensor], tf.Tensor],
    value: tf.Tensor,
    after: tf.Tensor,
    shares: tf.Tensor,
    slopes: np.ndarray,
    subset: np.ndarray,
) -> np.ndarray:
    """V_hat(theta') - V_hat(theta' - share), simulated for the shares in the subset: [N, K].

    The others have their linearization, share . v, whose error in the subset, weighed N / |S|,
    corrects them: the mean over subsets is that of all differences, and only the part beyond the
    linear one has the noise of the subset.

    Args:
      simulate: V_hat [K] at any parameters [K, P], with the same outer randomness in every call.
      value: V_hat(theta'), [K].
      after: theta', [K, P].
      shares: c f_i of all N trajectories, [N, K, P].
      slopes: share . v with v = grad V_hat(theta'), [N, K].
      subset: S, different rows of `shares`.
    """
    differences = np.array(slopes)
    for row in subset:
        error = value - simulate(after - shares[row]) - slopes[row]
        differences[row] += len(shares) / len(subset) * error
    return differences


class Totals(NamedTuple):
    """Expected sums over the steps of an episode, [K] each.

    Attributes:
      reward: of rewards: V.
      advantage: of advantages, the rewards-to-go.
      steps: of 1: the expected length.
    """

    reward: tf.Tensor
    advantage: tf.Tensor
    steps: tf.Tensor


class ClosedForm(NamedTuple):
    """Values by a differentiable function of the parameters.

    Attributes:
      totals: from parameters [R, P] of any number of rows.
      parameters: theta', [K, P].
    """

    totals: Callable[[tf.Tensor], Totals]
    parameters: tf.Tensor

    def value(self) -> tf.Tensor:
        return self.totals(self.parameters).reward

    def gradient(self, loss: Loss) -> tf.Tensor:
        """Of V itself: the average is over trajectories."""
        with tf.GradientTape() as tape:
            tape.watch(self.parameters)
            values = self.value()
        return tape.gradient(values, self.parameters)

    def differences(self, shares: tf.Tensor) -> tf.Tensor:
        rows = tf.reshape(self.parameters - shares, [-1, shares.shape[-1]])
        return self.value() - tf.reshape(self.totals(rows).reward, shares.shape[:-1])

    def curvatures(self, shares: tf.Tensor) -> tf.Tensor:
        flat = tf.reshape(shares, [-1, shares.shape[-1]])
        rows = tf.tile(self.parameters, [shares.shape[0], 1])
        distances = tf.zeros_like(flat[:, :1])  # along each share, where V is differentiated twice
        with tf.GradientTape() as second:
            second.watch(distances)
            with tf.GradientTape() as first:
                first.watch(distances)
                values = self.totals(rows + distances * flat).reward
            slopes = first.gradient(values, distances)
        return tf.reshape(second.gradient(slopes, distances), shares.shape[:-1])

    def mean_reward(self) -> tf.Tensor:
        totals = self.totals(self.parameters)
        return totals.reward / totals.steps

    def mean_advantage(self) -> tf.Tensor:
        totals = self.totals(self.parameters)
        return totals.advantage / totals.steps
