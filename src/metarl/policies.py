"""Policies as pure functions of a flat parameter vector, one copy per task.

Parameters are a tensor [K, P]: row k holds task k's copy, so that one batched computation gives every task's
log-probabilities, gradients and inner updates. Observations are [K, N, T, O] and actions [K, N, T, A].
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from metarl.errors import InputError
from metarl.settings import Activation

tfd = tfp.distributions


def split_parameters(parameters: tf.Tensor, shapes: tuple[tuple[int, ...], ...]) -> list[tf.Tensor]:
    """Cuts [K, P] into one [K, *shape] tensor per shape, in C order."""
    sizes = [math.prod(shape) for shape in shapes]
    parts = tf.split(parameters, sizes, axis=-1)
    return [tf.reshape(part, [-1, *shape]) for part, shape in zip(parts, shapes, strict=True)]


@dataclass(frozen=True)
class GaussianMLPPolicy:
    """A Gaussian whose mean is a tanh or ReLU network and whose log standard deviations do not see the state.

    Parameters in the order kernel [in, out], bias [out], ..., log_std [A]; linear mean.
    """

    observation_size: int
    action_size: int
    hidden_sizes: tuple[int, ...]
    activation: Activation = "tanh"

    def __post_init__(self):
        sizes = (self.observation_size, self.action_size, *self.hidden_sizes)
        if any(size < 1 for size in sizes):
            raise InputError(f"policy sizes are {sizes}; every size must be a positive integer")

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The parameters' shapes: kernel, bias, ..., log_std."""
        sizes = (self.observation_size, *self.hidden_sizes, self.action_size)
        layers = itertools.pairwise(sizes)
        return (*(shape for i, o in layers for shape in ((i, o), (o,))), (self.action_size,))

    @property
    def parameter_size(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes)

    def initial_parameters(self, generator: np.random.Generator) -> np.ndarray:
        """Glorot-uniform kernels, zero biases, unit standard deviations: float64 [P]."""

        def initial(shape: tuple[int, ...]) -> np.ndarray:
            if len(shape) == 1:
                return np.zeros(shape)
            limit = math.sqrt(6.0 / sum(shape))
            return generator.uniform(-limit, limit, shape)

        return np.concatenate([initial(shape).ravel() for shape in self.shapes])

    def outputs(
        self, parameters: tf.Tensor, observations: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and log standard deviation, each [K, ..., A], for parameters [K, P], observations [K, ..., O]."""
        *layers, log_std = split_parameters(parameters, self.shapes)
        shape = tf.shape(observations)
        hidden = tf.reshape(observations, [shape[0], -1, self.observation_size])
        for index in range(0, len(layers), 2):
            hidden = tf.matmul(hidden, layers[index]) + layers[index + 1][:, None, :]
            if index < len(layers) - 2:
                hidden = tf.nn.relu(hidden) if self.activation == "relu" else tf.tanh(hidden)
        mean = tf.reshape(hidden, tf.concat([shape[:-1], [self.action_size]], axis=0))
        ones = tf.ones([len(observations.shape) - 2], tf.int32)
        log_std = tf.reshape(log_std, tf.concat([shape[:1], ones, [self.action_size]], axis=0))
        return mean, tf.broadcast_to(log_std, tf.shape(mean))

    def distribution(self, outputs: tuple[tf.Tensor, tf.Tensor]) -> tfd.Distribution:
        """pi(. | observation) of `outputs`: batch shape [K, ...], event shape [A]."""
        mean, log_std = outputs
        return tfd.MultivariateNormalDiag(mean, tf.exp(log_std))


@dataclass(frozen=True)
class TabularSoftmaxPolicy:
    """One softmax over actions per state; observations and actions are one-hot.

    Parameters are the logits [S, A], in C order.
    """

    states: int
    actions: int

    @property
    def parameter_size(self) -> int:
        return self.states * self.actions

    def outputs(self, parameters: tf.Tensor, observations: tf.Tensor) -> tuple[tf.Tensor]:
        """Log-probabilities of the actions [K, ..., A], for parameters [K, P], observations [K, ..., S]."""
        (table,) = split_parameters(parameters, ((self.states, self.actions),))
        between = [1] * (len(observations.shape) - 2)
        table = tf.reshape(table, [-1, *between, self.states, self.actions])
        # A sum of products, not a matmul: XLA fuses it, where it would loop over thousands of tiny matmuls.
        return (tf.nn.log_softmax(tf.reduce_sum(observations[..., None] * table, axis=-2)),)

    def distribution(self, outputs: tuple[tf.Tensor]) -> tfd.Distribution:
        """pi(. | state) of `outputs`: batch shape [K, ...], event shape [A] (one-hot)."""
        return tfd.OneHotCategorical(logits=outputs[0])


Policy = GaussianMLPPolicy | TabularSoftmaxPolicy


def log_prob(
    policy: Policy, parameters: tf.Tensor, observations: tf.Tensor, actions: tf.Tensor
) -> tf.Tensor:
    """log pi_theta(a | s), [K, ...], for parameters [K, P]."""
    return policy.distribution(policy.outputs(parameters, observations)).log_prob(actions)
