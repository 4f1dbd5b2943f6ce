"""Meta-training: sample tasks, adapt, sample again, estimate the meta-gradient, step. Read `train` top to bottom."""

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf

from metarl import checkpoints, environments
from metarl.adaptation import adapt
from metarl.advantages import trajectories
from metarl.environments.vector import PhysicsError, positive_integer
from metarl.errors import RunError
from metarl.estimators import Estimator, estimator, meta_gradient
from metarl.estimators.algebra import (
    effective_sample_size,
    inner_chain,
    inner_step,
    leave_one_out_ratios,
)
from metarl.estimators.catalogue import other_tasks_mean
from metarl.outer_optimizers import (
    AdamState,
    adam,
    adam_start,
    adapted_kl_coefficients,
    clipped_gradient,
    improvement_and_kl,
    kl_gradient,
    mean_kl,
    meta_fisher_product,
    trpo,
)
from metarl.policies import GaussianMLPPolicy
from metarl.randomness import generator
from metarl.rollouts import Rollout, Sampler
from metarl.settings import TrainingSettings
from metarl.storage import pack_arrays, require_writable, write_bytes, write_parquet
from metarl.trajectories import Trajectories, step_weights

SHARDS = 2  # equal parts of the tasks, where they can be cut


class CurveRow(NamedTuple):
    """A row of the learning curve: one inner step of one iteration.

    Attributes:
      sample_size: N, trajectories a task and inner step.
      environment_steps: simulated so far, this iteration included.
      mean_return: over tasks and trajectories, undiscounted.
      task_std: standard deviation over tasks of their mean returns.
      gradient_norm: of the first outer epoch.
      kl, step_accepted: see `OuterMeasures`, of the last outer epoch.
      inner_kl_coefficient: mean over inner steps.
      effective_sample_size: of leave_one_out's importance weights, nan for other estimators.
    """

    algorithm: str
    environment: str
    estimator: str
    seed: int
    sample_size: int
    iteration: int
    environment_steps: int
    inner_step: int
    mean_return: float
    task_std: float
    gradient_norm: float
    kl: float
    step_accepted: float
    inner_kl_coefficient: float
    effective_sample_size: float


class NonFiniteGradient(RunError):
    """The meta-gradient has a NaN or an infinity; the message names estimator and iteration."""


def make_sampler(settings: TrainingSettings, threads: int) -> Sampler:
    """The environment of K x N simulations and its policy, in a sampler."""
    environment = environments.make(
        settings.environment,
        tasks=settings.tasks,
        trajectories=settings.trajectories,
        horizon=settings.horizon,
        threads=threads,
    )
    policy = GaussianMLPPolicy(
        environment.single_observation_space.shape[0],
        environment.single_action_space.shape[0],
        settings.hidden_sizes,
        settings.activation,
    )
    return Sampler(environment, policy, settings.tasks, settings.horizon)


def adaptation_chain(
    sampler: Sampler,
    compiled_adapt: Callable,
    settings: TrainingSettings,
    parameters: np.ndarray,
    tasks: np.ndarray,
    learning_rates: Sequence[float],
    *stream: str | int,
) -> tuple[list[Trajectories], list[Rollout]]:
    """Rolls out, adapts, rolls out again: the batches and rollouts of inner steps 0..S.

    Args:
      sampler: of K tasks.
      compiled_adapt: of `bound_adapt`.
      settings: of the run.
      parameters: theta [P], float32.
      tasks: [K, D].
      learning_rates: eta of every inner step [S].
      *stream: name of the random stream; with the same name and parameters the same bits come back.
    """
    current = every_task(tf.constant(parameters), len(tasks))
    batches, rollouts = [], []
    for step in range(len(learning_rates) + 1):
        if step > 0:
            eta = tf.constant(learning_rates[step - 1], current.dtype)
            current = compiled_adapt(current, batches[-1], eta)
        rollout = sampler.collect(current, tasks, generator(settings.seed, *stream, step))
        rollouts.append(rollout)
        batches.append(trajectories(rollout, settings.advantage))
    return batches, rollouts


