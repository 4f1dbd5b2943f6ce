"""Plain SGD with the exact gradient norm along the way: how many iterations it takes, against N.

    theta_{k+1} = theta_k + a (g_hat(theta_k) - ridge theta_k)    ascends
    F(theta) = J_N(theta) - ridge ||theta||^2 / 2

Every iteration draws N fresh pre-update trajectories, adapts, and estimates g_hat with the
production code. The outer batch is enumerated under theta', as in the exact audit: the claim is
about the inner sampling, and outer sampling would add the same noise to every estimator. At
iterations spaced evenly in log k, ||grad F||^2 is exact: automatic differentiation of sum_c
p_theta(c) V(theta'(theta, c)) over all compositions c of N.

Problems, theta_0 and eta are those of the exact audit. The ridge is ours: a softmax is flat at
infinity in every direction, good or bad, and scores vanish there together with the gradient.
Without it one large noisy step lands there and stays, and the noisiest estimate "converges" first.
With it, far away the gradient is large.

Step sizes: for every estimator, N and epsilon the one of the declared grid that reaches epsilon
first on seeds of their own, so that what is reported, on other seeds, is not optimistic. All
estimators and step sizes see the same draws.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from metarl.adaptation import adapt, trajectory_gradients
from metarl.audit.exact import ExactAudit, compositions, log_multinomial, samples
from metarl.audit.memory import require_convergence
from metarl.audit.problems import FiniteProblem, problem
from metarl.audit.settings import MOST_ALONG, ConvergenceSettings
from metarl.errors import InputError
from metarl.estimators import Estimator, compiled_estimator, meta_gradient
from metarl.outer_values import ClosedForm
from metarl.progress import Progress
from metarl.randomness import generator
from metarl.results import columns
from metarl.results.iterations import iterations_to
from metarl.results.writer import write_table
from metarl.storage import require_writable

PER_OCTAVE = 4  # evaluated iterations in each doubling: k is known to a factor of 1.19
CHUNK = 64  # iterations a compiled call
ROWS = 8192  # parameters x compositions of an exact gradient: bounds memory, and is one compilation
NO_DRAW = 2.0  # a uniform number that no trajectory takes: fills up draws to one static shape


def evaluated_iterations(iterations: int) -> np.ndarray:
    """0, and PER_OCTAVE iterations in every doubling up to `iterations`, the last one: [I]."""
    powers = np.arange(np.log2(iterations) * PER_OCTAVE + 1e-9) / PER_OCTAVE
    return np.unique([0, *np.round(2.0**powers).astype(int), iterations])


class Experiment:
    """The compiled functions of one problem; the estimators' K axis holds R runs side by side.

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
        """g_hat [K, P] of samples with counts [K, M] at parameters [K, P].

        V is enumerated. b of unbiased_baseline is V after the expected inner update,
        theta + eta E[f], which no sample enters.
        """
        policy, settings, exact = self.problem.policy, self.exact.settings, self.exact
        chances = tf.exp(exact.log_probabilities(parameters))
        batch = exact.batch(parameters, counts / sample_size, sample_size)
        expected = adapt(policy, parameters, batch._replace(weights=chances), settings)
        return meta_gradient(
            policy,
            entry,
            parameters,
            [batch],
            settings,
            partial(ClosedForm, exact.totals),
            value_baseline=exact.totals(expected).reward,
        )

    def counts(
        self, parameters: tf.Tensor, uniforms: tf.Tensor, sample_size: tf.Tensor
    ) -> tf.Tensor:
        """How often each trajectory is drawn, by inversion of uniforms [K, largest]: [K, M]."""
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
        """At most CHUNK steps of SGD from theta [R, P], on uniforms [CHUNK, R, largest]: [R, P]."""

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
        """Parts of grad J_N: of a sample with counts [ROWS, M], a row of parameters [ROWS, P]."""
        sample_size = tf.reduce_sum(counts[0])
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            log_chances = self.exact.log_probabilities(parameters)
            batch = self.exact.batch(parameters, tf.exp(log_chances), sample_size)
            shares = trajectory_gradients(self.problem.policy, parameters, batch)
            update = tf.reduce_sum(counts[..., None] * shares, axis=1) / sample_size
            adapted = parameters + self.exact.settings.learning_rate * update
            log_weights = tf.reduce_sum(counts * log_chances, axis=-1) + log_ways
            expected = tf.exp(log_weights) * self.exact.totals(adapted).reward
        return tape.gradient(expected, parameters)

    def gradients(self, parameters: np.ndarray, sample_size: int) -> np.ndarray:
        """grad F [R, P] at parameters [R, P], exact."""
        counts = compositions(sample_size, len(self.problem.rewards)).astype(np.float64)
        ways = log_multinomial(counts)
        runs, drawn = np.divmod(np.arange(len(parameters) * len(counts)), len(counts))
        gradients = np.zeros_like(parameters)
        for begin in range(0, len(runs), ROWS):
            index = np.arange(begin, begin + ROWS)
            real = index < len(runs)
            index = np.minimum(index, len(runs) - 1)
            run, sample = runs[index], drawn[index]
            rows = (parameters[run], counts[sample], ways[sample])
            parts = self.partial_gradients(*map(tf.constant, rows)).numpy()
            np.add.at(gradients, run[real], parts[real])
        return gradients - self.ridge * parameters

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
          ||grad F||^2 at the evaluated iterations, [A, S, I]; inf where a run has left the finite
          numbers.
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
    """The index of the step size whose mean curve reaches `level` first; of equals, the smallest.

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


def tuned_curves(
    experiment: Experiment, entry: Estimator, sample_size: int, settings: ConvergenceSettings
) -> list[tuple[float, float, np.ndarray]]:
    """The reported runs of one estimator and N.

    Returns:
      for every epsilon: epsilon, the step size chosen for it, and ||grad F||^2 [S, I].
    """
    evaluated = evaluated_iterations(settings.iterations)
    step_sizes = np.array(settings.step_sizes, float)

    def ascend(purpose: str, step_sizes: np.ndarray) -> np.ndarray:
        keys = ("convergence", purpose, experiment.problem.name, sample_size)
        streams = [generator(settings.seed, *keys, run) for run in range(settings.seeds)]
        return experiment.ascend(entry, sample_size, step_sizes, evaluated, streams)

    grid = ascend("selection", step_sizes)
    chosen = [
        choose_step_size(grid, step_sizes, evaluated, epsilon * grid[0, 0, 0])
        for epsilon in settings.epsilons
    ]
    needed = sorted(set(chosen))
    curves = ascend("report", step_sizes[needed])
    return [
        (epsilon, step_sizes[index], curves[needed.index(index)])
        for epsilon, index in zip(settings.epsilons, chosen, strict=True)
    ]


def converge(settings: ConvergenceSettings, output: Path) -> None:
    """Runs the experiment on one problem and writes a tidy parquet.

    Args:
      settings: problem, estimators, sample sizes, step sizes, levels, seeds, iterations, ridge.
      output: parquet file of `columns.CONVERGENCE`.

    Raises:
      InputError: an unknown name, or a problem or N that cannot be run; nothing is written.
    """
    require_writable(output)
    require_convergence(settings)
    finite = problem(settings.problem)
    entries = [compiled_estimator(name) for name in settings.estimators]
    sizes = sorted(settings.sample_sizes)
    require_experiment(finite, sizes)
    experiment = Experiment(finite, entries, max(sizes), settings.ridge)
    evaluated = evaluated_iterations(settings.iterations)
    seeds, iterations = np.meshgrid(np.arange(settings.seeds), evaluated, indexing="ij")
    costs = [samples(finite, size) + 50 for size in sizes for _ in entries]
    progress = Progress("curve", costs, shapes=[entry.name for _ in sizes for entry in entries])
    frames = []
    for size in sizes:
        audited = {row["estimator"]: row for row in experiment.exact.run(size)}
        for entry in entries:
            for epsilon, step_size, norms in tuned_curves(experiment, entry, size, settings):
                curve = {
                    "problem": finite.name,
                    "estimator": entry.name,
                    "sample_size": size,
                    "epsilon": epsilon,
                    "seed": seeds.ravel(),
                    "iteration": iterations.ravel(),
                    "step_size": step_size,
                    "squared_gradient_norm": norms.ravel(),
                    "variance": audited[entry.name]["variance"],
                    "squared_bias": audited[entry.name]["bias"] ** 2,
                }
                frames.append(pd.DataFrame(curve))
            progress.advance(f"{finite.name}, {entry.name}, N = {size}")
    write_table(columns.CONVERGENCE, pd.concat(frames, ignore_index=True), output)


def require_experiment(finite: FiniteProblem, sample_sizes: Sequence[int]) -> None:
    """Raises InputError for a problem or an N that cannot be run."""
    if finite.inner_steps != 1 or finite.averaging != "trajectories":
        raise InputError(
            f"{finite.name} has several inner steps or a mean over steps; "
            "choose bandit, chain or windy"
        )
    for size in sample_sizes:
        number = samples(finite, size)
        if number > MOST_ALONG:
            raise InputError(
                f"sample size {size} on {finite.name} has {number} distinct samples; at most "
                f"{MOST_ALONG} can be evaluated along the way, give a smaller one"
            )
