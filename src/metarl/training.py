"""Meta-training: sample tasks, adapt, sample again, estimate the meta-gradient, step. Read `train` top to bottom."""

import dataclasses
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from metarl import checkpoints, environments
from metarl.adaptation import adapt
from metarl.advantages import trajectories
from metarl.errors import RunError
from metarl.estimators import Estimator, estimator, meta_gradient
from metarl.estimators.algebra import (
    effective_sample_size,
    inner_step,
    leave_one_out_ratios,
)
from metarl.outer_optimizers import AdamState, adam, adam_start, clipped_gradient, kl_gradient
from metarl.policies import GaussianMLPPolicy
from metarl.randomness import generator
from metarl.rollouts import Rollout, Sampler
from metarl.settings import TrainingSettings
from metarl.storage import pack_arrays, require_writable, write_bytes, write_parquet
from metarl.trajectories import Trajectories

COLUMNS = (
    "algorithm",
    "environment",
    "estimator",
    "seed",
    "iteration",
    "environment_steps",
    "inner_step",
    "mean_return",
    "task_std",
    "gradient_norm",
    "effective_sample_size",
)


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
    )
    return Sampler(environment, policy, settings.tasks, settings.horizon)


def adaptation_chain(
    sampler: Sampler,
    compiled_adapt: Callable,
    settings: TrainingSettings,
    parameters: np.ndarray,
    tasks: np.ndarray,
    inner_steps: int,
    *stream: str | int,
) -> tuple[list[Trajectories], list[Rollout]]:
    """Rolls out, adapts, rolls out again: the batches and rollouts of inner steps 0..S.

    Args:
      sampler: of K tasks.
      compiled_adapt: `adapt` with the inner settings bound.
      settings: of the run.
      parameters: theta [P], float32.
      tasks: [K, D].
      inner_steps: S.
      *stream: name of the random stream; with the same name and parameters the same bits come back.
    """
    current = tf.repeat(tf.constant(parameters)[None], len(tasks), axis=0)
    batches, rollouts = [], []
    for step in range(inner_steps + 1):
        if step > 0:
            current = compiled_adapt(current, batches[-1])
        rollout = sampler.collect(current, tasks, generator(settings.seed, *stream, step))
        rollouts.append(rollout)
        batches.append(trajectories(rollout, settings.advantage))
    return batches, rollouts


def bound_adapt(policy: GaussianMLPPolicy, settings: TrainingSettings) -> Callable:
    """`adapt` compiled for one policy and one inner setting: (theta [K, P], batch) -> theta' [K, P]."""

    @tf.function(jit_compile=True, autograph=False)
    def compiled_adapt(parameters: tf.Tensor, batch: Trajectories) -> tf.Tensor:
        return adapt(policy, parameters, batch, settings.inner)

    return compiled_adapt


def bound_update(
    policy: GaussianMLPPolicy, entry: Estimator, settings: TrainingSettings
) -> Callable:
    """One outer step, compiled: (theta [P], Adam state, batches) -> (theta, Adam state, gradient norm)."""

    def outer_gradient(parameters: tf.Tensor, batch: Trajectories) -> tf.Tensor:
        return clipped_gradient(policy, parameters, batch, settings.averaging, settings.clip)

    def inner_penalty(parameters: tf.Tensor, batch: Trajectories) -> tf.Tensor:
        return settings.inner_kl_coefficient * kl_gradient(policy, parameters, batch)

    @tf.function(jit_compile=True, autograph=False)
    def update(
        parameters: tf.Tensor, state: AdamState, batches: list[Trajectories]
    ) -> tuple[tf.Tensor, AdamState, tf.Tensor]:
        per_task = meta_gradient(
            policy,
            entry,
            tf.repeat(parameters[None], settings.tasks, axis=0),
            batches,
            settings.inner,
            outer_gradient,
            inner_penalty=inner_penalty if settings.inner_kl_coefficient > 0 else None,
        )
        gradient = tf.reduce_mean(per_task, axis=0)
        return *adam(parameters, gradient, state, settings.outer_learning_rate), tf.norm(gradient)

    return update


