"""Random problems for estimators: unequal lengths, any weights, off-policy behaviour."""

import numpy as np
import pytest
import tensorflow as tf

from metarl.policies import GaussianMLPPolicy
from metarl.trajectories import Trajectories

POLICY = GaussianMLPPolicy(3, 2, (4,))
TASKS, ROWS, HORIZON = 2, 3, 4


def random_batch(seed: int, rewards_to_go: bool = True) -> Trajectories:
    """[K, N, T] = [2, 3, 4] in float64, episodes of unequal length; advantages are rewards-to-go, or anything."""
    generator = np.random.default_rng(seed)
    shape = (TASKS, ROWS, HORIZON)
    lengths = generator.integers(1, HORIZON + 1, (TASKS, ROWS, 1))
    mask = (np.arange(HORIZON) < lengths).astype(float)
    rewards = mask * generator.normal(size=shape)
    advantages = np.cumsum(rewards[..., ::-1], axis=-1)[..., ::-1]
    if not rewards_to_go:
        advantages = mask * generator.normal(size=shape)
    tensors = [
        generator.normal(size=(*shape, 3)),
        generator.normal(size=(*shape, 2)),
        advantages,
        rewards,
        mask * generator.normal(size=shape),
        mask,
    ]
    behaviour = (generator.normal(size=(*shape, 2)), 0.1 * generator.normal(size=(*shape, 2)))
    return Trajectories(
        *(tf.constant(x, tf.float64) for x in tensors),
        behaviour=tuple(tf.constant(x, tf.float64) for x in behaviour),
        weights=tf.fill([TASKS, ROWS], tf.constant(1.0 / ROWS, tf.float64)),
        sample_size=tf.constant(float(ROWS), tf.float64),
    )


@pytest.fixture
def parameters() -> tf.Tensor:
    """[K, P], a copy of its own for every task."""
    generator = np.random.default_rng(7)
    return tf.constant(0.5 * generator.normal(size=(TASKS, POLICY.parameter_size)), tf.float64)
