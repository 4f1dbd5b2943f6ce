"""The audit in simulation: a training run's batches and estimators, at one of its policies.

Every replicate draws N trajectories X ~ p_theta a task, adapts, and draws two outer batches Y, Y' ~
p_theta' of a fixed size, independently of each other. All estimators see the same draws;
`metarl.audit.sampled` has the statistics. The estimand is the gradient of the mean over a few fixed
tasks of E[V(theta')], V the discounted return over sigma.

The reference is leave_one_out, re-simulated:

    W_i = V_hat_omega(theta') - V_hat_omega(theta'_{-i}),      theta'_{-i} = theta' - c f_i

V_hat_omega(theta'_{-i}) averages rollouts at theta'_{-i} itself with omega, the start states and
action noise of those at theta'. Neither depends on X_i, so E[V_hat_omega(theta'_{-i}) s_i] = 0: it
is unbiased whatever the physics does, over any horizon, and the common omega keeps W_i small.
A random subset S of the N trajectories is left out in turn. The others have their linearization,
c f_i . v, which the errors of S correct: on average over S that is all N simulated. S, like omega,
is drawn for each outer batch anew: the outer variance holds what the subset adds, the inner one is
that of all N. Where none is left out there is no reference, and no bias: rates of the variance need
none, and their N, outer batches and replicates are others than those that a bias takes.

How many replicates a place takes, a pilot tells, whose samples are not used again: see
`sampled.allotted`.

Training fits the baseline and sigma on each batch, so that f_i depends on the other trajectories.
Here both come from a pilot batch: f_i depends on X_i alone, as the reference needs it (where
episodes end early, inner averages over steps have a divisor that does not). So does b of
unbiased_baseline: the value after adaptation on the pilot batch. Advantages are those of lambda =
1, for which rewards and advantages tell the same, so that the published inner losses lead to one
theta'. Policies act in float32, as in training; estimates are float64.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from metarl import checkpoints
from metarl.adaptation import adapt
from metarl.advantages import Baseline, fit, trajectories
from metarl.audit import sampled
from metarl.audit.memory import require_mujoco
from metarl.audit.settings import SIMULATED, MujocoSettings
from metarl.errors import InputError
from metarl.estimators import Estimator, estimator, meta_gradient
from metarl.estimators.algebra import (
    likelihood_ratio,
    log_likelihood,
    rewards_to_go,
    trajectory_shares,
)
from metarl.outer_values import Resimulated, Sampled, left_out_differences
from metarl.policies import GaussianMLPPolicy
from metarl.policy_files import load_initial, load_policy
from metarl.randomness import generator
from metarl.rollouts import Rollout, Sampler, make_sampler
from metarl.settings import AdvantageSettings, TrainingSettings, require
from metarl.sources import environment_module
from metarl.storage import require_writable
from metarl.trajectories import Trajectories

CHUNK = SIMULATED  # replicates at a time: one shape means one compilation for each N
PILOT_SAMPLE_SIZE = 100  # trajectories a task


class Point(NamedTuple):
    """Where the audit is: theta, the tasks, and what pilot batches tell, which no sample enters.

    Attributes:
      training: the run's settings.
      policy: its network.
      parameters: theta [P], float64.
      tasks: those of the mean, [K, D].
      baseline: before adaptation, with sigma.
      outer_baseline: after it, with the same sigma, which is the unit of V and its gradient.
      values: V after adaptation, [K].
    """

    training: TrainingSettings
    policy: GaussianMLPPolicy
    parameters: np.ndarray
    tasks: np.ndarray
    baseline: Baseline
    outer_baseline: Baseline
    values: np.ndarray


def audited_point(
    settings: MujocoSettings,
    trained: np.ndarray,
    training: TrainingSettings,
    threads: int,
    initial: np.ndarray | None = None,
) -> Point:
    """The point that `settings` name.

    Args:
      settings: of the audit.
      trained: parameters [P] that the run ended with.
      training: the run's settings.
      threads: of the physics.
      initial: parameters [P] that the run started from; None: those of its seed.
    """
    sampler = sampler_of(training, settings.tasks, PILOT_SAMPLE_SIZE, threads)
    policy = sampler.policy
    parameters = trained.astype(np.float64)
    if settings.point == "initial":
        drawn = policy.initial_parameters(generator(training.seed, "initial parameters"))
        parameters = drawn if initial is None else initial.astype(np.float64)
    tasks = sampler.environment.sample_tasks(
        generator(settings.seed, "audited tasks"), settings.tasks
    )

    def pilot(theta: np.ndarray | tf.Tensor, name: str) -> Rollout:
        return collect(sampler, theta, tasks, settings.seed, name)

    before = np.repeat(parameters[None], settings.tasks, axis=0)
    rollout = pilot(before, "pilot")
    baseline = fit(rollout, advantage_settings(training))
    batch = float64_batch(policy, training, rollout, before, baseline)
    after = compiled_adaptation(policy, training)(before, batch)
    outer_baseline = fit(pilot(after, "outer pilot"), advantage_settings(training))
    second = pilot(after, "second outer pilot")
    outer = float64_batch(policy, training, second, after, baseline)
    return Point(
        training=training,
        policy=policy,
        parameters=parameters,
        tasks=tasks,
        baseline=baseline,
        outer_baseline=outer_baseline._replace(deviation=baseline.deviation),
        values=Sampled(policy, outer, training.averaging, None, after).value().numpy(),
    )


def sampler_of(training: TrainingSettings, tasks: int, rows: int, threads: int) -> Sampler:
    """The run's environment and policy, of `tasks` tasks with `rows` trajectories each."""
    return make_sampler(dataclasses.replace(training, tasks=tasks, trajectories=rows), threads)