def bound_effective_sample_size(policy: GaussianMLPPolicy, settings: TrainingSettings) -> Callable:
    """The mean over tasks of leave-one-out's smallest effective sample size, compiled: (theta [P], batches) -> []."""

    @tf.function(jit_compile=True, autograph=False)
    def measure(parameters: tf.Tensor, batches: list[Trajectories]) -> tf.Tensor:
        batch, outer_batch = batches
        before = tf.repeat(parameters[None], settings.tasks, axis=0)
        after = adapt(policy, before, batch, settings.inner)
        step = inner_step(policy, before, after, batch, outer_batch, settings.inner)
        return tf.reduce_mean(effective_sample_size(leave_one_out_ratios(step), outer_batch))

    return measure


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
      threads: of the physics; results do not depend on it.

    Raises:
      InputError: an unknown estimator, one that does not take the inner steps, or a path that cannot be written.
      PhysicsError: a simulation failed; the last good checkpoint stays.
      NonFiniteGradient: likewise for the meta-gradient.
    """
    entry = estimator(settings.estimator)
    require_writable(output, policy_output, checkpoint_folder / "checkpoint.npz")
    if tensorboard:
        require_writable(tensorboard / "events")
    described = dataclasses.asdict(settings)
    checkpoint = checkpoints.checkpoint_path(checkpoint_folder, described)
    sampler = make_sampler(settings, threads)
    policy = sampler.policy
    compiled_adapt = bound_adapt(policy, settings)
    update = bound_update(policy, entry, settings)
    measure_sample_size = bound_effective_sample_size(policy, settings)

    restored = checkpoints.load(checkpoint)
    if restored is None:
        initial = policy.initial_parameters(generator(settings.seed, "initial parameters"))
        parameters = tf.constant(initial, tf.float32)
        state, rows, first = adam_start(parameters), [], 0
    else:
        arrays, rows = restored
        parameters = tf.constant(arrays["parameters"])
        state = AdamState(*(tf.constant(arrays[name]) for name in AdamState._fields))
        first = int(arrays["iteration"])

    writer = tf.summary.create_file_writer(str(tensorboard)) if tensorboard else None
    steps_an_iteration = (settings.inner_steps + 1) * math.prod(sampler.shape)
    started = time.monotonic()
    for iteration in range(first, settings.iterations):
        tasks = sampler.environment.sample_tasks(
            generator(settings.seed, "tasks", iteration), settings.tasks
        )
        batches, rollouts = adaptation_chain(
            sampler, compiled_adapt, settings, parameters.numpy(), tasks, settings.inner_steps,
            "rollout", iteration,
        )  # fmt: skip
        sample_size = math.nan
        if entry.name == "leave_one_out":
            sample_size = float(measure_sample_size(parameters, batches))
        norms = []
        for _ in range(settings.outer_epochs):
            parameters, state, norm = update(parameters, state, batches)
            norms.append(float(norm))
        if not np.isfinite(norms).all():
            raise NonFiniteGradient(
                f"{settings.algorithm} on {settings.environment}: the meta-gradient is not finite at iteration "
                f"{iteration}; lower outer_learning_rate or inner_learning_rate"
            )

        task_returns = [rollout.returns.mean(axis=1) for rollout in rollouts]
        for inner, returns in enumerate(task_returns):
            rows.append(
                {
                    "algorithm": settings.algorithm,
                    "environment": settings.environment,
                    "estimator": settings.estimator,
                    "seed": settings.seed,
                    "iteration": iteration,
                    "environment_steps": (iteration + 1) * steps_an_iteration,
                    "inner_step": inner,
                    "mean_return": float(returns.mean()),
                    "task_std": float(returns.std()),
                    "gradient_norm": norms[0],
                    "effective_sample_size": sample_size,
                }
            )
        arrays = {"parameters": parameters.numpy(), "iteration": np.array(iteration + 1)}
        arrays |= {name: tensor.numpy() for name, tensor in state._asdict().items()}
        checkpoints.save(checkpoint, arrays, rows, described)
        averages = [float(returns.mean()) for returns in task_returns]
        print(
            progress(iteration + 1, settings, started, first, averages), file=sys.stderr, flush=True
        )
        if writer:
            with writer.as_default(step=iteration):
                for inner, average in enumerate(averages):
                    tf.summary.scalar(f"return/inner_step_{inner}", average)
                tf.summary.scalar("meta_gradient/norm", norms[0])
            writer.flush()

    write_bytes(pack_arrays({"parameters": parameters.numpy()}, described), policy_output)
    write_parquet(pd.DataFrame(rows, columns=COLUMNS), output)
