"""The exact audit: bias and variance of an estimator with no sampling error.

theta' depends on a sample of N trajectories through its counts alone, which are Multinomial(N,
p_theta) over the M distinct trajectories. So every composition of N into M counts goes on the task
axis, the M trajectories on the trajectory axis with weights = counts / N, and V is enumerated in
closed form. The production estimator code then returns g_hat for every possible sample (with S
inner steps: for every S-tuple of samples), and

    bias = || E[g_hat] - grad J_N ||,   variance = E || g_hat - E[g_hat] ||^2,   J_N(theta) =
    E[V(theta')].

grad J_N itself comes from automatic differentiation of J_N, not from any estimator. Everything is
float64.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf
from scipy.special import gammaln

from metarl.adaptation import adapt
from metarl.audit.problems import FiniteProblem, problem
from metarl.audit.settings import MOST_ENUMERATED, ExactSettings
from metarl.audit.text import text
from metarl.errors import InputError, RunError
from metarl.estimators import Estimator, estimator, meta_gradient
from metarl.outer_values import ClosedForm, Sampled, Totals
from metarl.progress import Progress
from metarl.results import columns
from metarl.results.writer import write_table
from metarl.settings import InnerSettings
from metarl.storage import require_writable
from metarl.trajectories import Trajectories, step_scale

CHUNK = 8192  # compositions a compiled call: bounds memory, and one shape means one compilation
# of a problem; what is compiled takes them as arguments and serves all problems of one shape
ARRAYS = ("parameters", "observations", "actions", "rewards", "mask", "log_transitions")


def compositions(total: int, parts: int) -> np.ndarray:
    """All ways to write `total` as an ordered sum of `parts` non-negative integers: [C, parts]."""
    bars = itertools.combinations(range(total + parts - 1), parts - 1)
    bars = np.fromiter(itertools.chain.from_iterable(bars), np.int64).reshape(-1, parts - 1)
    edges = np.pad(bars, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, total + parts - 1)))
    return np.diff(edges, axis=1) - 1


def log_multinomial(counts: np.ndarray) -> np.ndarray:
    """log of the number of samples with these counts [C, M]: [C]."""
    return gammaln(counts.sum(axis=1) + 1) - gammaln(counts + 1).sum(axis=1)


@functools.cache
def compiled(method: str, entries: tuple[Estimator, ...], shape: FiniteProblem) -> Callable:
    """A method of `ExactAudit`, compiled once for all problems of one shape, `shape_of` them."""

    def function(arrays: dict[str, tf.Tensor], *arguments: tf.Tensor):
        return getattr(ExactAudit(dataclasses.replace(shape, **arrays), entries), method)(
            *arguments
        )

    return tf.function(function, jit_compile=True, autograph=False)


def shape_of(finite: FiniteProblem) -> FiniteProblem:
    """The problem without its name and its arrays."""
    return dataclasses.replace(finite, name="", **dict.fromkeys(ARRAYS))


class ExactAudit:
    """The compiled functions of one problem; N is an argument, so each compiles once.

    Args:
      finite: the problem.
      entries: the estimators.
    """

    def __init__(self, finite: FiniteProblem, entries: Sequence[Estimator]):
        self.problem = finite
        self.entries = tuple(entries)
        self.settings = InnerSettings(finite.inner_learning_rate, "trajectories")
        self._observations, self._actions, self._rewards, self._mask, self._log_transitions = (
            tf.convert_to_tensor(x, tf.float64)
            for x in (
                finite.observations,
                finite.actions,
                finite.rewards,
                finite.mask,
                finite.log_transitions,
            )
        )
        self._advantages = self._mask * tf.cumsum(self._rewards, axis=-1, reverse=True)
        self._visits = tf.einsum(  # how often each trajectory takes an action in a state: [S, A, M]
            "mt,mts,mta->sam", self._mask, self._observations, self._actions
        )

    def gradients(self, counts: tf.Tensor, value_baseline: tf.Tensor) -> list[tf.Tensor]:
        """`_gradients`, compiled unless an entry is a whole gradient, which may not be."""
        if any(entry.gradient for entry in self.entries):
            return self._gradients(counts, value_baseline)
        return self._call("_gradients", self.entries, counts, value_baseline)

    def values(self, counts: tf.Tensor, log_ways: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`_values`, compiled."""
        return self._call("_values", (), counts, log_ways)

    def estimand(self, counts: tf.Tensor, log_ways: tf.Tensor) -> tf.Tensor:
        """`_estimand`, compiled."""
        return self._call("_estimand", (), counts, log_ways)

    def _call(self, method: str, entries: tuple[Estimator, ...], *arguments: tf.Tensor):
        arrays = {name: tf.constant(getattr(self.problem, name), tf.float64) for name in ARRAYS}
        return compiled(method, entries, shape_of(self.problem))(arrays, *arguments)

    def batch(
        self, parameters: tf.Tensor, weights: tf.Tensor, sample_size: tf.Tensor
    ) -> Trajectories:
        """All M trajectories for every row of `parameters` [K, P], with weights [K, M]."""

        def every_task(x: tf.Tensor) -> tf.Tensor:
            return tf.broadcast_to(x, [parameters.shape[0], *x.shape])

        observations = every_task(self._observations)
        rewards = every_task(self._rewards)
        return Trajectories(
            observations=observations,
            actions=every_task(self._actions),
            advantages=every_task(self._advantages),
            rewards=rewards,
            score_rewards=rewards,
            mask=every_task(self._mask),
            behaviour=self.problem.policy.outputs(parameters, observations),
            weights=weights,
            sample_size=sample_size,
        )

    def log_probabilities(self, parameters: tf.Tensor) -> tf.Tensor:
        """log p(trajectory) under parameters [K, P]: [K, M]."""
        policy = self.problem.policy
        states = tf.eye(policy.states, batch_shape=parameters.shape[:1], dtype=tf.float64)
        (log_probs,) = policy.outputs(parameters, states)
        log_probs = tf.reshape(log_probs, [-1, policy.parameter_size])
        visits = tf.reshape(self._visits, [policy.parameter_size, -1])
        return tf.linalg.matmul(log_probs, visits) + self._log_transitions

    def _copies(self, counts: tf.Tensor) -> tf.Tensor:
        parameters = tf.convert_to_tensor(self.problem.parameters)
        return tf.repeat(parameters[None], counts.shape[0], axis=0)

    def sampled(
        self, parameters: tf.Tensor, weights: tf.Tensor, sample_size: tf.Tensor
    ) -> Trajectories:
        """`batch` as the inner update sees it.

        A mean over steps is a scale of its A and r, so that V stays a sum.
        """
        batch = self.batch(parameters, weights, sample_size)
        scale = step_scale(batch, self.problem.averaging)
        return batch._replace(advantages=scale * batch.advantages, rewards=scale * batch.rewards)

    def _chain(
        self, parameters: tf.Tensor, counts: tf.Tensor
    ) -> tuple[list[Trajectories], tf.Tensor, tf.Tensor]:
        """Batches with counts [K, S, M], theta' [K, P] and sum_s counts_s . log p_{theta_s} [K]."""
        batches, log_probability, sample_size = [], 0.0, tf.reduce_sum(counts[0, 0])
        for step in range(self.problem.inner_steps):
            chosen = counts[:, step]
            log_probability += tf.reduce_sum(chosen * self.log_probabilities(parameters), axis=-1)
            batches.append(self.sampled(parameters, chosen / sample_size, sample_size))
            parameters = adapt(self.problem.policy, parameters, batches[-1], self.settings)
        return batches, parameters, log_probability

    def totals(self, parameters: tf.Tensor) -> Totals:
        """V and the like at parameters [K, P], by enumeration."""
        chances = tf.exp(self.log_probabilities(parameters))
        sums = (self._rewards, self._advantages, self._mask)
        return Totals(*(tf.linalg.matvec(chances, tf.reduce_sum(x, axis=-1)) for x in sums))

    def enumerated(self, parameters: tf.Tensor) -> Sampled:
        """V by a batch of all trajectories, weighed by their probability: for whole gradients."""
        weights = tf.exp(self.log_probabilities(parameters))
        batch = self.batch(parameters, weights, tf.constant(1.0, tf.float64))
        return Sampled(self.problem.policy, batch, "trajectories", None, parameters)

    def _values(self, counts: tf.Tensor, log_ways: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """V(theta') and the probability of every sample, [K] each."""
        _, adapted, log_probability = self._chain(self._copies(counts), counts)
        return self.totals(adapted).reward, tf.exp(log_ways + log_probability)

    def _gradients(self, counts: tf.Tensor, value_baseline: tf.Tensor) -> list[tf.Tensor]:
        """g_hat of every estimator for every sample: a list of [K, P]."""
        parameters = self._copies(counts)
        batches, *_ = self._chain(parameters, counts)
        return [
            meta_gradient(
                self.problem.policy,
                entry,
                parameters,
                batches,
                self.settings,
                self.enumerated if entry.gradient else partial(ClosedForm, self.totals),
                value_baseline=tf.fill([counts.shape[0]], value_baseline),
            )
            for entry in self.entries
        ]

    def _estimand(self, counts: tf.Tensor, log_ways: tf.Tensor) -> tf.Tensor:
        """These samples' part of grad J_N, J_N = sum_c p_theta(c) V(theta'(theta, c)): [P]."""
        parameters = self._copies(counts)
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            _, adapted, log_probability = self._chain(parameters, counts)
            expected = tf.exp(log_ways + log_probability) * self.totals(adapted).reward
            objective = tf.reduce_sum(expected)
        return tf.reduce_sum(tape.gradient(objective, parameters), axis=0)

    def run(self, sample_size: int) -> list[dict]:
        """One row an estimator: bias, relative bias, variance and ||grad J_N|| at one N.

        Raises:
          RunError: an estimate is not finite.
        """
        probabilities, truth, estimates = self.estimates(sample_size)
        for entry, estimate in zip(self.entries, estimates, strict=True):
            if not np.isfinite(estimate).all():
                raise RunError(
                    f"{entry.name} is not finite at N = {sample_size} on {self.problem.name}: what"
                    " it returns has a NaN or an infinity; mend it, or leave it out"
                )
        return [
            {
                "problem": self.problem.name,
                "estimator": entry.name,
                "sample_size": sample_size,
                **measures(estimate, probabilities, truth),
                "counterpart": entry.counterpart,
            }
            for entry, estimate in zip(self.entries, estimates, strict=True)
        ]

    def estimates(self, sample_size: int) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Every sample's probability [C], grad J_N [P], and g_hat [C, P] of every estimator.

        Samples are in the order of `all_samples`.

        Raises:
          InputError: N < 1, or more samples than can be enumerated.
        """
        counts, log_ways = all_samples(self.problem, sample_size)
        parts = list(zip(chunks(counts), chunks(log_ways, -np.inf), strict=True))
        known = [self.values(part, ways) for (part, _), (ways, _) in parts]
        values, probabilities = (np.concatenate(x)[: len(counts)] for x in zip(*known, strict=True))
        mean_value = tf.constant(probabilities @ values)
        truth = np.zeros_like(self.problem.parameters)
        gradients = [[] for _ in self.entries]
        for (part, size), (ways, _) in parts:
            truth += self.estimand(part, ways).numpy()
            for collected, result in zip(gradients, self.gradients(part, mean_value), strict=True):
                collected.append(result.numpy()[:size])
        return probabilities, truth, [np.concatenate(collected) for collected in gradients]


def measures(
    estimates: np.ndarray, probabilities: np.ndarray, truth: np.ndarray
) -> dict[str, float]:
    """Bias, relative bias, variance and ||grad J_N||.

    Args:
      estimates: g_hat of every sample, [C, P].
      probabilities: of the samples, [C].
      truth: grad J_N, [P].
    """
    mean = probabilities @ estimates
    bias = np.linalg.norm(mean - truth)
    return {
        "bias": bias,
        "relative_bias": bias / np.linalg.norm(truth),
        "variance": probabilities @ np.square(estimates - mean).sum(axis=1),
        "gradient_norm": np.linalg.norm(truth),
    }


def all_samples(finite: FiniteProblem, sample_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts [C, S, M] of every possible sample, and the log of how many ways draw it, [C]."""
    one_step = compositions(sample_size, len(finite.rewards)).astype(np.float64)
    choices = np.indices([len(one_step)] * finite.inner_steps).reshape(finite.inner_steps, -1).T
    return one_step[choices], log_multinomial(one_step)[choices].sum(axis=1)


def chunks(x: np.ndarray, padding: float | None = None) -> Iterator[tuple[tf.Tensor, int]]:
    """`x` in chunks of one fixed length, the last one filled up, each with its number of real rows.

    Padding defaults to the first row, which is valid input whose result is dropped.
    """
    for start in range(0, len(x), CHUNK):
        part = x[start : start + CHUNK]
        missing = CHUNK - len(part)
        filling = (
            np.repeat(x[:1], missing, axis=0) if padding is None else np.full(missing, padding)
        )
        yield tf.constant(np.concatenate([part, filling])), len(part)


def samples(finite: FiniteProblem, sample_size: int) -> int:
    """How many distinct samples of N trajectories a step there are."""
    one_step = math.comb(sample_size + len(finite.rewards) - 1, len(finite.rewards) - 1)
    return one_step**finite.inner_steps


def require_enumerable(finite: FiniteProblem, sample_size: int) -> None:
    """Raises InputError for an N that cannot be enumerated."""
    number = samples(finite, sample_size)
    if number > MOST_ENUMERATED:
        raise InputError(
            f"sample size {sample_size} on {finite.name} has {number} distinct samples; at most "
            f"{MOST_ENUMERATED} can be enumerated, give a smaller one"
        )


def audit(settings: ExactSettings, output: Path) -> None:
    """Audits estimators on problems; writes a tidy parquet, a row a problem, estimator and N.

    Args:
      settings: problems, estimators, sample sizes.
      output: parquet file with `columns.EXACT`.

    Raises:
      InputError: an unknown name or an N that cannot be enumerated; nothing is written.
    """
    require_writable(output)
    problems = [problem(name) for name in settings.problem]
    entries = [estimator(name) for name in settings.estimators]
    units = [(finite, size) for finite in problems for size in sorted(settings.sample_sizes)]
    for finite, sample_size in units:
        require_enumerable(finite, sample_size)
    calls = [math.ceil(samples(finite, sample_size) / CHUNK) for finite, sample_size in units]
    progress = Progress("sample size", calls, shapes=range(len(units)))
    rows = []
    for finite, sample_size in units:
        rows += ExactAudit(finite, entries).run(sample_size)
        progress.advance(f"{finite.name}, N = {sample_size}")
    write_table(columns.EXACT, rows, output)
    print(text(pd.DataFrame(rows)))
