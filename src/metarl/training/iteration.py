"""One meta-iteration, which a run repeats: sample tasks, roll out, adapt, roll out again, step."""

import copy
import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from metarl.adaptation import adapt
from metarl.advantages import fit, trajectories
from metarl.environments.vector import PhysicsError, positive_integer
from metarl.errors import RunError
from metarl.estimators import Estimator
from metarl.optimizers import optimizer_of
from metarl.optimizers.measures import OuterMeasures
from metarl.policies import GaussianMLPPolicy
from metarl.randomness import generator
from metarl.rollouts import Rollout, Sampler, make_sampler
from metarl.settings import TrainingSettings
from metarl.training.gradient import MetaObjective, every_task, task_by_task
from metarl.trajectories import Trajectories

SHARDS = 2  # equal parts of the tasks, where they can be cut


class RunState(NamedTuple):
    """What an iteration changes: theta [P] and the optimizer's memory, a structure of tensors."""

    parameters: tf.Tensor
    memory: tuple


class Iteration(NamedTuple):
    """What an iteration saw.

    Attributes:
      shards: each shard's batches of inner steps 0..S.
      rollouts: each shard's rollouts of inner steps 0..S.
      measures: of the outer step.
    """

    shards: list[list[Trajectories]]
    rollouts: list[list[Rollout]]
    measures: OuterMeasures