def collect(
    sampler: Sampler,
    parameters: np.ndarray | tf.Tensor,
    tasks: np.ndarray,
    seed: int,
    *stream: str | int,
) -> Rollout:
    """A rollout of the tasks [K, D] under parameters [K, P]."""
    draw = generator(seed, "mujoco audit", *stream)
    return sampler.collect(tf.cast(parameters, tf.float32), tasks, draw)


def advantage_settings(training: TrainingSettings) -> AdvantageSettings:
    """The run's discount with lambda = 1."""
    return AdvantageSettings(training.discount, gae_lambda=1.0)


def float64_batch(
    policy: GaussianMLPPolicy,
    training: TrainingSettings,
    rollout: Rollout,
    parameters: np.ndarray | tf.Tensor,
    baseline: Baseline,
) -> Trajectories:
    """The batch of a rollout under parameters [K, P], with the outputs of the policy that acted."""
    batch = trajectories(rollout, advantage_settings(training), baseline, tf.float64)
    return batch._replace(behaviour=policy.outputs(parameters, batch.observations))


def compiled_adaptation(
    policy: GaussianMLPPolicy, training: TrainingSettings
) -> Callable[[np.ndarray | tf.Tensor, Trajectories], tf.Tensor]:
    """The inner step: theta [K, P], batch -> theta' [K, P]."""
    inner_step_of_run = partial(adapt, policy, settings=training.inner)
    return tf.function(inner_step_of_run, jit_compile=True, autograph=False)


