"""What the learning curve tells of an outer step, whichever optimizer took it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf


class OuterMeasures(NamedTuple):
    """Measures of one iteration's outer step.

    Attributes:
      gradient_norms: of the meta-gradient, one an outer epoch.
      kl: post-update mean KL of the step; nan where the optimizer does not measure it.
      accepted: whether TRPO's line search accepted a step, 1 or 0; nan for the others.
      inner_kl_coefficient: of the inner KL penalty that was taken, mean over inner steps; 0: none.
    """

    gradient_norms: Sequence[tf.Tensor]
    kl: float = math.nan
    accepted: float = math.nan
    inner_kl_coefficient: float = 0.0
