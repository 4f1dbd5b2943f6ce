"""Plug-ins that are a whole gradient, in whatever framework, in the place of score weights.

    gradient(policy, theta, batches, settings) -> [K, P]

theta [K, P] is a copy of the parameters for each task, `batches` are the pre-update batches of
inner steps 0..S-1 and the post-update one (`metarl.trajectories.Trajectories`), `settings` are the
inner learning rate and averaging (`metarl.settings.InnerSettings`). In the exact audit the rows of
a batch are all trajectories that there are, and `weights` [K, N] are their shares: a mean over
trajectories is a sum with them. In training later outer epochs ask at another theta than the one
that acted, whose outputs the batches have as `behaviour`; ratios and clipping are the function's.
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from metarl import plug_ins
from metarl.errors import InputError
from metarl.policies import Policy
from metarl.settings import InnerSettings
from metarl.trajectories import Trajectories

Gradient = Callable[
    [Policy, tf.Tensor, Sequence[Trajectories], InnerSettings], tf.Tensor | np.ndarray
]

SAME = 1e-6
"""Largest relative difference of a compiled result that is taken for the function's own."""


class WholeGradient:
    """A gradient function of anyone's: compiled where that changes nothing, faults in one line.

    The first call runs the function as it is. Code that calls .numpy() or tf.numpy_function cannot
    be compiled, and code that draws numbers with NumPy would draw them once and for all: what is
    compiled is used only where it returns the same.

    Args:
      name: `package.module:function`.
      function: theirs.
    """

    def __init__(self, name: str, function: Gradient):
        self.name, self.function = name, function
        self._chosen: dict[tuple, Callable] = {}

    def __call__(
        self,
        policy: Policy,
        theta: tf.Tensor,
        batches: Sequence[Trajectories],
        settings: InnerSettings,
    ) -> tf.Tensor:
        """The gradient, [K, P], outside compiled code.

        Raises:
          InputError: the function fails, or returns anything but [K, P] floating-point numbers.
        """
        if not tf.executing_eagerly():
            raise self.not_compiled()
        batches = list(batches)
        key = policy, settings, tuple(batch.rewards.shape for batch in batches)
        if key in self._chosen:
            return self._checked(self._chosen[key], theta, batches)

        def as_it_is(theta: tf.Tensor, batches: list[Trajectories]) -> tf.Tensor:
            return tf.convert_to_tensor(self.function(policy, theta, batches, settings))

        result = self._checked(as_it_is, theta, batches)
        compiled = tf.function(as_it_is, jit_compile=True, autograph=False)
        same = _returns(compiled, theta, batches, result)
        self._chosen[key] = compiled if same else as_it_is
        return result

    def _checked(
        self, function: Callable, theta: tf.Tensor, batches: list[Trajectories]
    ) -> tf.Tensor:
        try:
            given = function(theta, batches)
        except (Exception, SystemExit) as error:  # code of anyone's may raise anything
            raise InputError(
                f"estimator {self.name!r} failed ({plug_ins.said(error, self.function)}); it is "
                "called as gradient(policy, theta, batches, settings), see metarl.estimators.whole"
            ) from error
        if not given.dtype.is_floating or given.shape != theta.shape:
            raise InputError(
                f"estimator {self.name!r} returns {given.dtype.name} {given.shape.as_list()}; give "
                f"floating-point numbers [K, P] = {theta.shape.as_list()}, one row a task"
            )
        return tf.cast(given, theta.dtype)

    def no_weights(self, step: object) -> tf.Tensor:
        """Raises InputError: what needs score weights cannot use a whole gradient."""
        raise InputError(
            f"estimator {self.name!r} is a whole gradient: it has no score weights; use it in audit"
            " exact, audit mujoco or train, or give a function of score weights"
        )

    def not_compiled(self) -> InputError:
        """What to say where estimators are compiled into something larger."""
        return InputError(
            f"estimator {self.name!r} is a whole gradient, which compiled code cannot call; "
            "use audit exact, audit mujoco or train"
        )

    def no_penalty(self) -> InputError:
        """What to say of ProMP's penalty, which acts between the inner steps."""
        return InputError(
            f"estimator {self.name!r} is a whole gradient, into which no inner KL penalty goes; "
            "compute it yourself, and give inner_kl_coefficient 0"
        )

    def no_batch(self) -> InputError:
        """What to say where values after adaptation are no batch."""
        return InputError(
            f"estimator {self.name!r} is a whole gradient of batches, and there is no post-update "
            "batch here: values after adaptation are exact; use audit exact, audit mujoco or train"
        )


def _returns(
    compiled: Callable, theta: tf.Tensor, batches: list[Trajectories], expected: tf.Tensor
) -> bool:
    """Whether a function can be compiled and returns what is expected, twice."""
    largest = float(tf.reduce_max(tf.abs(expected)))
    try:
        given = [tf.cast(compiled(theta, batches), expected.dtype) for _ in range(2)]
    except (Exception, SystemExit):  # noqa: BLE001  what XLA cannot compile fails in many ways
        return False
    return all(float(tf.reduce_max(tf.abs(x - expected))) <= SAME * largest for x in given)
