"""TRPO: the natural gradient by conjugate gradient, and a backtracking line search.

Schulman et al. 2015, "Trust region policy optimization".
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from metarl.optimizers.measures import OuterMeasures, standard_error
from metarl.settings import TrainingSettings
from metarl.trajectories import Trajectories


def start(parameters: tf.Tensor, settings: TrainingSettings) -> tuple[()]:
    """TRPO remembers nothing."""
    return ()


def update(
    objective, parameters: tf.Tensor, memory: tuple[()], shards: Sequence[list[Trajectories]]
) -> tuple[tf.Tensor, tuple[()], OuterMeasures]:
    """One iteration's step; arguments as in `metarl.optimizers.adam.update`."""
    gradient = objective.gradient(parameters, shards)
    step = natural_step(
        parameters.numpy(),
        gradient.mean.numpy(),
        product=objective.fisher_product(parameters, shards),
        measure=lambda theta: objective.improvement_and_kl(theta, shards),
        trust_region=objective.settings.trust_region,
    )
    error = standard_error(*gradient, objective.settings.tasks)
    measures = OuterMeasures([tf.norm(gradient.mean)], error, step.kl, float(step.accepted))
    return tf.constant(step.parameters), memory, measures


class TrustRegionStep(NamedTuple):
    """What came of a TRPO step.

    Attributes:
      parameters: theta after it, [P]; as before where nothing was accepted.
      accepted: whether the line search found a step that raises the surrogate within the trust
        region.
      kl: mean KL of the parameters returned.
    """

    parameters: np.ndarray
    accepted: bool
    kl: float


def natural_step(
    parameters: np.ndarray,
    gradient: np.ndarray,
    product: Callable[[np.ndarray], np.ndarray],
    measure: Callable[[np.ndarray], tuple[float, float]],
    trust_region: float,
) -> TrustRegionStep:
    """One step of TRPO (its appendix C): natural gradient, then a backtracking line search.

    The constants are those of jonasrothfuss/ProMP optimizers/conjugate_gradient_optimizer.py, with
    damping as in tristandeleu/pytorch-maml-rl. The rejection of every trial is reported, not
    silent. In NumPy: what takes time is in `product` and `measure`.

    Args:
      parameters: theta [P].
      gradient: the meta-gradient [P], an ascent direction.
      product: x -> F x, the Hessian of the mean KL at theta.
      measure: theta -> improvement of the surrogate and mean KL, both 0 at the theta that acted.
      trust_region: delta, the largest mean KL.
    """
    iterations, damping, trials, shrinkage = 10, 1e-5, 15, 0.8
    direction, residual = conjugate_gradient(
        lambda x: product(x) + damping * x, gradient, iterations
    )
    # x^T F x without another product: F x = gradient - residual - damping x
    curvature = direction @ (gradient - residual - damping * direction)
    with np.errstate(invalid="ignore"):
        # NaN where the curvature is negative, which the line search rejects
        longest = direction * np.sqrt(2.0 * trust_region / (curvature + 1e-8))
    for number in range(trials):
        moved = parameters + shrinkage**number * longest
        improvement, kl = measure(moved)
        if improvement > 0.0 and kl <= trust_region:  # false for a NaN
            return TrustRegionStep(moved, True, kl)
    return TrustRegionStep(parameters, False, 0.0)


def conjugate_gradient(
    product: Callable[[np.ndarray], np.ndarray], target: np.ndarray, iterations: int
) -> tuple[np.ndarray, np.ndarray]:
    """x with A x = target, A symmetric positive definite, by conjugate gradient.

    Args:
      product: x -> A x.
      target: [P].
      iterations: 10 in published TRPO code; fewer where the residual vanishes.

    Returns:
      x [P] and the residual, target - A x [P].
    """
    solution, residual, direction = np.zeros_like(target), target, target
    squared = target @ target
    for _ in range(iterations):
        if not squared > 1e-10:
            break
        image = product(direction)
        length = squared / (direction @ image)
        solution = solution + length * direction
        residual = residual - length * image
        before, squared = squared, residual @ residual
        direction = residual + squared / before * direction
    return solution, residual
