"""Score weights of anyone's: faults in one line."""

from types import SimpleNamespace

import pytest
import tensorflow as tf

from metarl.errors import InputError
from metarl.estimators.registry import checked_weights


def test_weights_of_unknown_shape_are_one_line():
    """As tf.numpy_function leaves them."""

    def weights(step):
        return tf.numpy_function(lambda a: a, [step.score_products], tf.float32)

    step = SimpleNamespace(score_products=tf.zeros([2, 3, 4], tf.float64))
    with pytest.raises(InputError, match="returns float32 of unknown shape; give float64 that"):
        tf.function(lambda: checked_weights("mine:f", weights)(step), autograph=False)()
