"""The limit audit: leading terms of bias and variance as N grows, exact and without enumeration.

On a finite problem g_hat is a smooth function of the sample's weights w (counts / N over the M
trajectories) and of h = 1 / N:

    g_hat(w, h) = g[-1](w) / h + g[0](w) + h g[1](w) + h^2 g[2](w) + ...

where only rows that multiply a whole value by the sum of scores have a g[-1]. With p = p_theta,
w = p + d has E d = 0, E d d^T = h Sigma, Sigma = diag(p) - p p^T = sum_n p_n x_n x_n^T for the M
directions x_n = e_n - p, and d is Gaussian in the limit. Second-order expansion around w = p (the
delta method), with D g, D^2 g the derivatives there and <D^2 g> = sum_n p_n D^2 g[x_n, x_n]:

    E g_hat = g[-1](p) / h + (g[0](p) + <D^2 g[-1]> / 2) + h (g[1](p) + <D^2 g[0]> / 2 + R) + ...

with R of third and fourth derivatives of g[-1], 0 where there is no g[-1]; and for the estimand,
J_N(theta) = E V(theta'(w)), V(theta'(w)) = F(theta, w),

    grad J_N = grad F(theta, p(theta)) + h grad <D^2 F>(theta) / 2 + ...

The bias is the first term of the difference that does not vanish. Where both do and g_hat is
leave_one_out's up to h^2 for all w near p, the next one is h^2 (g[2](p) - that of leave_one_out),
whose expectation is grad J_N. Of the variance, the first that does not vanish of

    N   sum_n p_n ||D g[-1][x_n]||^2                    unbiased: V(theta'(p))^2 tr F, F the Fisher
    1   sum_mn p_m p_n ||D^2 g[-1][x_m, x_n]||^2 / 2                       information of N = 1
    1/N sum_n p_n ||D g[0][x_n]||^2

With S inner steps, w_s = p_{theta_s} + d_s with independent d_s: S M directions, each of which
moves the later theta_s too.

Derivatives are spectral: the production estimators are evaluated at w = (1 - t) p + t e_n, whose
t-derivatives are those along x_n, for t and h at Chebyshev nodes around 0 (negative ones too), and
the interpolating polynomials are differentiated. The functions are analytic, with poles where a
softmax's denominator vanishes, at distances of pi in logits; nodes stay within RADIUS of it, so 8
of them leave a relative error of about 1e-10. Automatic differentiation, against which the tests
hold this, takes third and fourth derivatives of code that has two tapes of its own: ten times the
graph. Everything is float64.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from metarl.adaptation import adapt, trajectory_gradients
from metarl.audit.exact import ARRAYS, ExactAudit, shape_of
from metarl.audit.problems import FiniteProblem, problem
from metarl.audit.settings import LimitSettings
from metarl.audit.text import limits
from metarl.estimators import CATALOGUE, Estimator, compiled_estimator, meta_gradient
from metarl.outer_values import ClosedForm
from metarl.progress import Progress
from metarl.results import columns
from metarl.results.writer import write_table
from metarl.storage import require_writable
from metarl.trajectories import Trajectories

REFERENCE = CATALOGUE["leave_one_out"]
RADIUS = 0.1  # of logits, see the module
LARGEST_STEP = 0.125  # of t and h: a mean over steps has poles where its divisor vanishes
VANISHING = 1e-7  # below this fraction of ||grad J|| a coefficient is 0 but for rounding
CHUNK = 8  # directions of a call for second derivatives: bounds memory
NODES = np.cos(np.pi * (np.arange(8) + 0.5) / 8)  # Chebyshev's, none of them 0
INTERPOLATION = np.linalg.inv(np.vander(NODES, increasing=True))  # [coefficient, node]


def taylor(values: np.ndarray | tf.Tensor, step: float, order: int) -> np.ndarray | tf.Tensor:
    """A function's Taylor coefficient at 0 from its values [8, ...] at step * NODES: [...]."""
    return sum(w * x for w, x in zip(INTERPOLATION[order], values, strict=True)) / step**order


