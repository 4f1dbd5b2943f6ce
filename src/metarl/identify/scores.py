"""A stand-in for policies that only their owners can evaluate: what a bundle says of them.

    log pi_theta(a_it | s_it) = log pi_0(a_it | s_it) + theta . g_it

has the dumped scores g_it for its gradient, whatever network they came from. It has no second
derivative: the inner Jacobian is dumped too.
"""

from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf


class Given(NamedTuple):
    """Log-probabilities [K, ...] as they are, in the place of a distribution."""

    values: tf.Tensor

    def log_prob(self, actions: tf.Tensor) -> tf.Tensor:
        return self.values


@dataclass(frozen=True)
class LinearPolicy:
    """log pi as a linear function of the parameters; observations [K, N, T, P] are its scores."""

    parameter_size: int

    def outputs(self, parameters: tf.Tensor, observations: tf.Tensor) -> tuple[tf.Tensor]:
        """theta . g_it, [K, N, T]."""
        return (tf.linalg.matvec(observations, parameters[:, None]),)

    def directional(
        self, parameters: tf.Tensor, observations: tf.Tensor, vectors: tf.Tensor
    ) -> tuple[tuple[tf.Tensor], tuple[tf.Tensor]]:
        """`outputs` and their directional derivatives along vectors [K, P]."""
        return self.outputs(parameters, observations), self.outputs(vectors, observations)

    def log_prob_change(
        self, outputs: tuple[tf.Tensor], changes: tuple[tf.Tensor], actions: tf.Tensor
    ) -> tf.Tensor:
        """What changes of the outputs change log pi(a | s) by: [K, N, T]."""
        return changes[0]

    def distribution(self, outputs: tuple[tf.Tensor]) -> Given:
        return Given(outputs[0])
