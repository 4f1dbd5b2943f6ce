"""Adam, as many steps an iteration as there are outer epochs: VPG with one, PPO with several."""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from metarl.optimizers.measures import OuterMeasures, standard_error
from metarl.settings import TrainingSettings
from metarl.trajectories import Trajectories


class Memory(NamedTuple):
    """Adam's memory: step count [], first and second moments [P]."""

    count: tf.Tensor
    first: tf.Tensor
    second: tf.Tensor


def start(parameters: tf.Tensor, settings: TrainingSettings) -> Memory:
    """Nothing seen yet; parameters theta [P]."""
    zeros = tf.zeros_like(parameters)
    return Memory(tf.zeros([], parameters.dtype), zeros, zeros)


def update(
    objective, parameters: tf.Tensor, memory: Memory, shards: Sequence[list[Trajectories]]
) -> tuple[tf.Tensor, Memory, OuterMeasures]:
    """One iteration: an ascent step each outer epoch, from the second on off policy.

    Args:
      objective: the run's `metarl.training.gradient.MetaObjective`.
      parameters: theta [P].
      memory: Adam's.
      shards: each shard's batches of inner steps 0..S.
    """
    return epochs(objective, parameters, memory, shards)


def epochs(
    objective,
    parameters: tf.Tensor,
    memory: Memory,
    shards: Sequence[list[Trajectories]],
    inner_kl_coefficients: tf.Tensor | None = None,
) -> tuple[tf.Tensor, Memory, OuterMeasures]:
    """`update`, with coefficients [S] of an inner KL penalty or without one."""
    settings, gradients = objective.settings, []
    for _ in range(settings.outer_epochs):
        gradients.append(objective.gradient(parameters, shards, inner_kl_coefficients))
        parameters, memory = step(
            parameters, gradients[-1].mean, memory, settings.outer_learning_rate
        )
    norms = [tf.norm(gradient.mean) for gradient in gradients]
    return parameters, memory, OuterMeasures(norms, standard_error(*gradients[0], settings.tasks))


def step(
    parameters: tf.Tensor, gradient: tf.Tensor, memory: Memory, learning_rate: float
) -> tuple[tf.Tensor, Memory]:
    """One ascent step, Kingma and Ba 2015, algorithm 1, with its default constants."""
    decay_first, decay_second, epsilon = 0.9, 0.999, 1e-8
    count = memory.count + 1.0
    first = decay_first * memory.first + (1.0 - decay_first) * gradient
    second = decay_second * memory.second + (1.0 - decay_second) * gradient**2
    unbiased_first = first / (1.0 - decay_first**count)
    unbiased_second = second / (1.0 - decay_second**count)
    change = learning_rate * unbiased_first / (tf.sqrt(unbiased_second) + epsilon)
    return parameters + change, Memory(count, first, second)
