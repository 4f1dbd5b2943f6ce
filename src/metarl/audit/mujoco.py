"""The audit on simulated environments: the policy, the batches and the estimators of a training run, at one of its policies.

Every replicate draws N trajectories X ~ p_theta a task, adapts, and draws two outer batches Y, Y' ~ p_theta' of a fixed size,
independently of each other. All estimators see the same draws; `metarl.audit.sampled` has the statistics. The
estimand is the gradient of the mean over a few fixed tasks of E[V(theta')], V the discounted return over sigma.

Training fits the baseline and sigma on each batch, so that f_i depends on the other trajectories. Here both come from a
pilot batch: f_i depends on X_i alone, and leave_one_out is an unbiased reference as far as its importance weights can
be trusted. So does b of unbiased_baseline: the value after adaptation on the pilot batch. Advantages are those of lambda = 1, for
which rewards and advantages tell the same, so that the published inner losses lead to one theta'. Policies act in
float32, as in training; estimates are float64.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from metarl.adaptation import adapt
from metarl.advantages import Baseline, fit, trajectories
from metarl.audit import sampled
from metarl.errors import InputError
from metarl.estimators import estimator, meta_gradient
from metarl.estimators.algebra import (
    effective_sample_size,
    inner_step,
    leave_one_out_ratios,
    likelihood_ratio,
    log_likelihood,
    rewards_to_go,
    value,
)
from metarl.objectives import clipped_gradient
from metarl.policy_files import load_policy
from metarl.randomness import generator
from metarl.rollouts import Rollout, Sampler, make_sampler
from metarl.settings import AdvantageSettings, require
from metarl.storage import require_writable
from metarl.trajectories import Trajectories

CHUNK = 4  # replicates simulated at a time: one shape means one compilation for each N
PILOT_SAMPLE_SIZE = 100  # trajectories a task
POINTS = ("initial", "trained")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What an audit's numbers depend on, but for N.

    Attributes:
      policy: .npz of `metarl train`, which also tells environment, horizon and inner loop.
      point: of POINTS, where theta is: the policy that the run started from, or the one it ended with.
      estimators: names of the catalogue.
      replicates: R.
      outer_sample_size: trajectories of each outer batch and task.
      tasks: of the mean, drawn like held-out ones.
      seed: of all random streams.
    """

    policy: Path
    point: str
    estimators: tuple[str, ...]
    replicates: int
    outer_sample_size: int
    tasks: int
    seed: int


