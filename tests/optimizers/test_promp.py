"""ProMP's rule for the coefficients of the inner KL penalty, literally."""

import numpy as np
import tensorflow as tf

from metarl.optimizers.promp import adapted_coefficients


def test_coefficients_halve_and_double():
    found = adapted_coefficients(
        tf.constant([1.0, 1.0, 1.0]), tf.constant([0.0066, 0.0067, 0.0151]), target=0.01
    )
    np.testing.assert_array_equal(found, [0.5, 1.0, 2.0])
