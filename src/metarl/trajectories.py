"""A batch of trajectories, and how steps are averaged into an objective.

One layout serves sampled batches (weights 1/N) and enumerated ones (weights = a sample's counts /
N), so that the exact audit and training run the same estimator code.
"""

from typing import NamedTuple

import tensorflow as tf

from metarl.settings import Averaging


class Trajectories(NamedTuple):
    """Trajectories of K tasks; N rows of T steps each. All tensors share one floating dtype.

    Attributes:
      observations: [K, N, T, O].
      actions: [K, N, T, A]; one-hot for discrete actions.
      advantages: [K, N, T], A_it of the inner policy gradient f_i = sum_t A_it g_it.
      rewards: [K, N, T], whose undiscounted reward-to-go is `advantages` (what DiCE and
        leave-one-out use); in training for lambda = 1 and discounted weights of states alone.
      score_rewards: [K, N, T], discounted rewards without baseline, whose sum estimates V
        (unbiased, emaml).
      mask: [K, N, T], 1 where the step happened, 0 after an episode's end.
      behaviour: the outputs of the policy that acted (see `Policy.outputs`), each [K, N, T, ...].
      weights: [K, N], each row's share in the sample: 1/N when sampled; rows sum to 1.
      sample_size: [], the number of trajectories that the rows stand for.
      left_out: of an outer batch, what each inner trajectory adds to V after adaptation, simulated:
        [K, N_inner]; (), no tensor: not simulated.
    """

    observations: tf.Tensor
    actions: tf.Tensor
    advantages: tf.Tensor
    rewards: tf.Tensor
    score_rewards: tf.Tensor
    mask: tf.Tensor
    behaviour: tuple[tf.Tensor, ...]
    weights: tf.Tensor
    sample_size: tf.Tensor
    left_out: tf.Tensor | tuple[()] = ()


def thinned(batch: Trajectories, stride: int) -> Trajectories:
    """Steps 0, stride, 2 stride, ... of every trajectory, each standing for `stride` steps.

    Advantages and rewards stay those of all steps.
    """

    def kept(x: tf.Tensor) -> tf.Tensor:
        return x[:, :, ::stride]

    return batch._replace(
        observations=kept(batch.observations),
        actions=kept(batch.actions),
        advantages=kept(batch.advantages),
        rewards=kept(batch.rewards),
        score_rewards=kept(batch.score_rewards),
        mask=stride * kept(batch.mask),
        behaviour=tuple(map(kept, batch.behaviour)),
    )


def step_scale(batch: Trajectories, averaging: Averaging) -> tf.Tensor:
    """What turns a mean over trajectories of sums over steps into the chosen average: [K, 1, 1].

    "trajectories": 1, the papers' sum over steps. "steps": 1 / (mean length), the mean over all
    steps that happened, as published code takes it; for equal lengths 1/T, a T times smaller inner
    learning rate.
    """
    if averaging == "trajectories":
        return tf.ones_like(batch.weights[:, :1, None])
    lengths = tf.reduce_sum(batch.mask, axis=-1)
    return 1.0 / tf.reduce_sum(batch.weights * lengths, axis=-1)[:, None, None]


def step_weights(batch: Trajectories, averaging: Averaging) -> tf.Tensor:
    """The weight of every step in the average over the sample: [K, N, T]."""
    return step_scale(batch, averaging) * batch.weights[..., None] * batch.mask