def task_by_task(function: Callable[..., tf.Tensor], *arguments) -> tf.Tensor:
    """function(*arguments), one task after another, inside compiled code: [K, ...].

    A task's batch and its activations stay in the processor's cache, where those of all tasks would not.

    Args:
      function: from arguments of one task, whose tensors have a leading axis of 1, to a tensor [1, ...].
      *arguments: structures of tensors with a leading axis of K, which the first of all has; scalars go to each task.
    """

    def of_task(task: tf.Tensor) -> tf.Tensor:
        def mine(x: tf.Tensor) -> tf.Tensor:  # a slice: tf.gather is slower
            rank = x.shape.rank
            return tf.slice(x, [task] + [0] * (rank - 1), [1, *x.shape[1:]]) if rank else x

        return function(*tf.nest.map_structure(mine, arguments))[0]

    first = tf.nest.flatten(arguments)[0]
    return tf.map_fn(of_task, tf.range(first.shape[0]), fn_output_signature=first.dtype)


def bound_adapt(
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


class OuterState(NamedTuple):
    """What an outer step changes: theta [P], Adam's memory, ProMP's coefficients of the inner KL penalty [S]."""

    parameters: tf.Tensor
    adam: AdamState
    inner_kl_coefficients: tf.Tensor


def outer_start(parameters: np.ndarray, settings: TrainingSettings) -> OuterState:
    """The state before the first iteration, at the given theta [P]."""
    theta = tf.constant(parameters, tf.float32)
    coefficients = tf.fill([settings.inner_steps], tf.constant(settings.inner_kl_coefficient))
    return OuterState(theta, adam_start(theta), coefficients)


class OuterMeasures(NamedTuple):
    """What the curve tells of an outer step.

    Attributes:
      gradient_norm: [].
      kl: post-update mean KL of the step; nan for Adam, which does not measure it.
      accepted: whether TRPO's line search accepted a step, 1 or 0; nan for Adam.
    """

    gradient_norm: tf.Tensor
    kl: float
    accepted: float


def every_task(parameters: tf.Tensor, tasks: int) -> tf.Tensor:
    """A copy of theta [P] for each task: [K, P]. Not inside compiled code: one kernel for all is a slower product."""
    return tf.tile(parameters[None], [tasks, 1])


def average(shards: Iterable) -> tf.Tensor:
    """The mean of the shards' means over tasks: of all tasks, since shards have equally many."""
    values = list(shards)
    return tf.add_n(values) / len(values)


def bound_update(
    policy: GaussianMLPPolicy, entry: Estimator, settings: TrainingSettings, across: Callable = map
) -> Callable:
    """One outer step: (state, each shard's batches) -> (state, OuterMeasures).

    Args:
      policy: the policy.
      entry: the estimator.
      settings: of the run.
      across: calls a compiled function for every shard, like `map`: one after another, or side by side.
    """

    @tf.function(jit_compile=True, autograph=False)
    def estimate(
        parameters: tf.Tensor, inner_kl_coefficients: tf.Tensor, batches: list[Trajectories]
    ) -> tf.Tensor:
        def outer_gradient(parameters: tf.Tensor, batch: Trajectories) -> tf.Tensor:
            clip = settings.clip if settings.outer_optimizer == "adam" else None
            return clipped_gradient(policy, parameters, batch, settings.averaging, clip)

        def inner_penalty(number: int, parameters: tf.Tensor, batch: Trajectories) -> tf.Tensor:
            share = inner_kl_coefficients[number] / settings.inner_steps
            return share * kl_gradient(policy, parameters, batch)

        def of_task(
            parameters: tf.Tensor, batches: list[Trajectories], value_baseline: tf.Tensor
        ) -> tf.Tensor:
            return meta_gradient(
                policy,
                entry,
                parameters,
                batches,
                settings.inner,
                outer_gradient,
                value_baseline,
                inner_penalty if settings.inner_kl_coefficient > 0 else None,
            )

        outer_batch = batches[-1]
        values = step_weights(outer_batch, settings.averaging) * outer_batch.score_rewards
        others = other_tasks_mean(tf.reduce_sum(values, axis=[1, 2]))  # whom of_task does not see
        return tf.reduce_mean(task_by_task(of_task, parameters, batches, others), axis=0)

    @tf.function(jit_compile=True, autograph=False)
    def chain_of(
        parameters: tf.Tensor, batches: list[Trajectories]
    ) -> tuple[list[tf.Tensor], list[Trajectories]]:
        *inner_batches, outer_batch = batches
        chain, seen = inner_chain(policy, entry, parameters, inner_batches, settings.inner)
        return chain, [*seen, outer_batch]

    @tf.function(jit_compile=True, autograph=False)
    def fisher_of(
        chain: list[tf.Tensor], seen: list[Trajectories], vectors: tf.Tensor
    ) -> tf.Tensor:
        def of_task(
            chain: list[tf.Tensor], seen: list[Trajectories], vector: tf.Tensor
        ) -> tf.Tensor:
            return meta_fisher_product(policy, chain, seen, settings.inner, vector)

        return tf.reduce_mean(task_by_task(of_task, chain, seen, vectors), axis=0)

    @tf.function(jit_compile=True, autograph=False)
    def measure_of(parameters: tf.Tensor, batches: list[Trajectories]) -> tf.Tensor:
        def of_task(parameters: tf.Tensor, batches: list[Trajectories]) -> tf.Tensor:
            *inner_batches, outer_batch = batches
            moved, _ = inner_chain(policy, entry, parameters, inner_batches, settings.inner)
            measures = improvement_and_kl(policy, moved[-1], outer_batch, settings.averaging)
            return tf.stack(measures)[None]

        return tf.reduce_mean(task_by_task(of_task, parameters, batches), axis=0)

    def gradient_of(state: OuterState, shards: list[list[Trajectories]]) -> tf.Tensor:
        theta = every_task(state.parameters, settings.tasks // len(shards))
        return average(
            across(lambda batches: estimate(theta, state.inner_kl_coefficients, batches), shards)
        )

    def adam_update(
        state: OuterState, shards: list[list[Trajectories]]
    ) -> tuple[OuterState, OuterMeasures]:
        gradient = gradient_of(state, shards)
        moved, memory = adam(state.parameters, gradient, state.adam, settings.outer_learning_rate)
        measures = OuterMeasures(tf.norm(gradient), math.nan, math.nan)
        return state._replace(parameters=moved, adam=memory), measures

    def trpo_update(
        state: OuterState, shards: list[list[Trajectories]]
    ) -> tuple[OuterState, OuterMeasures]:
        tasks = settings.tasks // len(shards)
        gradient = gradient_of(state, shards)
        theta = every_task(state.parameters, tasks)
        chains = list(across(lambda batches: chain_of(theta, batches), shards))

        def product(vector: np.ndarray) -> np.ndarray:
            vectors = every_task(tf.constant(vector), tasks)
            return average(across(lambda chain: fisher_of(*chain, vectors), chains)).numpy()

        def measure(parameters: np.ndarray) -> tuple[float, float]:
            moved = every_task(tf.constant(parameters), tasks)
            improvement, kl = average(across(lambda batches: measure_of(moved, batches), shards))
            return float(improvement), float(kl)

        step = trpo(
            state.parameters.numpy(), gradient.numpy(), product, measure, settings.trust_region
        )
        measures = OuterMeasures(tf.norm(gradient), step.kl, float(step.accepted))
        return state._replace(parameters=tf.constant(step.parameters)), measures

    return trpo_update if settings.outer_optimizer == "trpo" else adam_update


def bound_inner_kl_rule(
    policy: GaussianMLPPolicy, entry: Estimator, settings: TrainingSettings, across: Callable = map
) -> Callable:
    """ProMP's rule for the coefficients: (state, each shard's batches) -> state. `across` as in `bound_update`."""

    @tf.function(jit_compile=True, autograph=False)
    def divergences_of(parameters: tf.Tensor, batches: list[Trajectories]) -> tf.Tensor:
        chain, seen = inner_chain(policy, entry, parameters, batches[:-1], settings.inner)
        return tf.stack(
            [
                tf.reduce_mean(mean_kl(policy, before, batch))
                for before, batch in zip(chain[:-1], seen, strict=True)
            ]
        )

    def adapt_coefficients(state: OuterState, shards: list[list[Trajectories]]) -> OuterState:
        theta = every_task(state.parameters, settings.tasks // len(shards))
        divergences = average(across(lambda batches: divergences_of(theta, batches), shards))
        coefficients = adapted_kl_coefficients(
            state.inner_kl_coefficients, divergences, settings.inner_kl_target
        )
        return state._replace(inner_kl_coefficients=coefficients)

    return adapt_coefficients


def bound_effective_sample_size(policy: GaussianMLPPolicy, settings: TrainingSettings) -> Callable:
    """The mean over tasks of leave-one-out's smallest effective sample size: (theta [P], each shard's batches) -> [].

    Of the last inner step, the one whose outer batch is reweighted.
    """

    @tf.function(jit_compile=True, autograph=False)
    def measure(parameters: tf.Tensor, batches: list[Trajectories]) -> tf.Tensor:
        *inner_batches, outer_batch = batches
        after = parameters
        for batch in inner_batches:
            before, after = after, adapt(policy, after, batch, settings.inner)
        step = inner_step(policy, before, after, batch, outer_batch, settings.inner)
        return tf.reduce_mean(effective_sample_size(leave_one_out_ratios(step), outer_batch))

    def of_all(parameters: tf.Tensor, shards: list[list[Trajectories]]) -> tf.Tensor:
        theta = every_task(parameters, settings.tasks // len(shards))
        return average(measure(theta, batches) for batches in shards)

    return of_all


class MetaIteration:
    """What a run repeats: sample tasks, roll out and adapt, step. Compiled once.

    The tasks are cut into shards, whatever the number of threads: each shard rolls out, adapts and computes its share of
    the meta-gradient by itself, so that the physics of one runs while the policy of the other does, and two threads
    keep two cores busy.

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
        self.across = ThreadPoolExecutor(workers).map
        policy = self.samplers[0].policy
        self.adapt = bound_adapt(policy, entry, settings)
        self.update = bound_update(policy, entry, settings, self.across)
        self.inner_kl_rule = bound_inner_kl_rule(policy, entry, settings, self.across)

    def start(self) -> OuterState:
        """The state before iteration 0."""
        initial = generator(self.settings.seed, "initial parameters")
        return outer_start(self.samplers[0].policy.initial_parameters(initial), self.settings)

    def __call__(
        self, state: OuterState, number: int
    ) -> tuple[OuterState, list[list[Trajectories]], list[list[Rollout]], list[OuterMeasures]]:
        """Iteration `number`.

        Returns:
          The next state; each shard's batches and rollouts of inner steps 0..S; the measures of every outer epoch.
        """
        settings = self.settings
        tasks = self.samplers[0].environment.sample_tasks(
            generator(settings.seed, "tasks", number), settings.tasks
        )
        theta = state.parameters.numpy()
        learning_rates = [settings.inner_learning_rate] * settings.inner_steps

        def chain(shard: int) -> tuple[list[Trajectories], list[Rollout]]:
            mine = np.split(tasks, len(self.samplers))[shard]
            try:
                return adaptation_chain(
                    self.samplers[shard], self.adapt, settings, theta, mine, learning_rates, "rollout", number, shard,
                )  # fmt: skip
            except PhysicsError as error:  # whose task counts from the shard's first
                task = shard * len(mine) + error.task
                raise PhysicsError(task, error.trajectory, error.step, error.reason) from error

        shards, rollouts = zip(*self.across(chain, range(len(self.samplers))), strict=True)
        measures = []
        for _ in range(settings.outer_epochs):
            state, measured = self.update(state, shards)
            measures.append(measured)
        if settings.inner_kl_target > 0:
            state = self.inner_kl_rule(state, shards)
        return state, list(shards), list(rollouts), measures


def progress(
    done: int, settings: TrainingSettings, started: float, first: int, returns: list[float]
) -> str:
    """One line: how far, the returns before and after adaptation, and when the run will end."""
    remaining = (time.monotonic() - started) / (done - first) * (settings.iterations - done)
    arrows = " -> ".join(f"{value:.1f}" for value in returns)
    return (
        f"{settings.environment} {settings.algorithm} seed {settings.seed}: iteration "
        f"{done}/{settings.iterations}, return {arrows}, ETA {remaining:.0f} s"
    )


def train(
    settings: TrainingSettings,
    output: Path,
    policy_output: Path,
    checkpoint_folder: Path,
    tensorboard: Path | None = None,
    threads: int = 1,
) -> None:
    """Trains one run; writes its curves (tidy parquet, a row an iteration and inner step) and its final policy.

    Args:
      settings: the run.
      output: parquet file.
      policy_output: .npz with the parameters [P] and the settings.
      checkpoint_folder: where the run keeps its checkpoint; a run that was interrupted goes on from it.
      tensorboard: folder of TensorBoard scalars, or None.
      threads: of the machine to use; results do not depend on it.

    Raises:
      InputError: an unknown estimator, or a path that cannot be written.
      PhysicsError: a simulation failed; the last good checkpoint stays.
      NonFiniteGradient: likewise for the meta-gradient.
    """
    entry = estimator(settings.estimator)
    require_writable(output, policy_output, checkpoint_folder / "checkpoint.npz")
    if tensorboard:
        require_writable(tensorboard / "events")
    described = dataclasses.asdict(settings)
    checkpoint = checkpoints.checkpoint_path(checkpoint_folder, described)
    iterate = MetaIteration(settings, entry, threads)
    measure_sample_size = bound_effective_sample_size(iterate.samplers[0].policy, settings)

    state, rows, first = iterate.start(), [], 0
    if (restored := checkpoints.load(checkpoint)) is not None:
        arrays, stored = restored
        rows = [CurveRow(**row) for row in stored]
        state, first = unpack_state(arrays), int(arrays["iteration"])

    writer = tf.summary.create_file_writer(str(tensorboard)) if tensorboard else None
    steps_an_iteration = (
        (settings.inner_steps + 1) * settings.tasks * settings.trajectories * settings.horizon
    )
    started = time.monotonic()
    for iteration in range(first, settings.iterations):
        before = state
        state, shards, rollouts, measures = iterate(before, iteration)
        if not np.isfinite([measured.gradient_norm for measured in measures]).all():
            raise NonFiniteGradient(
                f"{settings.algorithm} on {settings.environment}: the meta-gradient is not finite at iteration "
                f"{iteration}; lower outer_learning_rate (trust_region with trpo) or inner_learning_rate"
            )
        effective = math.nan
        if entry.name == "leave_one_out":
            effective = float(measure_sample_size(before.parameters, shards))

        task_returns = [
            np.concatenate([rollout.returns.mean(axis=1) for rollout in step])
            for step in zip(*rollouts, strict=True)
        ]
        rows += [
            CurveRow(
                algorithm=settings.algorithm,
                environment=settings.environment,
                estimator=settings.estimator,
                seed=settings.seed,
                sample_size=settings.trajectories,
                iteration=iteration,
                environment_steps=(iteration + 1) * steps_an_iteration,
                inner_step=inner,
                mean_return=float(returns.mean()),
                task_std=float(returns.std()),
                gradient_norm=float(measures[0].gradient_norm),
                kl=measures[-1].kl,
                step_accepted=measures[-1].accepted,
                inner_kl_coefficient=float(tf.reduce_mean(before.inner_kl_coefficients)),
                effective_sample_size=effective,
            )
            for inner, returns in enumerate(task_returns)
        ]
        arrays = pack_state(state) | {"iteration": np.array(iteration + 1)}
        checkpoints.save(checkpoint, arrays, [row._asdict() for row in rows], described)
        means = [float(returns.mean()) for returns in task_returns]
        print(progress(iteration + 1, settings, started, first, means), file=sys.stderr, flush=True)
        if writer:
            with writer.as_default(step=iteration):
                for inner, mean in enumerate(means):
                    tf.summary.scalar(f"return/inner_step_{inner}", mean)
                tf.summary.scalar("meta_gradient/norm", measures[0].gradient_norm)
            writer.flush()

    parameters = {"parameters": state.parameters.numpy()}
    write_bytes(pack_arrays(parameters, described), policy_output)
    write_parquet(pd.DataFrame(rows), output)


def pack_state(state: OuterState) -> dict[str, np.ndarray]:
    """The state as a checkpoint's arrays."""
    arrays = {
        "parameters": state.parameters,
        "inner_kl_coefficients": state.inner_kl_coefficients,
        **state.adam._asdict(),
    }
    return {name: tensor.numpy() for name, tensor in arrays.items()}


def unpack_state(arrays: dict[str, np.ndarray]) -> OuterState:
    """The state that `pack_state` packed."""
    return OuterState(
        tf.constant(arrays["parameters"]),
        AdamState(*(tf.constant(arrays[name]) for name in AdamState._fields)),
        tf.constant(arrays["inner_kl_coefficients"]),
    )
