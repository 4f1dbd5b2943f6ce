"""ProMP's rule for the coefficients of the inner KL penalty, literally."""

import numpy as np
import tensorflow as tf

from metarl.optimizers.promp import adapted_coefficients


def test_coefficients_halve_and_double():
    found = adapted_coefficients(
        tf.constant([1.0, 1.0, 1.0]),
        tf.constant([0.0066, 0.0067, 0.0151]),
        target=0.01,
        initial=1.0,
    )
    np.testing.assert_array_equal(found, [0.5, 1.0, 2.0])


def test_a_target_out_of_reach_ends_at_a_bound():
    """Literal: from 3, a factor of 1024 either way."""
    coefficients = tf.constant([3.0 * 1024, 3.0 / 1024])
    bounded = adapted_coefficients(coefficients, tf.constant([1.0, 0.0]), target=0.01, initial=3.0)
    np.testing.assert_array_equal(bounded, coefficients)
