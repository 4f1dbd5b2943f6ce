"""The meta-gradient of a run, and what outer optimizers ask beside it: compiled, shard by shard.

A shard is an equal part of the tasks with the batches of inner steps 0..S; the mean over all tasks
is the mean of the shards' means. Inside compiled code tasks go one by one, so that one task's
activations stay in the processor's cache.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from metarl.estimators import Estimator, meta_gradient
from metarl.estimators.algebra import inner_chain, trajectory_shares
from metarl.estimators.catalogue import other_tasks_mean
from metarl.objectives import (
    improvement_and_kl,
    kl_gradient,
    mean_kl,
    meta_fisher_product,
)
from metarl.outer_values import OuterValues, Resimulated, Sampled, left_out_differences
from metarl.policies import GaussianMLPPolicy, Policy
from metarl.settings import Averaging, TrainingSettings
from metarl.trajectories import Trajectories, step_weights, thinned

Shards = Sequence[list[Trajectories]]


def task_by_task(function: Callable[..., tf.Tensor], *arguments) -> tf.Tensor:
    """function(*arguments), one task after another, inside compiled code: [K, ...].

    Args:
      function: from arguments of one task, whose tensors have a leading axis of 1, to a tensor
        [1, ...].
      *arguments: structures of tensors with a leading axis of K, which the first of all has;
        scalars go to each task.
    """

    def of_task(task: tf.Tensor) -> tf.Tensor:
        def part(x: tf.Tensor) -> tf.Tensor:  # a slice: tf.gather is slower
            rank = x.shape.rank
            return tf.slice(x, [task] + [0] * (rank - 1), [1, *x.shape[1:]]) if rank else x

        return function(*tf.nest.map_structure(part, arguments))[0]

    first = tf.nest.flatten(arguments)[0]
    return tf.map_fn(of_task, tf.range(first.shape[0]), fn_output_signature=first.dtype)


def outer_values(
    policy: Policy,
    batch: Trajectories,
    averaging: Averaging,
    clip: float | None,
    parameters: tf.Tensor,
) -> OuterValues:
    """Those of the outer batch, with simulated differences where it has them; see `Sampled`."""
    sampled = Sampled(policy, batch, averaging, clip, parameters)
    if isinstance(batch.left_out, tuple):
        return sampled
    return Resimulated(sampled, tf.transpose(batch.left_out))


def every_task(parameters: tf.Tensor, tasks: int) -> tf.Tensor:
    """A copy of theta [P] for each task: [K, P].

    Not inside compiled code: one kernel for all is a slower product.
    """
    return tf.tile(parameters[None], [tasks, 1])


def mean_of_shards(values: Iterable[tf.Tensor]) -> tf.Tensor:
    """The mean of the shards' means over tasks: of all tasks, since shards have equally many."""
    values = list(values)
    return tf.add_n(values) / len(values)


class MetaGradient(NamedTuple):
    """What the outer optimizers take.

    Attributes:
      mean: over tasks, [P]: an ascent direction.
      squared_norm: the mean over tasks of the squared norm of a task's own gradient, [].
    """

    mean: tf.Tensor
    squared_norm: tf.Tensor


