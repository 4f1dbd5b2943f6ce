"""Adam against its moments as sums, and literal first steps."""

import numpy as np
import tensorflow as tf

from metarl.optimizers import adam
from metarl.settings import TrainingSettings

SETTINGS = TrainingSettings(environment="PointGoal", estimator="maml", algorithm="maml")


def test_adam_over_several_steps():
    """The moments as sums: m_t = (1 - b1) sum_i b1^(t - i) g_i, and v_t likewise of squares."""
    generator = np.random.default_rng(0)
    expected = generator.normal(size=5)
    gradients = generator.normal(size=(6, 5)) * [1.0, 1e-3, 10.0, 1e-9, 0.0]
    parameters = tf.constant(expected)
    state = adam.start(parameters, SETTINGS)
    for t in range(1, 7):
        parameters, state = adam.step(parameters, tf.constant(gradients[t - 1]), state, 0.02)
        first = sum(0.1 * 0.9 ** (t - i) * gradients[i - 1] for i in range(1, t + 1))
        second = sum(0.001 * 0.999 ** (t - i) * gradients[i - 1] ** 2 for i in range(1, t + 1))
        expected = expected + 0.02 * (first / (1 - 0.9**t)) / (
            np.sqrt(second / (1 - 0.999**t)) + 1e-8
        )
        np.testing.assert_allclose(parameters, expected, rtol=1e-11)
        np.testing.assert_allclose(state.first, first, rtol=1e-12)
        np.testing.assert_allclose(state.second, second, rtol=1e-12)
        assert float(state.count) == t


def test_adam_ascends_by_the_learning_rate_at_first():
    """Literal: the first step is learning_rate * sign(gradient), whatever the gradient's size."""
    start = tf.constant([1.0, 2.0, 3.0], tf.float64)
    moved, _ = adam.step(
        start, tf.constant([1e-3, -50.0, 0.0], tf.float64), adam.start(start, SETTINGS), 0.1
    )
    np.testing.assert_allclose(moved, [1.1, 1.9, 3.0], rtol=1e-5)


def test_adam_keeps_float32():
    start = tf.constant([1.0, 2.0])
    moved, state = adam.step(start, tf.ones(2), adam.start(start, SETTINGS), 0.1)
    assert {x.dtype for x in (moved, *state)} == {tf.float32}
