"""The weights of steps against their definition, one step at a time."""

import numpy as np
import pytest
import tensorflow as tf

from metarl.trajectories import step_scale, step_weights, thinned
from tests.conftest import HORIZON, ROWS, TASKS, naive_average

AVERAGINGS = ["steps", "trajectories"]


@pytest.mark.parametrize("averaging", AVERAGINGS)
def test_step_weights_average_any_term(batch, averaging):
    terms = np.random.default_rng(0).normal(size=(TASKS, ROWS, HORIZON))
    weights = step_weights(batch, averaging).numpy()
    assert weights.shape == (TASKS, ROWS, HORIZON)
    for task in range(TASKS):
        expected = naive_average(batch, task, averaging, lambda step: terms[step])
        np.testing.assert_allclose((weights * terms)[task].sum(), expected, rtol=1e-13)
    np.testing.assert_array_equal(weights[batch.mask.numpy() == 0], 0.0)


def test_step_scale(batch):
    by_trajectory = step_scale(batch, "trajectories")
    np.testing.assert_array_equal(by_trajectory, np.ones((TASKS, 1, 1)))
    assert by_trajectory.dtype == tf.float64
    mean_lengths = [0.2 * 4 + 0.5 * 1 + 0.3 * 3, 0.6 * 2 + 0.25 * 4 + 0.15 * 1]
    np.testing.assert_allclose(
        step_scale(batch, "steps")[:, 0, 0], 1.0 / np.array(mean_lengths), rtol=1e-14
    )


def test_steps_of_equal_lengths_weigh_one_over_n_t(batch):
    full = batch._replace(
        mask=tf.ones_like(batch.mask),
        weights=tf.fill([TASKS, ROWS], tf.constant(1 / 3, tf.float64)),
    )
    np.testing.assert_allclose(step_weights(full, "steps"), 1.0 / (ROWS * HORIZON), rtol=1e-14)
    np.testing.assert_allclose(step_weights(full, "trajectories"), 1.0 / ROWS, rtol=1e-14)


@pytest.mark.parametrize("averaging", AVERAGINGS)
def test_a_row_may_stand_for_several_trajectories(batch, averaging):
    """Counts 2, 1, 1 of three distinct trajectories weigh as the four trajectories do."""
    weighted = batch._replace(weights=tf.constant([[0.5, 0.25, 0.25]] * TASKS, tf.float64))
    repeated = batch._replace(
        mask=tf.gather(batch.mask, [0, 0, 1, 2], axis=1),
        weights=tf.fill([TASKS, 4], tf.constant(0.25, tf.float64)),
    )
    several = step_weights(repeated, averaging)
    expected = tf.concat([several[:, :1] + several[:, 1:2], several[:, 2:]], axis=1)
    np.testing.assert_allclose(step_weights(weighted, averaging), expected, rtol=1e-14)


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("averaging", AVERAGINGS)
def test_thinned_steps_stand_for_those_left_away(batch, averaging, stride):
    terms = np.random.default_rng(0).normal(size=(TASKS, ROWS, HORIZON))
    kept = thinned(batch, stride)
    weighted = step_weights(kept, averaging).numpy() * terms[:, :, ::stride]
    mask, shares = batch.mask.numpy(), batch.weights.numpy()
    for task in range(TASKS):
        total = count = 0.0
        for row in range(ROWS):
            for step in range(0, HORIZON, stride):
                share = stride * shares[task, row] * mask[task, row, step]
                total, count = total + share * terms[task, row, step], count + share
        expected = total / count if averaging == "steps" else total
        np.testing.assert_allclose(weighted[task].sum(), expected, rtol=1e-13)
    for name, value in batch._asdict().items():
        if name not in ("mask", "weights", "sample_size", "left_out"):
            parts = tf.nest.flatten(getattr(kept, name))
            for whole, part in zip(tf.nest.flatten(value), parts, strict=True):
                np.testing.assert_array_equal(part, whole[:, :, ::stride])
