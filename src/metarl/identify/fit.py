"""How near a gradient is to references, and numbers that bring a reference nearest to it."""

import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from metarl.estimators import Estimator
from metarl.identify.bundle import Bundle
from metarl.identify.references import gradients_of_all


def relative_difference(gradient: np.ndarray, reference: np.ndarray) -> float:
    """max |g - reference| / max |reference|; infinite for a zero or infinite one."""
    scale = np.abs(reference).max()
    if not np.isfinite(scale) or scale == 0:
        return math.inf
    return float(np.abs(gradient - reference).max() / scale)


def best_scale(gradient: np.ndarray, reference: np.ndarray) -> float:
    """The number s with the least |g - s reference|."""
    largest = float(np.abs(reference).max())
    if not 0 < largest < math.inf:
        return 0.0
    unit = reference / largest  # whose square does not overflow
    return float(gradient @ unit) / float(unit @ unit) / largest


def residual(gradient: np.ndarray, reference: np.ndarray) -> float:
    """|g - s reference| / |g| at the best s: the sine of their angle, 1 where one is zero."""
    length = float(np.linalg.norm(gradient))
    if length == 0:
        return 1.0
    remains = gradient - best_scale(gradient, reference) * np.nan_to_num(reference)
    return min(1.0, float(np.linalg.norm(remains)) / length)


def cosine(gradient: np.ndarray, reference: np.ndarray) -> float:
    """Of the angle between them; 0 where one is zero."""
    largest = float(np.abs(reference).max())
    if not 0 < largest < math.inf or not gradient.any():
        return 0.0
    unit = reference / largest
    return float(gradient @ unit) / float(np.linalg.norm(gradient) * np.linalg.norm(unit))


def is_one(scale: float, tolerance: float) -> bool:
    """Whether a factor is 1 as far as a gradient with relative errors of `tolerance` can tell."""
    return abs(scale - 1.0) <= 10 * tolerance


MOST_STEPS = 12
"""Of Gauss and Newton's method; from a start nearby five bring it to rounding."""

PATIENCE = 3
"""Steps that may pass without one that is nearer by a hundredth; then no later one will be."""


def fit_numbers(
    bundle_at: Callable[[np.ndarray], Bundle],
    entry: Estimator,
    start: Sequence[float],
    any_scale: bool,
    deadline: float = math.inf,
) -> np.ndarray:
    """Numbers x [M] that bring the entry's gradient on `bundle_at(x)` nearest to the bundle's.

    Gauss and Newton's method on the gradient's P numbers.

    Args:
      bundle_at: bundles that differ in their numbers alone.
      entry: an estimator.
      start: x to start from.
      any_scale: whether the gradient may be any multiple of the reference.
      deadline: of `time.monotonic`, after which x stays where it is.
    """
    x, offset, misfits = np.asarray(start, float), 1e-6, []
    for _ in range(MOST_STEPS):
        if time.monotonic() > deadline:
            break
        bundles = [bundle_at(x), *(bundle_at(x + offset * axis) for axis in np.eye(len(x)))]
        (references,) = gradients_of_all(bundles, [entry]).values()
        if not np.isfinite(references).all():
            break
        goal = bundles[0].gradient
        scales = [best_scale(goal, row) if any_scale else 1.0 for row in references]
        rows = goal - np.array(scales)[:, None] * references
        misfits.append(np.linalg.norm(rows[0]))
        if min(misfits[-PATIENCE:]) > 0.99 * min(misfits[:-PATIENCE], default=math.inf):
            break
        slopes = (rows[1:] - rows[0]).T / offset
        move = -np.linalg.lstsq(slopes, rows[0], rcond=None)[0]
        length = np.linalg.norm(move)
        x = x + move / max(1.0, length)  # at most 1: far away the slopes mislead
        if length < 1e-12:
            break
    return x
