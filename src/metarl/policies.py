"""Policies as pure functions of a flat parameter vector, one copy per task.

Parameters are a tensor [K, P]: row k holds task k's copy, so that one batched computation gives every task's
log-probabilities, gradients and inner updates. Observations are [K, N, T, O] and actions [K, N, T, A].
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
        (*layers, log_std), hidden = self._layers(parameters), self._columns(observations)
        for kernel, bias in layers[:-1]:
            hidden = self._activate(tf.matmul(kernel, hidden, transpose_a=True) + bias)
        kernel, bias = layers[-1]
        mean = tf.matmul(kernel, hidden, transpose_a=True) + bias
        return self._rows(mean, observations), self._spread(log_std, observations)

    def directional(
        self, parameters: tf.Tensor, observations: tf.Tensor, vectors: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        """`outputs` and their directional derivatives along vectors [K, P], layer by layer.

        By hand, because a tape around tf.autodiff.ForwardAccumulator makes XLA compile anew at every call.
        """
        (*layers, log_std), hidden = self._layers(parameters), self._columns(observations)
        *layer_changes, log_std_change = self._layers(vectors)
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
        outputs = self._rows(hidden, observations), self._spread(log_std, observations)
        changes = self._rows(change, observations), self._spread(log_std_change, observations)
        return outputs, changes

    def actor(
        self, parameters: tf.Tensor
    ) -> tuple[Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]], np.ndarray]:
        """Acts for one step of a rollout, with parameters [K, P].

        In NumPy, because at this size a call into TensorFlow takes ten times as long as the arithmetic.

        Returns:
          A function from observations [K, N, O] and standard normal noise [K, N, A] to actions, mean + sigma * noise, and
          the mean of `outputs`, each [K, N, A]; and the log standard deviations [K, A], the same in every state.
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

    def _layers(self, parameters: tf.Tensor) -> list:
        """[(kernel [K, in, out], bias [K, out, 1]), ..., log_std [K, A]]."""
        *layers, log_std = split_parameters(parameters, self.shapes)
        biases = [bias[..., None] for bias in layers[1::2]]
        return [*zip(layers[::2], biases, strict=True), log_std]

    def _activate(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(x) if self.activation == "relu" else tf.tanh(x)

    def _columns(self, observations: tf.Tensor) -> tf.Tensor:
        """[K, O, M] of [K, ..., O], M states of a task: a kernel's gradient sums over M, fastest where M is last."""
        states = math.prod(observations.shape[1:-1])
        return tf.linalg.matrix_transpose(
            tf.reshape(observations, [-1, states, self.observation_size])
        )

    def _rows(self, columns: tf.Tensor, observations: tf.Tensor) -> tf.Tensor:
        """[K, ..., A] of [K, A, M]."""
        shape = [-1, *observations.shape[1:-1], self.action_size]
        return tf.reshape(tf.linalg.matrix_transpose(columns), shape)

    def _spread(self, log_std: tf.Tensor, observations: tf.Tensor) -> tf.Tensor:
        """[K, ..., A] of [K, A]."""
        ones = [1] * (len(observations.shape) - 2)
        log_std = tf.reshape(log_std, [-1, *ones, self.action_size])
        return tf.tile(log_std, [1, *observations.shape[1:-1], 1])

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
        return (tf.nn.log_softmax(self._rows(parameters, observations)),)

    def directional(
        self, parameters: tf.Tensor, observations: tf.Tensor, vectors: tf.Tensor
    ) -> tuple[tuple[tf.Tensor], tuple[tf.Tensor]]:
        """`outputs` and their directional derivatives along vectors [K, P]."""
        (log_probs,) = self.outputs(parameters, observations)
        change = self._rows(vectors, observations)
        mean_change = tf.reduce_sum(tf.exp(log_probs) * change, axis=-1, keepdims=True)
        return (log_probs,), (change - mean_change,)

    def log_prob_change(
        self, outputs: tuple[tf.Tensor], changes: tuple[tf.Tensor], actions: tf.Tensor
    ) -> tf.Tensor:
        """What changes of the outputs change log pi(a | s) by: [K, ...]."""
        return tf.reduce_sum(actions * changes[0], axis=-1)

    def _rows(self, parameters: tf.Tensor, observations: tf.Tensor) -> tf.Tensor:
        """Each observation's row of the table: [K, ..., A]."""
        (table,) = split_parameters(parameters, ((self.states, self.actions),))
        between = [1] * (len(observations.shape) - 2)
        table = tf.reshape(table, [-1, *between, self.states, self.actions])
        # A sum of products, not a matmul: XLA fuses it, where it would loop over thousands of tiny matmuls.
        return tf.reduce_sum(observations[..., None] * table, axis=-2)

    def distribution(self, outputs: tuple[tf.Tensor]) -> tfd.Distribution:
        """pi(. | state) of `outputs`: batch shape [K, ...], event shape [A] (one-hot)."""
        return tfd.OneHotCategorical(logits=outputs[0])


Policy = GaussianMLPPolicy | TabularSoftmaxPolicy


def log_prob(
    policy: Policy, parameters: tf.Tensor, observations: tf.Tensor, actions: tf.Tensor
) -> tf.Tensor:
    """log pi_theta(a | s), [K, ...], for parameters [K, P]."""
    return policy.distribution(policy.outputs(parameters, observations)).log_prob(actions)