class Audit:
    """The audit of some estimators at one point, at any N.

    Args:
      settings: of the audit.
      entries: the estimators, the linearized one among them, and the reference if trajectories are
        left out.
      point: where.
      threads: of the physics.
    """

    def __init__(
        self,
        settings: MujocoSettings,
        entries: Mapping[str, Estimator],
        point: Point,
        threads: int,
    ):
        self.settings, self.entries = settings, entries
        self.point, self.threads = point, threads
        self.adapt = compiled_adaptation(point.policy, point.training)
        whole = any(entry.gradient for entry in self.entries.values())  # may not be compiled
        self.estimates = (
            self._estimates
            if whole
            else tf.function(self._estimates, jit_compile=True, autograph=False)
        )
        self.shares = tf.function(self._shares, jit_compile=True, autograph=False)
        self.value = tf.function(self._value, jit_compile=True, autograph=False)
        self.slopes = tf.function(self._slopes, jit_compile=True, autograph=False)

    def _outer_values(self, batch: Trajectories, parameters: tf.Tensor) -> Sampled:
        return Sampled(self.point.policy, batch, self.point.training.averaging, None, parameters)

    def _estimates(
        self,
        parameters: tf.Tensor,
        batch: Trajectories,
        outer: Trajectories,
        differences: tf.Tensor | None,
        values: tf.Tensor,
    ) -> list[tf.Tensor]:
        """g_hat [K, P] of every estimator."""
        policy, inner = self.point.policy, self.point.training.inner

        def resimulated(after: tf.Tensor) -> Resimulated:
            return Resimulated(self._outer_values(outer, after), differences)

        return [
            meta_gradient(
                policy,
                entry,
                parameters,
                [batch],
                inner,
                resimulated,
                value_baseline=values,
            )
            for entry in self.entries.values()
        ]

    def _shares(self, parameters: tf.Tensor, batch: Trajectories) -> tf.Tensor:
        """c f_i: [N, K, P]."""
        return trajectory_shares(self.point.policy, parameters, batch, self.point.training.inner)

    def _value(self, parameters: tf.Tensor, batch: Trajectories) -> tf.Tensor:
        """V_hat of a batch under parameters [K, P], those that acted: [K]."""
        return self._outer_values(batch, parameters).value()

    def _slopes(self, parameters: tf.Tensor, batch: Trajectories, shares: tf.Tensor) -> tf.Tensor:
        """share . grad V_hat of every share [N, K, P]: [N, K]."""
        gradient = self._outer_values(batch, parameters).gradient(log_likelihood)
        return tf.einsum("nkp,kp->nk", shares, gradient)

    def subset(self, sample_size: int, *stream: str | int) -> np.ndarray:
        """S: the trajectories, of all replicates of a chunk, that one outer batch leaves out.

        One S for all of them does not tie them together: trajectories are exchangeable.
        """
        draw = generator(self.settings.seed, "mujoco audit", sample_size, *stream)
        return draw.choice(sample_size, left_out(self.settings, sample_size), replace=False)

    def gradients(self, sample_size: int, replicates: int, *streams: str) -> dict[str, np.ndarray]:
        """g_hat [2, R, P] of every estimator.

        The K axis holds CHUNK replicates of every task.

        Args:
          sample_size: N.
          replicates: R.
          *streams: name of the random streams, for samples other than those without one.
        """
        settings, point = self.settings, self.point
        copies = np.tile(np.arange(settings.tasks), CHUNK)
        inner_sampler, outer_sampler = (
            sampler_of(point.training, len(copies), rows, self.threads)
            for rows in (sample_size, settings.outer_sample_size)
        )
        tasks, values = point.tasks[copies], tf.constant(point.values[copies])
        baseline, outer_baseline = point.baseline.of(copies), point.outer_baseline.of(copies)
        before = tf.constant(np.repeat(point.parameters[None], len(copies), axis=0))

        def batch_of(
            sampler: Sampler, theta: tf.Tensor, baseline: Baseline, *stream: str | int
        ) -> Trajectories:
            rollout = collect(sampler, theta, tasks, settings.seed, sample_size, *stream)
            return float64_batch(point.policy, point.training, rollout, theta, baseline)

        def outer_batch(stream: tuple[str | int, ...], theta: tf.Tensor) -> Trajectories:
            return batch_of(outer_sampler, theta, outer_baseline, *stream)

        def differences_around(
            stream: tuple[str | int, ...],
            outer: Trajectories,
            after: tf.Tensor,
            shares: tf.Tensor,
            subset: np.ndarray,
        ) -> tf.Tensor:
            simulated = left_out_differences(
                lambda theta: self.value(theta, outer_batch(stream, theta)),
                self.value(after, outer),
                after,
                shares,
                self.slopes(after, outer, shares).numpy(),
                subset,
            )
            return tf.constant(simulated)

        collected = {name: [] for name in self.entries}
        for chunk in range(math.ceil(replicates / CHUNK)):
            batch = batch_of(inner_sampler, before, baseline, *streams, chunk, "inner")
            after, differences, halves = self.adapt(before, batch), None, []
            shares = self.shares(before, batch) if settings.left_out else None
            for half in range(2):
                stream = (*streams, chunk, "outer", half)
                outer = outer_batch(stream, after)
                if settings.left_out:
                    subset = self.subset(sample_size, *streams, chunk, "left out", half)
                    differences = differences_around(stream, outer, after, shares, subset)
                halves.append(self.estimates(before, batch, outer, differences, values))
            for name, *pair in zip(self.entries, *halves, strict=True):
                per_task = np.stack(pair).reshape(2, CHUNK, settings.tasks, -1)
                collected[name].append(per_task.mean(axis=2))
        return {
            name: np.concatenate(parts, axis=1)[:, :replicates] for name, parts in collected.items()
        }

    def replicates(self, sample_size: int) -> int:
        """R at N = `sample_size`: as many as the pilot says, if there is one."""
        settings = self.settings
        if not settings.pilot:
            return settings.replicates
        summary = sampled.summarize(
            self.gradients(sample_size, settings.pilot, "pilot"),
            generator(settings.seed, "mujoco audit bootstrap", "pilot", sample_size),
            settings.confidence,
        )
        return sampled.allotted(
            summary, settings.pilot, settings.replicates, settings.precision, settings.confidence
        )

    def rows(self, problem: str, sample_size: int) -> list[dict]:
        """The rows of `columns.SAMPLED` at N = `sample_size`.

        Raises:
          RunError: an estimate is not finite.
        """
        settings, replicates = self.settings, self.replicates(sample_size)
        keys = {
            "level": "mujoco",
            "problem": problem,
            "sample_size": sample_size,
            "replicates": replicates,
            "outer_sample_size": settings.outer_sample_size,
        }
        return sampled.rows(
            keys,
            settings.estimators,
            self.gradients(sample_size, replicates),
            generator(settings.seed, "mujoco audit bootstrap", sample_size),
            confidence=settings.confidence,
        )