class Audit:
    """The audit at one policy.

    Raises:
      InputError: the policy cannot be read, was not trained with one inner step, or an estimator cannot be audited here.
    """

    def __init__(self, settings: Settings, threads: int):
        self.settings, self.threads = settings, threads
        self.trained_parameters, self.training = load_policy(settings.policy)
        require(
            self.training.inner_steps == 1,
            "inner_steps",
            self.training.inner_steps,
            "a policy trained with 1",
        )
        self.entries = {
            name: estimator(name)
            for name in dict.fromkeys((sampled.REFERENCE, sampled.LINEARIZED, *settings.estimators))
        }
        for name, entry in self.entries.items():
            if entry.inner_loss not in (log_likelihood, likelihood_ratio, rewards_to_go):
                raise InputError(
                    f"{name} adapts to a theta' of its own; audit it with metarl audit exact"
                )
        self.advantage = AdvantageSettings(self.training.discount, gae_lambda=1.0)
        self.problem = f"{self.training.environment}, {settings.point} policy"
        self.adapt = tf.function(self._adapt, jit_compile=True, autograph=False)
        self.gradients = tf.function(self._gradients, jit_compile=True, autograph=False)
        self.sample_sizes = tf.function(self._sample_sizes, jit_compile=True, autograph=False)

    def sampler(self, copies: int, rows: int) -> Sampler:
        """Of `copies` copies of every task, with `rows` trajectories each."""
        training = dataclasses.replace(
            self.training, tasks=copies * self.settings.tasks, trajectories=rows
        )
        return make_sampler(training, self.threads)

    def prepare(self) -> None:
        """Finds theta, the tasks, and what the pilot batch tells: baselines, scales and values. Before any `rows`."""
        sampler = self.sampler(1, PILOT_SAMPLE_SIZE)
        self.policy = sampler.policy
        self.parameters = self.trained_parameters.astype(np.float64)
        if self.settings.point == "initial":
            draw = generator(self.training.seed, "initial parameters")
            self.parameters = self.policy.initial_parameters(draw)
        self.tasks = sampler.environment.sample_tasks(
            generator(self.settings.seed, "audited tasks"), self.settings.tasks
        )
        before = np.repeat(self.parameters[None], self.settings.tasks, axis=0)
        pilot = self.collect(sampler, before, 1, "pilot")
        self.baseline = fit(pilot, self.advantage)
        batch = self.batch(pilot, before, self.baseline)
        after = self.adapt(before, batch)
        self.outer_baseline = fit(self.collect(sampler, after, 1, "outer pilot"), self.advantage)
        outer = self.batch(
            self.collect(sampler, after, 1, "second outer pilot"), after, self.baseline
        )
        self.values = value(
            inner_step(self.policy, before, after, batch, outer, self.training.inner)
        ).numpy()

    def collect(
        self, sampler: Sampler, parameters: np.ndarray | tf.Tensor, copies: int, *stream: str | int
    ) -> Rollout:
        """A rollout of `copies` copies of every task under parameters [K, P]."""
        return sampler.collect(
            tf.cast(parameters, tf.float32), np.tile(self.tasks, (copies, 1)),
            generator(self.settings.seed, "mujoco audit", *stream),
        )  # fmt: skip

    def batch(self, rollout: Rollout, parameters: tf.Tensor, baseline: Baseline) -> Trajectories:
        """In float64, also the outputs of the policy that acted."""
        found = trajectories(rollout, self.advantage, baseline, tf.float64)
        return found._replace(behaviour=self.policy.outputs(parameters, found.observations))

    def _adapt(self, parameters: tf.Tensor, batch: Trajectories) -> tf.Tensor:
        return adapt(self.policy, parameters, batch, self.training.inner)

    def _gradients(
        self, parameters: tf.Tensor, batch: Trajectories, outer: Trajectories, values: tf.Tensor
    ) -> list[tf.Tensor]:
        """g_hat [K, P] of every estimator."""
        inner = self.training.inner
        return [
            meta_gradient(
                self.policy, entry, parameters, [batch, outer], inner,
                lambda theta, data: clipped_gradient(self.policy, theta, data, inner.averaging, None),
                value_baseline=values,
            )
            for entry in self.entries.values()
        ]  # fmt: skip

    def _sample_sizes(
        self, parameters: tf.Tensor, batch: Trajectories, outer: Trajectories
    ) -> tf.Tensor:
        """leave_one_out's effective sample sizes [K]."""
        after = adapt(self.policy, parameters, batch, self.training.inner)
        step = inner_step(self.policy, parameters, after, batch, outer, self.training.inner)
        return effective_sample_size(leave_one_out_ratios(step), outer)

    def rows(self, problem: str, sample_size: int) -> list[dict]:
        """The rows of `sampled.COLUMNS` at N = `sample_size`."""
        settings = self.settings
        inner_sampler = self.sampler(CHUNK, sample_size)
        outer_sampler = self.sampler(CHUNK, settings.outer_sample_size)
        index = np.tile(np.arange(settings.tasks), CHUNK)
        baseline, values = self.baseline.of(index), tf.constant(self.values[index])
        # theta' has another value function, but V and its gradient must be in the units of the same sigma
        outer_baseline = self.outer_baseline.of(index)._replace(deviation=baseline.deviation)
        before = tf.constant(np.repeat(self.parameters[None], len(index), axis=0))
        collected = {name: [] for name in self.entries}
        for chunk in range(math.ceil(settings.replicates / CHUNK)):
            inner = self.collect(inner_sampler, before, CHUNK, sample_size, chunk, "inner")
            batch = self.batch(inner, before, baseline)
            after = self.adapt(before, batch)
            halves = []
            for half in range(2):
                outer = self.collect(outer_sampler, after, CHUNK, sample_size, chunk, "outer", half)
                outer_batch = self.batch(outer, after, outer_baseline)
                halves.append(self.gradients(before, batch, outer_batch, values))
            for name, *pair in zip(self.entries, *halves, strict=True):
                per_task = np.stack(pair).reshape(2, CHUNK, settings.tasks, -1)
                collected[name].append(per_task.mean(axis=2))
            if chunk == 0:  # as costly as an estimate: of these replicates alone
                sizes = self.sample_sizes(before, batch, outer_batch)
        gradients = {
            name: np.concatenate(parts, axis=1)[:, : settings.replicates]
            for name, parts in collected.items()
        }
        keys = {
            "level": "mujoco",
            "problem": problem,
            "sample_size": sample_size,
            "replicates": settings.replicates,
            "outer_sample_size": settings.outer_sample_size,
        }
        return sampled.rows(
            keys, settings.estimators, gradients, float(np.mean(sizes)),
            generator(settings.seed, "mujoco audit bootstrap", sample_size),
        )  # fmt: skip


def audit(
    settings: Settings,
    sample_sizes: Sequence[int],
    checkpoint_folder: Path,
    output: Path,
    threads: int = 1,
) -> None:
    """Audits estimators at one policy and writes a tidy parquet, a row an estimator and N.

    Args:
      settings: policy, estimators, replicates, batch sizes, seed.
      sample_sizes: the N.
      checkpoint_folder: where finished N are kept; an audit that was interrupted goes on from there.
      output: parquet file with `sampled.COLUMNS`; effective_sample_size is that of leave_one_out's importance weights at
        the last step, at most outer_sample_size, the smallest over left-out trajectories, averaged over tasks and
        some replicates. Where it is too small to trust, bias and cosine are masked (nan), with a warning in the log.
      threads: of the physics; results do not depend on them.

    Raises:
      InputError: a policy that cannot be read, an unknown name or a number out of range; nothing is written.
      RunError: an estimate is not finite; what was finished stays in the checkpoint.
      PhysicsError: a simulation failed; likewise.
    """
    require_writable(output, checkpoint_folder / "checkpoint.npz")
    if settings.point not in POINTS:
        raise InputError(f"point is {settings.point!r}; choose one of {', '.join(POINTS)}")
    sampled.require_settings(
        settings.estimators, sample_sizes, settings.replicates, settings.outer_sample_size, settings.seed
    )  # fmt: skip
    require(settings.tasks >= 1, "tasks", settings.tasks, "an integer >= 1")
    run = Audit(settings, threads)
    described = {
        **vars(settings),
        "policy": run.trained_parameters.astype(float).tolist(),
        "training": vars(run.training),
        "sample_sizes": sorted(sample_sizes),
    }
    run.prepare()
    sampled.audit_units(
        [(run.problem, size) for size in sorted(sample_sizes)],
        [size + 2 * settings.outer_sample_size for size in sorted(sample_sizes)],
        run.rows, described, "metarl.audit.mujoco", checkpoint_folder, output,
    )  # fmt: skip
