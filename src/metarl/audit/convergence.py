"""Plain SGD with the exact gradient norm along the way: how many iterations an estimator needs, against N.

    theta_{k+1} = theta_k + a (g_hat(theta_k) - ridge theta_k),      F(theta) = J_N(theta) - ridge ||theta||^2 / 2

Every iteration draws N fresh pre-update trajectories, adapts, and estimates g_hat with the production code. The outer batch
is enumerated under theta', as in the exact audit: the claim is about the inner sampling, and outer sampling would add the
same noise to every estimator. At iterations spaced evenly in log k, ||grad F||^2 is exact: automatic
differentiation of sum_c p_theta(c) V(theta'(theta, c)) over all compositions c of N.

Problems, theta_0 and eta are those of the exact audit. The ridge is ours: a softmax is flat at infinity in every
direction, good or bad, and scores vanish there together with the gradient. Without it one large noisy step lands there
and stays, and the noisiest estimate "converges" first. With it, far away the gradient is large.

Step sizes: for every estimator, N and epsilon the one of the declared grid that reaches epsilon first on seeds of their
own, so that what is reported, on other seeds, is not optimistic. All estimators and step sizes see the same draws.
"""

import itertools
import math
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf

from metarl.adaptation import adapt, trajectory_gradients
from metarl.audit.exact import ExactAudit, compositions, log_multinomial, samples
from metarl.audit.iterations import iterations_to
from metarl.audit.problems import FiniteProblem, problem
from metarl.errors import InputError
from metarl.estimators import Estimator, estimator, meta_gradient
from metarl.estimators.algebra import inner_chain
from metarl.objectives import clipped_gradient
from metarl.randomness import generator
from metarl.settings import require, require_list
from metarl.storage import require_writable, write_parquet

PER_OCTAVE = 4  # evaluated iterations in each doubling: k is known to a factor of 1.19
CHUNK = 64  # iterations a compiled call
ROWS = 8192  # parameters x compositions of an exact gradient: bounds memory, and is one compilation
MOST_COMPOSITIONS = 20_000  # each is evaluated for every run at every evaluated iteration
NO_DRAW = 2.0  # a uniform number that no trajectory takes: fills up draws to one static shape
MINIMUM_SEEDS = 3
COLUMNS = (
    "problem",
    "estimator",
    "sample_size",
    "epsilon",
    "seed",
    "iteration",
    "step_size",
    "squared_gradient_norm",
    "variance",
    "squared_bias",
)


class Settings(NamedTuple):
    """What the experiment depends on, but for problem, estimators and N.

    Attributes:
      step_sizes: the grid from which each estimator, N and epsilon gets its own.
      epsilons: levels, as fractions of ||grad F(theta_0)||^2.
      seeds: reported runs; as many others choose the step sizes.
      iterations: of every run.
      ridge: see the module.
      seed: of all random streams.
    """

    step_sizes: tuple[float, ...]
    epsilons: tuple[float, ...]
    seeds: int
    iterations: int
    ridge: float
    seed: int


def evaluated_iterations(iterations: int) -> np.ndarray:
    """0, and PER_OCTAVE iterations in every doubling up to `iterations`, which is the last one: [I]."""
    powers = np.arange(np.log2(iterations) * PER_OCTAVE + 1e-9) / PER_OCTAVE
    return np.unique([0, *np.round(2.0**powers).astype(int), iterations])