def left_out(settings: MujocoSettings, sample_size: int) -> int:
    """|S|, the rollouts at some theta'_{-i} for each outer batch; 0: there is no reference."""
    return min(settings.left_out, sample_size)


def auditable(name: str) -> Estimator:
    """The estimator called `name`.

    Raises:
      InputError: there is none, or it adapts by an inner loss of its own.
    """
    entry = estimator(name)
    if entry.inner_loss not in (log_likelihood, likelihood_ratio, rewards_to_go):
        raise InputError(f"{name} adapts to a theta' of its own; audit it with metarl audit exact")
    return entry


def audit(
    settings: MujocoSettings, checkpoint_folder: Path, output: Path, threads: int = 1
) -> None:
    """Audits one policy; writes a tidy parquet, a row an estimator and N.

    Args:
      settings: policy, estimators, sample sizes, replicates, batch sizes, left-out trajectories,
        seed, confidence.
      checkpoint_folder: where finished N are kept; an audit that was interrupted goes on from
        there.
      output: parquet file with `columns.SAMPLED`.
      threads: of the physics; results do not depend on them.

    Raises:
      InputError: a policy that cannot be read or was not trained with one inner step, an estimator
        that cannot be audited here, or a path that cannot be written; nothing is written.
      RunError: an estimate is not finite; what was finished stays in the checkpoint.
      PhysicsError: a simulation failed; likewise.
    """
    require_writable(output, checkpoint_folder / "checkpoint.npz", inputs=[settings.policy])
    trained, training = load_policy(settings.policy)
    initial = load_initial(settings.policy)
    steps = training.inner_steps
    require(steps == 1, "inner_steps", steps, "a policy trained with 1")
    changes = {"horizon": settings.horizon, "inner_learning_rate": settings.inner_learning_rate}
    training = dataclasses.replace(
        training, **{name: value for name, value in changes.items() if value is not None}
    )
    require_mujoco(settings, training)
    reference = [sampled.REFERENCE] if settings.left_out else []
    names = dict.fromkeys((*reference, sampled.LINEARIZED, *settings.estimators))
    entries = {name: auditable(name) for name in names}
    described = {
        **dataclasses.asdict(settings),
        "policy": trained.astype(float).tolist(),
        "initial": None if initial is None else initial.astype(float).tolist(),
        "training": dataclasses.asdict(training),
    }
    modules = ("metarl.audit.mujoco", environment_module(training.environment))
    checkpoint = checkpoints.keyed_path(checkpoint_folder, described, modules, settings.estimators)
    point = audited_point(settings, trained, training, threads, initial)
    run = Audit(settings, entries, point, threads)
    problem = f"{training.environment}, {settings.point} policy"
    if settings.horizon is not None:
        problem += f", {settings.horizon} steps"
    units = [(problem, size) for size in sorted(settings.sample_sizes)]
    costs = [
        size + 2 * settings.outer_sample_size * (1 + left_out(settings, size)) for _, size in units
    ]
    sampled.audit_units(units, costs, run.rows, checkpoint, described, output)
