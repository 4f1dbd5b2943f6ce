"""Negative controls: leave_one_out with an error planted in its weights.

An audit that does not see them is worth nothing. Estimators like any other, by name
`metarl.audit.controls:sign_error` and so on.
"""

import tensorflow as tf

from metarl.estimators.algebra import InnerStep
from metarl.estimators.catalogue import leave_one_out


def sign_error(step: InnerStep) -> tf.Tensor:
    """-W."""
    return -leave_one_out(step)


def doubled(step: InnerStep) -> tf.Tensor:
    """2 W."""
    return 2.0 * leave_one_out(step)


def shuffled(step: InnerStep) -> tf.Tensor:
    """Each trajectory has its neighbour's W."""
    return tf.roll(leave_one_out(step), 1, axis=1)
