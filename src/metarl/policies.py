"""Policies as pure functions of a flat parameter vector, one copy per task.

Parameters are a tensor [K, P]: row k holds task k's copy, so that one batched computation gives
every task's log-probabilities, gradients and inner updates. Observations are [K, N, T, O] and
actions [K, N, T, A].
"""

import itertools
import math
from collections.abc import Callable
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
class _MLPPolicy:
    """A tanh or ReLU network with a linear last layer, whose outputs parametrize a distribution.

    Parameters in the order kernel [in, out], bias [out], ..., and what a subclass appends.
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
    def output_size(self) -> int:
        """Width of the last layer."""
        return self.action_size

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The parameters' shapes: kernel, bias, ..."""
        sizes = (self.observation_size, *self.hidden_sizes, self.output_size)
        return tuple(shape for i, o in itertools.pairwise(sizes) for shape in ((i, o), (o,)))

    @property
    def parameter_size(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes)

    def initial_parameters(self, generator: np.random.Generator) -> np.ndarray:
        """Glorot-uniform kernels, zero biases and log standard deviations: float64 [P]."""

        def initial(shape: tuple[int, ...]) -> np.ndarray:
            if len(shape) == 1:
                return np.zeros(shape)
            limit = math.sqrt(6.0 / sum(shape))
            return generator.uniform(-limit, limit, shape)

        return np.concatenate([initial(shape).ravel() for shape in self.shapes])

    def _layers(self, parameters: tf.Tensor) -> list:
        """[(kernel [K, in, out], bias [K, out, 1]), ...]."""
        parts = split_parameters(parameters, self.shapes)
        return list(zip(parts[::2], (bias[..., None] for bias in parts[1::2]), strict=True))

    def _network(self, layers: list, observations: tf.Tensor) -> tf.Tensor:
        """The last layer's outputs [K, out, M] in the M states of a task."""
        hidden = self._columns(observations)
        for kernel, bias in layers[:-1]:
            hidden = self._activate(tf.matmul(kernel, hidden, transpose_a=True) + bias)
        kernel, bias = layers[-1]
        return tf.matmul(kernel, hidden, transpose_a=True) + bias

    def _network_directional(
        self, layers: list, layer_changes: list, observations: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """`_network` and its directional derivative, layer by layer.

        By hand, because a tape around tf.autodiff.ForwardAccumulator makes XLA compile anew at
        every call.
        """
        hidden = self._columns(observations)
        change = tf.zeros_like(hidden)
        for number, ((kernel, bias), (kernel_change, bias_change)) in enumerate(
            zip(layers, layer_changes, strict=True)
        ):
            moved = tf.matmul(kernel_change, hidden, transpose_a=True) + bias_change
            if number > 0:  # observations do not change
                moved += tf.matmul(kernel, change, transpose_a=True)
            hidden, change = tf.matmul(kernel, hidden, transpose_a=True) + bias, moved
            if number < len(layers) - 1:
                hidden = self._activate(hidden)
                slope = (
                    tf.cast(hidden > 0, hidden.dtype)
                    if self.activation == "relu"
                    else 1.0 - hidden**2
                )
                change = slope * change
        return hidden, change

    def _activate(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(x) if self.activation == "relu" else tf.tanh(x)

    def _columns(self, observations: tf.Tensor) -> tf.Tensor:
        """[K, O, M] of [K, ..., O]: a kernel's gradient sums over M, fastest where M is last."""
        states = math.prod(observations.shape[1:-1])
        return tf.linalg.matrix_transpose(
            tf.reshape(observations, [-1, states, self.observation_size])
        )

    def _rows(self, columns: tf.Tensor, observations: tf.Tensor) -> tf.Tensor:
        """[K, ..., A] of [K, A, M]."""
        shape = [-1, *observations.shape[1:-1], columns.shape[1]]
        return tf.reshape(tf.linalg.matrix_transpose(columns), shape)


class _Gaussian:
    """Distributions whose outputs are mean and log standard deviation, each [K, ..., A]."""

    def log_prob_change(
        self,
        outputs: tuple[tf.Tensor, tf.Tensor],
        changes: tuple[tf.Tensor, tf.Tensor],
        actions: tf.Tensor,
    ) -> tf.Tensor:
        """What changes of the outputs change log pi(a | s) by, to first order: [K, ...]."""
        (mean, log_std), (mean_change, log_std_change) = outputs, changes
        deviation = (actions - mean) * tf.exp(-log_std)
        terms = deviation * mean_change * tf.exp(-log_std) + (deviation**2 - 1.0) * log_std_change
        return tf.reduce_sum(terms, axis=-1)

    def distribution(self, outputs: tuple[tf.Tensor, tf.Tensor]) -> tfd.Distribution:
        """pi(. | observation) of `outputs`: batch shape [K, ...], event shape [A]."""
        mean, log_std = outputs
        return tfd.MultivariateNormalDiag(mean, tf.exp(log_std))


class _Softmax:
    """Distributions whose outputs are the log-probabilities [K, ..., A] of one-hot actions."""

    def log_prob_change(
        self, outputs: tuple[tf.Tensor], changes: tuple[tf.Tensor], actions: tf.Tensor
    ) -> tf.Tensor:
        """What changes of the outputs change log pi(a | s) by: [K, ...]."""
        return tf.reduce_sum(actions * changes[0], axis=-1)

    def distribution(self, outputs: tuple[tf.Tensor]) -> tfd.Distribution:
        """pi(. | state) of `outputs`: batch shape [K, ...], event shape [A] (one-hot)."""
        return tfd.OneHotCategorical(logits=outputs[0])


def log_softmax_change(log_probs: tf.Tensor, logits_change: tf.Tensor) -> tf.Tensor:
    """The change of log_softmax(logits) [..., A] for a change of the logits."""
    mean = tf.reduce_sum(tf.exp(log_probs) * logits_change, axis=-1, keepdims=True)
    return logits_change - mean


@dataclass(frozen=True)
class GaussianMLPPolicy(_Gaussian, _MLPPolicy):
    """A Gaussian whose mean is a network and whose log standard deviations do not see the state.

    Parameters in the order kernel [in, out], bias [out], ..., log_std [A]; linear mean.
    """

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The parameters' shapes: kernel, bias, ..., log_std."""
        return (*super().shapes, (self.action_size,))

    def outputs(
        self, parameters: tf.Tensor, observations: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and log standard deviation, each [K, ..., A].

        Args:
          parameters: [K, P].
          observations: [K, ..., O].
        """
        *layers, log_std = self._layers(parameters)
        mean = self._network(layers, observations)
        return self._rows(mean, observations), self._spread(log_std, observations)

    def directional(
        self, parameters: tf.Tensor, observations: tf.Tensor, vectors: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        """`outputs` and their directional derivatives along vectors [K, P]."""
        *layers, log_std = self._layers(parameters)
        *layer_changes, log_std_change = self._layers(vectors)
        mean, change = self._network_directional(layers, layer_changes, observations)
        outputs = self._rows(mean, observations), self._spread(log_std, observations)
        changes = self._rows(change, observations), self._spread(log_std_change, observations)
        return outputs, changes

    def actor(
        self, parameters: tf.Tensor
    ) -> tuple[Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]], np.ndarray]:
        """Acts for one step of a rollout, with parameters [K, P].

        In NumPy, because at this size a call into TensorFlow takes ten times as long as the
        arithmetic.

        Returns:
          A function from observations [K, N, O] and standard normal noise [K, N, A] to actions,
          mean + sigma * noise, and the mean of `outputs`, each [K, N, A]; and the log standard
          deviations [K, A], the same in every state.
        """
        *layers, log_std = (part.numpy() for part in split_parameters(parameters, self.shapes))
        (first_kernel, first_bias), *others = zip(
            layers[::2], (bias[:, None] for bias in layers[1::2]), strict=True
        )
        sigma = np.exp(log_std)[:, None]

        def act(observations: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            mean = observations @ first_kernel + first_bias
            for kernel, bias in others:
                hidden = np.maximum(mean, 0.0) if self.activation == "relu" else np.tanh(mean)
                mean = hidden @ kernel + bias
            return mean + sigma * noise, mean

        return act, log_std

    def _layers(self, parameters: tf.Tensor) -> list:
        """[(kernel [K, in, out], bias [K, out, 1]), ..., log_std [K, A]]."""
        *layers, log_std = split_parameters(parameters, self.shapes)
        biases = [bias[..., None] for bias in layers[1::2]]
        return [*zip(layers[::2], biases, strict=True), log_std]

    def _spread(self, log_std: tf.Tensor, observations: tf.Tensor) -> tf.Tensor:
        """[K, ..., A] of [K, A]."""
        ones = [1] * (len(observations.shape) - 2)
        log_std = tf.reshape(log_std, [-1, *ones, self.action_size])
        return tf.tile(log_std, [1, *observations.shape[1:-1], 1])


@dataclass(frozen=True)
class HeldStdGaussianMLPPolicy(GaussianMLPPolicy):
    """`GaussianMLPPolicy` of which some log standard deviations are constants, no gradient's goal.

    The constants stay in the parameter vector; `held` says of every action whether its is one.
    """

    held: tuple[bool, ...] = ()

    def _layers(self, parameters: tf.Tensor) -> list:
        *layers, log_std = super()._layers(parameters)
        return [*layers, tf.where(self.held, tf.stop_gradient(log_std), log_std)]

    def directional(
        self, parameters: tf.Tensor, observations: tf.Tensor, vectors: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        """`outputs` and their directional derivatives along vectors [K, P]."""
        outputs, (change, log_std_change) = super().directional(parameters, observations, vectors)
        return outputs, (change, tf.where(self.held, tf.zeros_like(change), log_std_change))


@dataclass(frozen=True)
class StateStdGaussianMLPPolicy(_Gaussian, _MLPPolicy):
    """A Gaussian whose network gives the log standard deviations too: the last layer is 2 A wide.

    Its first A outputs are the mean, the others the log standard deviations.
    """

    @property
    def output_size(self) -> int:
        """Width of the last layer."""
        return 2 * self.action_size

    def outputs(
        self, parameters: tf.Tensor, observations: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and log standard deviation, each [K, ..., A]."""
        return self._halves(self._network(self._layers(parameters), observations), observations)

    def directional(
        self, parameters: tf.Tensor, observations: tf.Tensor, vectors: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        """`outputs` and their directional derivatives along vectors [K, P]."""
        columns, change = self._network_directional(
            self._layers(parameters), self._layers(vectors), observations
        )
        return self._halves(columns, observations), self._halves(change, observations)

    def _halves(self, columns: tf.Tensor, observations: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mean, log_std = tf.split(self._rows(columns, observations), 2, axis=-1)
        return mean, log_std


@dataclass(frozen=True)
class SoftmaxMLPPolicy(_Softmax, _MLPPolicy):
    """A softmax over the outputs of a network; actions are one-hot."""

    def outputs(self, parameters: tf.Tensor, observations: tf.Tensor) -> tuple[tf.Tensor]:
        """Log-probabilities of the actions [K, ..., A]."""
        logits = self._network(self._layers(parameters), observations)
        return (tf.nn.log_softmax(self._rows(logits, observations)),)

    def directional(
        self, parameters: tf.Tensor, observations: tf.Tensor, vectors: tf.Tensor
    ) -> tuple[tuple[tf.Tensor], tuple[tf.Tensor]]:
        """`outputs` and their directional derivatives along vectors [K, P]."""
        logits, change = self._network_directional(
            self._layers(parameters), self._layers(vectors), observations
        )
        log_probs = tf.nn.log_softmax(self._rows(logits, observations))
        return (log_probs,), (log_softmax_change(log_probs, self._rows(change, observations)),)


@dataclass(frozen=True)
class TabularSoftmaxPolicy(_Softmax):
    """One softmax over actions per state; observations and actions are one-hot.

    Parameters are the logits [S, A], in C order.
    """

    states: int
    actions: int

    @property
    def parameter_size(self) -> int:
        return self.states * self.actions

    def outputs(self, parameters: tf.Tensor, observations: tf.Tensor) -> tuple[tf.Tensor]:
        """Log-probabilities of the actions [K, ..., A], for observations [K, ..., S]."""
        return (tf.nn.log_softmax(self._rows(parameters, observations)),)

    def directional(
        self, parameters: tf.Tensor, observations: tf.Tensor, vectors: tf.Tensor
    ) -> tuple[tuple[tf.Tensor], tuple[tf.Tensor]]:
        """`outputs` and their directional derivatives along vectors [K, P]."""
        (log_probs,) = self.outputs(parameters, observations)
        change = self._rows(vectors, observations)
        return (log_probs,), (log_softmax_change(log_probs, change),)

    def _rows(self, parameters: tf.Tensor, observations: tf.Tensor) -> tf.Tensor:
        """Each observation's row of the table: [K, ..., A]."""
        (table,) = split_parameters(parameters, ((self.states, self.actions),))
        between = [1] * (len(observations.shape) - 2)
        table = tf.reshape(table, [-1, *between, self.states, self.actions])
        # A sum of products: XLA fuses it, where it would loop over thousands of tiny matmuls.
        return tf.reduce_sum(observations[..., None] * table, axis=-2)


Policy = GaussianMLPPolicy | StateStdGaussianMLPPolicy | SoftmaxMLPPolicy | TabularSoftmaxPolicy


def log_prob(
    policy: Policy, parameters: tf.Tensor, observations: tf.Tensor, actions: tf.Tensor
) -> tf.Tensor:
    """log pi_theta(a | s), [K, ...], for parameters [K, P]."""
    return policy.distribution(policy.outputs(parameters, observations)).log_prob(actions)
