"""Iterations of SGD until a squared gradient norm is at most epsilon: measured, and predicted.

Imports no TensorFlow: the experiment, its figure and the claims share it.
"""

import math

import numpy as np

from metarl.results.statistics import RESAMPLES, seed_counts


def iterations_to(iterations: np.ndarray, norms: np.ndarray, epsilon: float) -> np.ndarray:
    """The first of `iterations` at which a curve of squared gradient norms is at most `epsilon`.

    Args:
      iterations: [I], ascending.
      norms: [..., I], such as the mean over seeds.
      epsilon: the level.

    Returns:
      [...], inf where no iteration reaches it.
    """
    below = np.asarray(norms) <= epsilon
    first = np.asarray(iterations, float)[below.argmax(axis=-1)]
    return np.where(below.any(axis=-1), first, np.inf)


def mean_iterations_to(
    iterations: np.ndarray, norms: np.ndarray, epsilon: float, confidence: float
) -> tuple[float, float, float]:
    """The first iteration at which the mean over seeds is at most `epsilon`, and its interval.

    The interval is the percentile bootstrap over seeds. Its ends are order statistics, not
    interpolated, so that a resample that never gets there counts as later than all others.

    Args:
      iterations: [I], ascending.
      norms: [seeds, I], squared gradient norms.
      epsilon: the level.
      confidence: probability content.

    Returns:
      the iteration and the ends of its interval; inf for never.
    """
    needed = resampled_iterations_to(iterations, norms, epsilon)
    ordered = np.sort(needed[1:])
    outside = int((1 - confidence) / 2 * RESAMPLES)
    return float(needed[0]), float(ordered[outside]), float(ordered[-1 - outside])


def resampled_iterations_to(
    iterations: np.ndarray, norms: np.ndarray, epsilon: float
) -> np.ndarray:
    """The first iteration at which the mean over seeds, then over resamples of them, is there.

    Args:
      iterations, norms, epsilon: see `mean_iterations_to`.

    Returns:
      [1 + RESAMPLES], inf for never.
    """
    norms = np.asarray(norms, float)
    means = seed_counts(len(norms)) @ norms / len(norms)
    return iterations_to(iterations, means, epsilon)


def predicted_iterations(
    epsilon: float, gap: float, smoothness: float, variance: float, squared_bias: float
) -> float:
    """The least k for which the bound on SGD with a biased estimate guarantees epsilon.

    For an L-smooth J, a step size a <= 1/L, variance s^2 and squared bias b^2 (Ghadimi and Lan
    2013, theorem 2.1; Ajalloeian and Stich 2020, theorem 4 with their m = M = 0),

        mean_{j<k} E ||grad J(theta_j)||^2 <= 2 (max J - J(theta_0)) / (a k) + a L s^2 + b^2.

    The a that needs the least k is min(1/L, (epsilon - b^2) / (2 L s^2)): k grows as s^2 where the
    variance rules, and is about 2 L gap / (epsilon - b^2) where it is small.

    Args:
      epsilon: the level.
      gap: max J - J(theta_0).
      smoothness: L.
      variance: s^2, the estimate's E || g_hat - E g_hat ||^2.
      squared_bias: b^2.

    Returns:
      k; inf where the bias alone exceeds epsilon.
    """
    room = epsilon - squared_bias
    if room <= 0:
        return math.inf
    step_size = min(1.0, room / (2.0 * variance) if variance > 0 else math.inf) / smoothness
    return 2.0 * gap / (step_size * (room - step_size * smoothness * variance))
