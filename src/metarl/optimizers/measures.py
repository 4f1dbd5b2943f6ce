"""What the learning curve tells of an outer step, whichever optimizer took it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf


class OuterMeasures(NamedTuple):
    """Measures of one iteration's outer step.

    Attributes:
      gradient_norms: of the meta-gradient, one an outer epoch.
      standard_error: of the meta-gradient in the first one, over tasks: the root of the squared
        error to expect of the mean of as many tasks.
      kl: post-update mean KL of the step; nan where the optimizer does not measure it.
      accepted: whether TRPO's line search accepted a step, 1 or 0; nan for the others.
      inner_kl_coefficient: of the inner KL penalty that was taken, mean over inner steps; 0: none.
    """

    gradient_norms: Sequence[tf.Tensor]
    standard_error: float
    kl: float = math.nan
    accepted: float = math.nan
    inner_kl_coefficient: float = 0.0


def standard_error(mean: tf.Tensor, squared_norm: tf.Tensor, tasks: int) -> float:
    """Of a mean over tasks [P], from the mean of the tasks' squared norms []; one task: nan."""
    if tasks == 1:
        return math.nan
    spread = float(squared_norm) - float(tf.reduce_sum(mean**2))
    return math.sqrt(max(spread, 0.0) / (tasks - 1))