class Experiment:
    """The compiled functions of one problem; the K axis of the estimators holds R runs side by side.

    Args:
      finite: the problem.
      entries: the estimators.
      largest: the largest N; smaller samples are filled up with `NO_DRAW`.
      ridge: see the module.
    """

    def __init__(
        self, finite: FiniteProblem, entries: Sequence[Estimator], largest: int, ridge: float
    ):
        self.problem, self.largest, self.ridge = finite, largest, ridge
        self.exact = ExactAudit(finite, entries)

        def compiled(function: Callable, *given: Estimator) -> Callable[..., tf.Tensor]:
            return tf.function(partial(function, *given), jit_compile=True, autograph=False)

        self.partial_gradients = compiled(self._partial_gradients)
        self.advances = {entry.name: compiled(self._advance, entry) for entry in entries}

    def estimate(
        self, entry: Estimator, parameters: tf.Tensor, counts: tf.Tensor, sample_size: tf.Tensor
    ) -> tf.Tensor:
        """g_hat [K, P] of samples with these counts [K, M] at parameters [K, P], with an enumerated outer batch.

        b of unbiased_baseline is V after the expected inner update, theta + eta E[f], which no sample enters.
        """
        policy, settings, exact = self.problem.policy, self.exact.settings, self.exact
        chances = tf.exp(exact.log_probabilities(parameters))
        batch = exact.batch(parameters, counts / sample_size, sample_size)
        expected = adapt(policy, parameters, batch._replace(weights=chances), settings)
        (_, adapted), _ = inner_chain(policy, entry, parameters, [batch], settings)
        outer = exact.batch(adapted, tf.exp(exact.log_probabilities(adapted)), sample_size)
        return meta_gradient(
            policy, entry, parameters, [batch, outer], settings,
            lambda after, data: clipped_gradient(policy, after, data, "trajectories", None),
            value_baseline=exact.true_values(expected),
        )  # fmt: skip

    def counts(
        self, parameters: tf.Tensor, uniforms: tf.Tensor, sample_size: tf.Tensor
    ) -> tf.Tensor:
        """How often each trajectory is drawn from p_theta, by inversion of uniforms [K, largest]: [K, M]."""
        edges = tf.cumsum(tf.exp(self.exact.log_probabilities(parameters)), axis=-1)[:, :-1]
        below = tf.reduce_sum(tf.cast(uniforms[:, None] < edges[..., None], tf.float64), axis=-1)
        none = tf.zeros_like(below[:, :1])
        return tf.experimental.numpy.diff(
            tf.concat([none, below, none + sample_size], axis=-1), axis=-1
        )

    def _advance(
        self,
        entry: Estimator,
        parameters: tf.Tensor,
        step_sizes: tf.Tensor,
        sample_size: tf.Tensor,
        uniforms: tf.Tensor,
        iterations: tf.Tensor,
    ) -> tf.Tensor:
        """Iterations [] <= CHUNK of SGD from theta [R, P], on uniforms [CHUNK, R, largest]: [R, P]."""

        def body(index: tf.Tensor, parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            counts = self.counts(parameters, uniforms[index], sample_size)
            estimates = self.estimate(entry, parameters, counts, sample_size)
            ascent = estimates - self.ridge * parameters
            return index + 1, parameters + step_sizes[:, None] * ascent

        state = (tf.constant(0), parameters)
        return tf.while_loop(lambda index, _: index < iterations, body, state)[1]

    def _partial_gradients(
        self, parameters: tf.Tensor, counts: tf.Tensor, log_ways: tf.Tensor
    ) -> tf.Tensor:
        """These samples' part of grad J_N: a row of counts [ROWS, M] for each row of parameters [ROWS, P], [ROWS, P]."""
        sample_size = tf.reduce_sum(counts[0])
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            log_chances = self.exact.log_probabilities(parameters)
            batch = self.exact.batch(parameters, tf.exp(log_chances), sample_size)
            shares = trajectory_gradients(self.problem.policy, parameters, batch)
            update = tf.reduce_sum(counts[..., None] * shares, axis=1) / sample_size
            adapted = parameters + self.exact.settings.learning_rate * update
            log_weights = tf.reduce_sum(counts * log_chances, axis=-1) + log_ways
            expected = tf.exp(log_weights) * self.exact.true_values(adapted)
        return tape.gradient(expected, parameters)

    def gradients(self, parameters: np.ndarray, sample_size: int) -> np.ndarray:
        """grad F [R, P] at parameters [R, P], exact."""
        counts = compositions(sample_size, len(self.problem.rewards)).astype(np.float64)
        ways = log_multinomial(counts)
        runs, drawn = np.divmod(np.arange(len(parameters) * len(counts)), len(counts))
        found = np.zeros_like(parameters)
        for begin in range(0, len(runs), ROWS):
            index = np.arange(begin, begin + ROWS)
            real = index < len(runs)
            index = np.minimum(index, len(runs) - 1)
            parts = self.partial_gradients(
                *(tf.constant(x) for x in (parameters[runs[index]], counts[drawn[index]], ways[drawn[index]]))
            ).numpy()  # fmt: skip
            np.add.at(found, runs[index[real]], parts[real])
        return found - self.ridge * parameters

    def ascend(
        self,
        entry: Estimator,
        sample_size: int,
        step_sizes: np.ndarray,
        evaluated: np.ndarray,
        draws: Sequence[np.random.Generator],
    ) -> np.ndarray:
        """SGD from theta_0 with every step size on every random stream.

        Args:
          entry: the estimator.
          sample_size: N.
          step_sizes: a [A].
          evaluated: iterations [I], ascending from 0; the last one ends the run.
          draws: random streams of the runs, [S]; every step size sees the same draws.

        Returns:
          ||grad F||^2 at the evaluated iterations, [A, S, I]; inf where a run has left the finite numbers.
        """
        grid, streams = len(step_sizes), len(draws)
        parameters = np.repeat(self.problem.parameters[None], grid * streams, axis=0)
        repeated = tf.constant(np.repeat(step_sizes, streams))
        norms = []
        for begin, end in itertools.pairwise([0, *evaluated]):
            for done in range(begin, end, CHUNK):
                steps = min(CHUNK, end - done)
                uniforms = np.full([CHUNK, streams, self.largest], NO_DRAW)
                for run, draw in enumerate(draws):
                    uniforms[:steps, run, :sample_size] = draw.random([steps, sample_size])
                parameters = self.advances[entry.name](
                    tf.constant(parameters),
                    repeated,
                    tf.constant(sample_size, tf.float64),
                    tf.constant(np.tile(uniforms, [1, grid, 1])),
                    tf.constant(steps, tf.int32),
                ).numpy()
            squares = np.square(self.gradients(parameters, sample_size)).sum(axis=1)
            norms.append(np.where(np.isfinite(squares), squares, np.inf))
        return np.stack(norms, axis=-1).reshape(grid, streams, -1)


def choose_step_size(
    curves: np.ndarray, step_sizes: np.ndarray, evaluated: np.ndarray, level: float
) -> int:
    """The index of the step size whose mean curve reaches `level` first; of equals, the smallest one.

    Where none reaches it: the one whose mean curve comes closest.

    Args:
      curves: ||grad F||^2 of every step size and selection seed, [A, S, I].
      step_sizes: [A].
      evaluated: iterations [I].
      level: of ||grad F||^2.
    """
    means = curves.mean(axis=1)
    first = iterations_to(evaluated, means, level)
    closest = np.where(np.isinf(first), means.min(axis=-1), 0.0)
    return int(np.lexsort([step_sizes, closest, first])[0])


def converge(
    name: str,
    estimators: Sequence[str],
    sample_sizes: Sequence[int],
    settings: Settings,
    output: Path,
) -> None:
    """Runs the experiment on one problem and writes a tidy parquet.

    Args:
      name: of the problem.
      estimators: names of the catalogue.
      sample_sizes: the N.
      settings: step sizes, levels, seeds, iterations, ridge.
      output: parquet file with COLUMNS. seed: of a reported run; step_size: chosen for this estimator, N and epsilon;
        squared_gradient_norm: ||grad F||^2. variance, squared_bias: of the estimator at theta_0, exact, the same in
        all rows of an estimator and N, for `metarl.audit.iterations.predicted_iterations`.

    Raises:
      InputError: an unknown name or a number outside its range; nothing is written.
    """
    require_writable(output)
    finite = problem(name)
    entries = [estimator(given) for given in estimators]
    require_experiment(finite, estimators, sample_sizes, settings)
    experiment = Experiment(finite, entries, max(sample_sizes), settings.ridge)
    evaluated = evaluated_iterations(settings.iterations)
    step_sizes = np.array(settings.step_sizes, float)
    units = [(size, entry) for size in sorted(sample_sizes) for entry in entries]
    frames, started, cost = [], time.monotonic(), [samples(finite, size) + 50 for size, _ in units]
    for done, (size, entry) in enumerate(units, start=1):

        def streams(purpose: str, size: int = size) -> list[np.random.Generator]:
            keys = ("convergence", purpose, name, size)
            return [generator(settings.seed, *keys, run) for run in range(settings.seeds)]

        grid = experiment.ascend(entry, size, step_sizes, evaluated, streams("selection"))
        chosen = {
            epsilon: choose_step_size(grid, step_sizes, evaluated, epsilon * grid[0, 0, 0])
            for epsilon in settings.epsilons
        }
        needed = sorted(set(chosen.values()))
        curves = experiment.ascend(entry, size, step_sizes[needed], evaluated, streams("report"))
        if entry is entries[0]:
            measured = {row["estimator"]: row for row in experiment.exact.run(size)}
        for epsilon, index in chosen.items():
            norms = curves[needed.index(index)]
            seeds, iterations = (
                x.ravel() for x in np.meshgrid(np.arange(settings.seeds), evaluated, indexing="ij")
            )
            frames.append(
                pd.DataFrame(
                    {
                        "problem": name,
                        "estimator": entry.name,
                        "sample_size": size,
                        "epsilon": epsilon,
                        "seed": seeds,
                        "iteration": iterations,
                        "step_size": step_sizes[index],
                        "squared_gradient_norm": norms.ravel(),
                        "variance": measured[entry.name]["variance"],
                        "squared_bias": measured[entry.name]["bias"] ** 2,
                    }
                )
            )
        pace = (time.monotonic() - started) / sum(cost[:done])
        print(
            f"{name}: {entry.name}, N = {size}, {done}/{len(units)}, ETA {pace * sum(cost[done:]):.0f} s",
            file=sys.stderr,
            flush=True,
        )  # fmt: skip
    write_parquet(pd.concat(frames, ignore_index=True)[list(COLUMNS)], output)


def require_experiment(
    finite: FiniteProblem,
    estimators: Sequence[str],
    sample_sizes: Sequence[int],
    settings: Settings,
) -> None:
    """Raises InputError for what cannot be run."""
    require_list("estimator", estimators)
    require_list("sample size", sample_sizes, least=1)
    require_list("step size", settings.step_sizes)
    require_list("epsilon", settings.epsilons)
    for given, values in (("step size", settings.step_sizes), ("epsilon", settings.epsilons)):
        for value in values:
            require(0 < value < math.inf, given, value, "a positive number")
    require(
        settings.seeds >= MINIMUM_SEEDS, "seeds", settings.seeds, f"an integer >= {MINIMUM_SEEDS}"
    )
    require(settings.iterations >= 1, "iterations", settings.iterations, "an integer >= 1")
    require(0 <= settings.ridge < math.inf, "ridge", settings.ridge, "a number >= 0")
    require(0 <= settings.seed < 2**63, "seed", settings.seed, "an integer >= 0 and < 2^63")
    if finite.inner_steps != 1 or finite.averaging != "trajectories":
        raise InputError(
            f"{finite.name} has several inner steps or a mean over steps; choose bandit, chain or windy"
        )
    for size in sample_sizes:
        if samples(finite, size) > MOST_COMPOSITIONS:
            raise InputError(
                f"sample size {size} on {finite.name} has {samples(finite, size)} distinct samples; at most "
                f"{MOST_COMPOSITIONS} can be evaluated along the way, give a smaller one"
            )