class MetaObjective:
    """The meta-gradient at any theta [P] on given shards, TRPO's products and ProMP's divergences.

    Args:
      policy: the policy.
      entry: the estimator.
      settings: of the run.
      map_shards: calls a compiled function for every shard, like `map`: one after another, or side
        by side.
    """

    def __init__(
        self,
        policy: GaussianMLPPolicy,
        entry: Estimator,
        settings: TrainingSettings,
        map_shards: Callable = map,
    ):
        self.policy, self.entry, self.settings = policy, entry, settings
        self.map_shards = map_shards

        def compiled(function: Callable) -> Callable:
            return tf.function(function, jit_compile=True, autograph=False)

        whole = entry.gradient is not None  # a plug-in that may not be compiled
        self._compiled_gradient = self._gradient if whole else compiled(self._gradient)
        self._compiled_fisher_chain = compiled(self._fisher_chain)
        self._compiled_fisher_product = compiled(self._fisher_product)
        self._compiled_measures = compiled(self._measures)
        self._compiled_divergences = compiled(self._divergences)
        self._compiled_step_divergence = compiled(self._step_divergence)
        self._compiled_sample_size = compiled(self._sample_size)
        self._compiled_leave_out = compiled(self._leave_out)
        self._compiled_value = compiled(self._value)

    def gradient(
        self, parameters: tf.Tensor, shards: Shards, inner_kl_coefficients: tf.Tensor | None = None
    ) -> MetaGradient:
        """The meta-gradient.

        Args:
          parameters: theta [P].
          shards: each shard's batches of inner steps 0..S.
          inner_kl_coefficients: of ProMP's inner KL penalty [S]; None: no penalty.
        """
        theta = self._copies(parameters, shards)
        of_shards = self.map_shards(
            lambda batches: self._compiled_gradient(theta, inner_kl_coefficients, batches), shards
        )
        return MetaGradient(*map(mean_of_shards, zip(*of_shards, strict=True)))

    def fisher_product(
        self, parameters: tf.Tensor, shards: Shards
    ) -> Callable[[np.ndarray], np.ndarray]:
        """x -> F x [P], F the Hessian of the post-update mean KL at the theta [P] that acted.

        Of one step of so many, `fisher_stride` in the settings.
        """
        theta = self._copies(parameters, shards)
        chains = list(
            self.map_shards(lambda batches: self._compiled_fisher_chain(theta, batches), shards)
        )

        def product(vector: np.ndarray) -> np.ndarray:
            vectors = self._copies(tf.constant(vector), shards)
            return mean_of_shards(
                self.map_shards(
                    lambda chain: self._compiled_fisher_product(*chain, vectors), chains
                )
            ).numpy()

        return product

    def improvement_and_kl(self, parameters: np.ndarray, shards: Shards) -> tuple[float, float]:
        """The surrogate's improvement over the policy that acted, and the post-update mean KL.

        Of every estimator the surrogate without its score term, maml's: see
        `objectives.improvement_and_kl`.
        """
        theta = self._copies(tf.constant(parameters), shards)
        improvement, kl = mean_of_shards(
            self.map_shards(lambda batches: self._compiled_measures(theta, batches), shards)
        )
        return float(improvement), float(kl)

    def inner_divergences(self, parameters: tf.Tensor, shards: Shards) -> tf.Tensor:
        """Mean KL between the policy that acted and theta [P], at every inner step: [S]."""
        theta = self._copies(parameters, shards)
        return mean_of_shards(
            self.map_shards(lambda batches: self._compiled_divergences(theta, batches), shards)
        )

    def step_divergence(self, parameters: tf.Tensor, shards: Shards) -> float:
        """Mean KL(pi_theta || pi_theta') of the first inner step from the theta [P] that acted."""
        theta = self._copies(parameters, shards)
        return float(
            mean_of_shards(self._compiled_step_divergence(theta, batches[0]) for batches in shards)
        )

    def effective_sample_size(self, parameters: tf.Tensor, shards: Shards) -> tf.Tensor:
        """The mean over tasks of leave-one-out's smallest effective sample size: [].

        Of the last inner step, the one whose outer batch is reweighted.
        """
        theta = self._copies(parameters, shards)
        return mean_of_shards(self._compiled_sample_size(theta, batches) for batches in shards)

    def left_out(
        self,
        parameters: tf.Tensor,
        batches: list[Trajectories],
        simulate: Callable[[tf.Tensor], Trajectories],
        subset: np.ndarray,
    ) -> np.ndarray:
        """What each trajectory of the last inner sample adds to V after adaptation: [K, N].

        Args:
          parameters: theta [P].
          batches: a shard's, of inner steps 0..S.
          simulate: the outer batch at any parameters [K, P], with the same randomness in all calls.
          subset: the trajectories without which it is simulated; see `left_out_differences`.
        """
        theta = every_task(parameters, len(batches[0].weights))
        after, shares, slopes = self._compiled_leave_out(theta, batches)
        return left_out_differences(
            lambda at: self._compiled_value(at, simulate(at)),
            self._compiled_value(after, batches[-1]),
            after,
            shares,
            slopes.numpy(),
            subset,
        ).T

    def _copies(self, parameters: tf.Tensor, shards: Shards) -> tf.Tensor:
        return every_task(parameters, self.settings.tasks // len(shards))

    def _gradient(
        self,
        parameters: tf.Tensor,
        inner_kl_coefficients: tf.Tensor | None,
        batches: list[Trajectories],
    ) -> MetaGradient:
        """A shard's meta-gradient, at theta [K, P]."""
        policy, settings = self.policy, self.settings

        clip = settings.clip if settings.outer_optimizer == "adam" else None

        def inner_penalty(number: int, parameters: tf.Tensor, batch: Trajectories) -> tf.Tensor:
            share = inner_kl_coefficients[number] / settings.inner_steps
            return share * kl_gradient(policy, parameters, batch)

        def of_task(
            parameters: tf.Tensor, batches: list[Trajectories], value_baseline: tf.Tensor
        ) -> tf.Tensor:
            *inner_batches, outer_batch = batches
            return meta_gradient(
                policy,
                self.entry,
                parameters,
                inner_batches,
                settings.inner,
                partial(outer_values, policy, outer_batch, settings.averaging, clip),
                value_baseline,
                None if inner_kl_coefficients is None else inner_penalty,
            )

        outer_batch = batches[-1]
        values = step_weights(outer_batch, settings.averaging) * outer_batch.score_rewards
        others = other_tasks_mean(tf.reduce_sum(values, axis=[1, 2]))  # whom of_task does not see
        together = self.entry.gradient is not None
        gradients = (of_task if together else partial(task_by_task, of_task))(
            parameters, batches, others
        )
        squares = tf.reduce_sum(gradients**2, axis=-1)
        return MetaGradient(tf.reduce_mean(gradients, axis=0), tf.reduce_mean(squares))

    def _chain(
        self, parameters: tf.Tensor, batches: list[Trajectories]
    ) -> tuple[list[tf.Tensor], list[Trajectories]]:
        """The chain of parameters [K, P], and the batches as losses see them."""
        *inner_batches, outer_batch = batches
        chain, seen = inner_chain(
            self.policy, self.entry, parameters, inner_batches, self.settings.inner
        )
        return chain, [*seen, outer_batch]

    def _fisher_chain(
        self, parameters: tf.Tensor, batches: list[Trajectories]
    ) -> tuple[list[tf.Tensor], list[Trajectories]]:
        chain, seen = self._chain(parameters, batches)
        return chain, [thinned(batch, self.settings.fisher_stride) for batch in seen]

    def _fisher_product(
        self, chain: list[tf.Tensor], seen: list[Trajectories], vectors: tf.Tensor
    ) -> tf.Tensor:
        def of_task(
            chain: list[tf.Tensor], seen: list[Trajectories], vector: tf.Tensor
        ) -> tf.Tensor:
            return meta_fisher_product(self.policy, chain, seen, self.settings.inner, vector)

        return tf.reduce_mean(task_by_task(of_task, chain, seen, vectors), axis=0)

    def _measures(self, parameters: tf.Tensor, batches: list[Trajectories]) -> tf.Tensor:
        def of_task(parameters: tf.Tensor, batches: list[Trajectories]) -> tf.Tensor:
            chain, (*_, outer_batch) = self._chain(parameters, batches)
            measures = improvement_and_kl(
                self.policy, chain[-1], outer_batch, self.settings.averaging
            )
            return tf.stack(measures)[None]

        return tf.reduce_mean(task_by_task(of_task, parameters, batches), axis=0)

    def _divergences(self, parameters: tf.Tensor, batches: list[Trajectories]) -> tf.Tensor:
        chain, (*seen, _) = self._chain(parameters, batches)
        return tf.stack(
            [
                tf.reduce_mean(mean_kl(self.policy, before, batch))
                for before, batch in zip(chain[:-1], seen, strict=True)
            ]
        )

    def _step_divergence(self, parameters: tf.Tensor, batch: Trajectories) -> tf.Tensor:
        (_, after), _ = inner_chain(
            self.policy, self.entry, parameters, [batch], self.settings.inner
        )
        return tf.reduce_mean(mean_kl(self.policy, after, batch))

    def _leave_out(
        self, parameters: tf.Tensor, batches: list[Trajectories]
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """theta' [K, P], the shares of the last inner step [N, K, P] and share . v [N, K]."""
        (*_, before, after), (*_, batch, outer_batch) = self._chain(parameters, batches)
        shares = trajectory_shares(self.policy, before, batch, self.settings.inner)
        outer = Sampled(self.policy, outer_batch, self.settings.averaging, None, after)
        gradient = outer.gradient(self.entry.outer_loss)
        return after, shares, tf.einsum("nkp,kp->nk", shares, gradient)

    def _value(self, parameters: tf.Tensor, batch: Trajectories) -> tf.Tensor:
        """V_hat [K] of a batch under parameters [K, P], those that acted."""
        return Sampled(self.policy, batch, self.settings.averaging, None, parameters).value()

    def _sample_size(self, parameters: tf.Tensor, batches: list[Trajectories]) -> tf.Tensor:
        (*_, before, after), (*_, batch, outer_batch) = self._chain(parameters, batches)
        shares = trajectory_shares(self.policy, before, batch, self.settings.inner)
        outer = Sampled(self.policy, outer_batch, self.settings.averaging, None, after)
        return tf.reduce_mean(outer.effective_sample_size(shares))