class Paths:
    """theta' and g_hat of a finite problem's mixtures w_s = (1 - sum a_s) p_{theta_s} + a_s.

    Args:
      finite: the problem; its arrays may be tensors.
    """

    def __init__(self, finite: FiniteProblem):
        self.problem, self.exact = finite, ExactAudit(finite, [])

    def adapted(
        self, parameters: tf.Tensor, mixtures: tf.Tensor, sample_size: tf.Tensor
    ) -> tuple[list[Trajectories], list[tf.Tensor], tf.Tensor]:
        """From theta [K, P] and a [K, S, M]: the S batches, the S p_{theta_s} [K, M] and theta'."""
        batches, chances = [], []
        for step in range(self.problem.inner_steps):
            mixture = mixtures[:, step]
            chances.append(tf.exp(self.exact.log_probabilities(parameters)))
            rest = 1.0 - tf.reduce_sum(mixture, axis=-1, keepdims=True)
            weights = rest * chances[-1] + mixture
            batches.append(self.exact.sampled(parameters, weights, sample_size))
            parameters = adapt(self.problem.policy, parameters, batches[-1], self.exact.settings)
        return batches, chances, parameters

    def estimates(
        self, entries: Sequence[Estimator], mixtures: tf.Tensor, sample_size: tf.Tensor
    ) -> tf.Tensor:
        """g_hat of every estimator from a [K, S, M]: [E, K, P].

        b of unbiased_baseline is V(theta'(p)).
        """
        parameters = self.copies(mixtures.shape[0])
        batches, *_ = self.adapted(parameters, mixtures, sample_size)
        *_, mean = self.adapted(parameters, tf.zeros_like(mixtures), sample_size)
        baseline = self.exact.totals(mean).reward
        outer = functools.partial(ClosedForm, self.exact.totals)
        policy, settings = self.problem.policy, self.exact.settings
        return tf.stack(
            [
                meta_gradient(policy, entry, parameters, batches, settings, outer, baseline)
                for entry in entries
            ]
        )

    def estimand(self, mixtures: tf.Tensor, step: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """grad F(theta, p), grad <D^2 F> / 2 and the chances p [S M] of all directions.

        Args:
          mixtures: NODES * step of every direction, [8 S M, S, M].
          step: of the nodes.
        """
        one = tf.constant(1.0, tf.float64)  # without estimates, N is not seen
        with tf.GradientTape(persistent=True) as tape:
            parameters = self.copies(mixtures.shape[0])
            tape.watch(parameters)
            *_, moved = self.adapted(parameters, mixtures, one)
            _, chances, mean = self.adapted(parameters[:1], tf.zeros_like(mixtures[:1]), one)
            chances = tf.concat(chances, axis=-1)[0]
            objective = self.exact.totals(mean).reward
            values = tf.reshape(self.exact.totals(moved).reward, [len(NODES), -1])
            correction = tf.reduce_sum(chances * taylor(tf.unstack(values), step, 2))
        gradients = (tape.gradient(x, parameters) for x in (objective, correction))
        return *(tf.reduce_sum(x, axis=0) for x in gradients), chances

    def curvatures(
        self,
        entries: Sequence[Estimator],
        mixtures: tf.Tensor,
        step: tf.Tensor,
        sample_size: tf.Tensor,
    ) -> tf.Tensor:
        """D^2 g_hat[x_n, x_m] of one estimator for C directions n: [1, C, P, S M].

        The derivative along x_n is spectral, those along all x_m automatic.

        Args:
          entries: the estimator, alone.
          mixtures: NODES * step of the directions, [8 C, S, M].
          step: of the nodes.
          sample_size: N.
        """
        size = self.problem.policy.parameter_size
        components = tf.tile(tf.eye(size, dtype=tf.float64), [mixtures.shape[0], 1])
        mixtures = tf.repeat(mixtures, size, axis=0)
        with tf.GradientTape() as tape:
            tape.watch(mixtures)
            total = tf.reduce_sum(components * self.estimates(entries, mixtures, sample_size)[0])
        slopes = tf.reshape(
            tape.gradient(total, mixtures), [len(NODES), -1, size, math.prod(mixtures.shape[1:])]
        )
        return taylor(tf.unstack(slopes), step, 1)[None]

    def copies(self, rows: int) -> tf.Tensor:
        """theta of every row, [K, P]."""
        return tf.tile(tf.convert_to_tensor(self.problem.parameters)[None], [rows, 1])

    def step(self) -> tf.Tensor:
        """The largest t and h of the nodes, []."""
        parameters = self.copies(1)
        chances = tf.exp(self.exact.log_probabilities(parameters))
        batch = self.exact.sampled(parameters, chances, tf.constant(1.0, tf.float64))
        gradients = trajectory_gradients(self.problem.policy, parameters, batch)
        longest = self.problem.inner_learning_rate * tf.reduce_max(tf.norm(gradients, axis=-1))
        return tf.minimum(tf.constant(LARGEST_STEP, tf.float64), RADIUS / longest)


@functools.cache
def compiled(method: str, entries: tuple[Estimator, ...], shape: FiniteProblem):
    """A method of `Paths` for given estimators, traced once for all problems of one shape."""

    def function(
        arrays: dict[str, tf.Tensor], *arguments: tf.Tensor
    ) -> tf.Tensor | tuple[tf.Tensor, ...]:
        bound = getattr(Paths(dataclasses.replace(shape, **arrays)), method)
        return bound(entries, *arguments) if entries else bound(*arguments)

    return tf.function(function, autograph=False)


class Limit:
    """The expansion of some estimators on one problem.

    Args:
      finite: the problem.
      entries: the estimators.
    """

    def __init__(self, finite: FiniteProblem, entries: Sequence[Estimator]):
        self.problem, self.entries = finite, tuple(entries)
        self._arrays = {name: tf.constant(getattr(finite, name)) for name in ARRAYS}
        self._shape = shape_of(finite)
        self.step = self._call("step", ()).numpy()
        size = finite.inner_steps * len(finite.rewards)
        self.directions = np.eye(size).reshape(size, finite.inner_steps, -1)
        estimand = self._call("estimand", (), self.nodes(self.directions), self.step)
        self.gradient, self.gradient_change, self.chances = (x.numpy() for x in estimand)
        self.gradient_norm = np.linalg.norm(self.gradient)

    def nodes(self, directions: np.ndarray) -> np.ndarray:
        """The mixtures NODES * step of directions [C, S, M]: [8 C, S, M]."""
        steps = self.step * NODES.reshape(-1, 1, 1, 1)
        return (steps * directions).reshape(-1, *directions.shape[1:])

    def rows(self) -> list[dict]:
        """A row of `columns.LIMIT` for every estimator."""
        mixtures = [np.zeros_like(self.directions[:1]), self.nodes(self.directions)]
        entries = tuple(dict.fromkeys((REFERENCE, *self.entries)))
        powers = self.powers("estimates", entries, np.concatenate(mixtures))
        of_entry = dict(zip(entries, powers, strict=True))
        rows = []
        for entry in self.entries:
            bias_order, bias = self.leading_bias(of_entry[entry], of_entry[REFERENCE])
            variance_order, variance = self.leading_variance(entry, of_entry[entry])
            rows.append(
                {
                    "problem": self.problem.name,
                    "estimator": entry.name,
                    "bias_order": bias_order,
                    "bias_coefficient": bias,
                    "bias_floor": bias if bias_order == 0 else 0.0,
                    "variance_order": variance_order,
                    "variance_coefficient": variance,
                    "gradient_norm": self.gradient_norm,
                }
            )
        return rows

    def powers(self, method: str, entries: tuple[Estimator, ...], *arguments) -> np.ndarray:
        """g[-1], g[0], g[1] and g[2] of what a method returns for the estimators: [E, 4, ...]."""
        values = [
            h * self._call(method, entries, *arguments, 1.0 / h).numpy() for h in self.step * NODES
        ]
        return np.stack([taylor(values, self.step, order) for order in range(4)], axis=1)

    def leading_bias(self, powers: np.ndarray, reference: np.ndarray) -> tuple[int, float]:
        """The order in N and the coefficient of the bias's first term that does not vanish.

        The last order that is known, and 0, where they all do.

        Args:
          powers: of the estimator, at p and at the nodes of all directions, [4, 1 + 8 S M, P].
          reference: those of leave_one_out.
        """
        at_mean = powers[:, 0]
        # <D^2 g> / 2, whose 1/2 is that of a second Taylor coefficient
        spread = np.einsum("n,knp->kp", self.chances, self._along(powers, order=2))
        terms = {1: at_mean[0], 0: at_mean[1] + spread[0] - self.gradient}
        if self.vanishes(powers[0]):
            terms[-1] = at_mean[2] + spread[1] - self.gradient_change
            if self.vanishes(powers[:3] - reference[:3]):
                terms[-2] = at_mean[3] - reference[3, 0]
        for order, term in terms.items():
            if not self.vanishes(term):
                return order, float(np.linalg.norm(term))
        return order, 0.0

    def leading_variance(self, entry: Estimator, powers: np.ndarray) -> tuple[int, float]:
        """The order in N and the coefficient of the variance's first term that does not vanish."""
        slopes = self._along(powers, order=1)
        first = np.einsum("n,knp->k", self.chances, slopes**2)
        if self.vanishes(powers[0]):
            return -1, float(first[1])
        if not self.vanishes(slopes[0]):
            return 1, float(first[0])
        second = 0.0
        for begin in range(0, len(self.directions), CHUNK):
            part = slice(begin, begin + CHUNK)
            mixtures = self.nodes(self.directions[part])
            (curvatures,) = self.powers("curvatures", (entry,), mixtures, self.step)
            second += np.einsum("n,m,npm->", self.chances[part], self.chances, curvatures[0] ** 2)
        return 0, 0.5 * float(second)

    def vanishes(self, x: np.ndarray) -> bool:
        """Whether it is 0 but for rounding."""
        return bool(np.abs(x).max() < VANISHING * self.gradient_norm)

    def _along(self, powers: np.ndarray, order: int) -> np.ndarray:
        """The Taylor coefficient along every direction: [4, S M, P]."""
        values = powers[:, 1:].reshape(4, len(NODES), len(self.directions), -1)
        return taylor(np.moveaxis(values, 1, 0), self.step, order)

    def _call(self, method: str, entries: tuple[Estimator, ...], *arguments):
        return compiled(method, entries, self._shape)(self._arrays, *map(tf.constant, arguments))


def audit(settings: LimitSettings, output: Path) -> None:
    """Writes the leading terms of estimators on finite problems, a row a problem and estimator.

    Args:
      settings: problems and estimators.
      output: parquet file with `columns.LIMIT`.

    Raises:
      InputError: an unknown name; nothing is written.
    """
    require_writable(output)
    problems = [problem(name) for name in settings.problem]
    entries = [compiled_estimator(name) for name in settings.estimators]
    costs = [len(finite.rewards) ** 2 for finite in problems]
    progress = Progress("problem", costs, shapes=[finite.name for finite in problems])
    rows = []
    for finite in problems:
        rows += Limit(finite, entries).rows()
        progress.advance(finite.name)
    write_table(columns.LIMIT, rows, output)
    print(limits(pd.DataFrame(rows)))
