"""ProMP's outer step: Adam's epochs with a penalty on the KL of the inner steps.

Rothfuss et al. 2019, eq. 11.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from metarl.optimizers import adam
from metarl.optimizers.measures import OuterMeasures
from metarl.settings import TrainingSettings
from metarl.trajectories import Trajectories

LARGEST_CHANGE = 2.0**10  # of a coefficient from where it started: a target out of reach ends there


class Memory(NamedTuple):
    """Adam's memory, and the coefficients of the inner KL penalty, one an inner step [S]."""

    adam: adam.Memory
    coefficients: tf.Tensor


def start(parameters: tf.Tensor, settings: TrainingSettings) -> Memory:
    """Nothing seen yet; every inner step has the coefficient of the settings."""
    coefficients = tf.fill([settings.inner_steps], tf.constant(settings.inner_kl_coefficient))
    return Memory(adam.start(parameters, settings), coefficients)


def update(
    objective, parameters: tf.Tensor, memory: Memory, shards: Sequence[list[Trajectories]]
) -> tuple[tf.Tensor, Memory, OuterMeasures]:
    """One iteration: see `metarl.optimizers.adam.update`; then the coefficients' rule."""
    coefficients, target = memory.coefficients, objective.settings.inner_kl_target
    parameters, adam_memory, measures = adam.epochs(
        objective, parameters, memory.adam, shards, coefficients
    )
    measures = measures._replace(inner_kl_coefficient=float(tf.reduce_mean(coefficients)))
    if target > 0:
        divergences = objective.inner_divergences(parameters, shards)
        coefficients = adapted_coefficients(
            coefficients, divergences, target, objective.settings.inner_kl_coefficient
        )
    return parameters, Memory(adam_memory, coefficients), measures


def adapted_coefficients(
    coefficients: tf.Tensor, divergences: tf.Tensor, target: float, initial: float
) -> tf.Tensor:
    """ProMP's rule: a coefficient halves below target / 1.5 and doubles above 1.5 target: [S].

    jonasrothfuss/ProMP meta_algos/pro_mp.py, `_adapt_kl_coeff`, once an iteration, after its
    epochs. Here it stays within LARGEST_CHANGE of `initial`; there a target out of reach drives it
    to 0 or to infinity.
    """
    halved = tf.where(divergences < target / 1.5, 0.5 * coefficients, coefficients)
    changed = tf.where(divergences > target * 1.5, 2.0 * coefficients, halved)
    return tf.clip_by_value(changed, initial / LARGEST_CHANGE, initial * LARGEST_CHANGE)