class MetaIteration:
    """What a run repeats.

    The tasks are cut into shards, whatever the number of threads: each shard rolls out, adapts and
    computes its share of the meta-gradient by itself, so that the physics of one runs while the
    policy of the other does, and two threads keep two cores busy.

    Args:
      settings: of the run.
      entry: its estimator.
      threads: of the machine to use; results do not depend on it.
    """

    def __init__(self, settings: TrainingSettings, entry: Estimator, threads: int):
        divisible = settings.tasks % SHARDS == 0 and settings.tasks >= 2 * SHARDS
        shards = SHARDS if divisible else 1  # at least two tasks each: see other_tasks_mean
        workers = min(positive_integer("threads", threads), shards)
        share = dataclasses.replace(settings, tasks=settings.tasks // shards)
        self.settings = settings
        self.samplers = [make_sampler(share, threads // workers) for _ in range(shards)]
        self.map_shards = ThreadPoolExecutor(workers).map
        policy = self.samplers[0].policy
        self.adapt = compiled_adaptation(policy, entry, settings)
        self.objective = MetaObjective(policy, entry, settings, self.map_shards)
        self.optimizer = optimizer_of(settings)

    def of_seed(self, seed: int) -> "MetaIteration":
        """The same with another seed: what is compiled does not depend on it."""
        other = copy.copy(self)
        other.settings = dataclasses.replace(self.settings, seed=seed)
        return other

    def start(self) -> RunState:
        """The state before iteration 0."""
        initial = generator(self.settings.seed, "initial parameters")
        theta = self.samplers[0].policy.initial_parameters(initial)
        parameters = tf.constant(theta, tf.float32)
        return RunState(parameters, self.optimizer.start(parameters, self.settings))

    def __call__(self, state: RunState, number: int) -> tuple[RunState, Iteration]:
        """Iteration `number` from a state: the next state, and what the iteration saw.

        Raises:
          PhysicsError: a simulation failed.
        """
        settings = self.settings
        tasks = self.samplers[0].environment.sample_tasks(
            generator(settings.seed, "tasks", number), settings.tasks
        )
        theta = state.parameters.numpy()
        learning_rates = [settings.inner_learning_rate] * settings.inner_steps

        def chain(shard: int) -> tuple[list[Trajectories], list[Rollout]]:
            sampler, of_shard = self.samplers[shard], np.split(tasks, len(self.samplers))[shard]
            stream = ("rollout", number, shard)
            try:
                batches, rollouts = adaptation_chain(
                    sampler, self.adapt, settings, theta, of_shard, learning_rates, stream
                )
                if settings.left_out:
                    left_out = self._left_out(
                        sampler, state.parameters, batches, rollouts[-1], of_shard, stream
                    )
                    batches[-1] = batches[-1]._replace(left_out=left_out)
                return batches, rollouts
            except PhysicsError as error:  # whose task counts from the shard's first
                task = shard * len(of_shard) + error.task
                raise PhysicsError(task, error.trajectory, error.step, error.reason) from error

        shards, rollouts = zip(*self.map_shards(chain, range(len(self.samplers))), strict=True)
        parameters, memory, measures = self.optimizer.update(
            self.objective, state.parameters, state.memory, shards
        )
        return RunState(parameters, memory), Iteration(list(shards), list(rollouts), measures)

    def _left_out(
        self,
        sampler: Sampler,
        parameters: tf.Tensor,
        batches: list[Trajectories],
        outer: Rollout,
        tasks: np.ndarray,
        stream: tuple[str | int, ...],
    ) -> tf.Tensor:
        """What each inner trajectory adds to V after adaptation, simulated again: [K, N].

        With the start states, the action noise, the baseline and the scale of the outer rollout.
        """
        settings = self.settings
        baseline = fit(outer, settings.advantage)

        def simulate(at: tf.Tensor) -> Trajectories:
            draw = generator(settings.seed, *stream, settings.inner_steps)
            rollout = sampler.collect(at, tasks, draw)
            return trajectories(rollout, settings.advantage, baseline)

        draw = generator(settings.seed, *stream, "left out")
        subset = draw.choice(settings.trajectories, settings.left_out, replace=False)
        return tf.constant(self.objective.left_out(parameters, batches, simulate, subset))


def adaptation_chain(
    sampler: Sampler,
    compiled_adapt: Callable,
    settings: TrainingSettings,
    parameters: np.ndarray,
    tasks: np.ndarray,
    learning_rates: Sequence[float],
    stream: tuple[str | int, ...],
) -> tuple[list[Trajectories], list[Rollout]]:
    """Rolls out, adapts, rolls out again: the batches and rollouts of inner steps 0..S.

    Args:
      sampler: of K tasks.
      compiled_adapt: of `compiled_adaptation`.
      settings: of the run.
      parameters: theta [P], float32.
      tasks: [K, D].
      learning_rates: eta of every inner step [S].
      stream: name of the random stream; with the same name and parameters the same bits come back.

    Raises:
      PhysicsError: a simulation failed.
      RunError: adapted parameters are not finite.
    """
    current = every_task(tf.constant(parameters), len(tasks))
    batches, rollouts = [], []
    for step in range(len(learning_rates) + 1):
        if step > 0:
            eta = learning_rates[step - 1]
            current = compiled_adapt(current, batches[-1], tf.constant(eta, current.dtype))
            if not np.isfinite(current).all():
                raise RunError(
                    f"{settings.algorithm} on {settings.environment}: the parameters are not finite"
                    f" after inner step {step}; lower inner_learning_rate, which is {eta:g}"
                )
        rollout = sampler.collect(current, tasks, generator(settings.seed, *stream, step))
        rollouts.append(rollout)
        batches.append(trajectories(rollout, settings.advantage))
    return batches, rollouts


def compiled_adaptation(
    policy: GaussianMLPPolicy, entry: Estimator, settings: TrainingSettings
) -> Callable:
    """One inner step, compiled: (theta [K, P], batch, eta []) -> theta' [K, P]."""

    @tf.function(jit_compile=True, autograph=False)
    def compiled_adapt(
        parameters: tf.Tensor, batch: Trajectories, learning_rate: tf.Tensor
    ) -> tf.Tensor:
        inner = settings.inner._replace(learning_rate=learning_rate)

        def of_task(parameters: tf.Tensor, batch: Trajectories) -> tf.Tensor:
            return adapt(policy, parameters, entry.inner_loss(policy, parameters, batch), inner)

        return task_by_task(of_task, parameters, batch)

    return compiled_adapt
