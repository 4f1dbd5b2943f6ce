"""What published code computes where it differs from its paper: entries `<name>_as_coded`.

Catalogue entries like the others, with their own score weights and, where the code weighs log pi
differently, their own inner loss. Line numbers are those of the files read; `c`, `d_it` as in
`metarl.estimators.catalogue`. What they do to bias, variance and the effective inner learning rate
is measured by `metarl audit exact`.

Deviations in the data rather than in the gradient are no entries: standardized E-MAML rewards (see
`emaml`), a state-dependent baseline subtracted from DiCE's rewards (jonasrothfuss/ProMP
samplers/dice_sample_processor.py:100-109), log pi averaged over action dimensions
(learnables/learn2learn examples/rl/policies.py:96, which divides the inner learning rate by their
number) and a meta learning rate taken for the inner one (examples/rl/promp.py:62).
"""

from functools import partial

import tensorflow as tf

from metarl.estimators.algebra import (
    Estimator,
    InnerStep,
    decayed_sums,
    likelihood_ratio,
    register,
)
from metarl.estimators.catalogue import dice, emaml, lvc, maml
from metarl.policies import Policy
from metarl.trajectories import Trajectories

AS_CODED: list[Estimator] = []
row = partial(register, AS_CODED, suffix="_as_coded")


@row(
    "mean reward / T",
    "jonasrothfuss/ProMP experiments/e_maml_versions/vpg_maml.py",
    counterpart="unbiased",
)
def emaml_sum(step: InnerStep) -> tf.Tensor:
    """N times emaml's, its option `e_maml_sum`, in the function `rollouts_per_meta_task`.

    The mean over steps, and not their sum, keeps it T times smaller than the objective asks for.
    Bias O(1), none with episodes of one step; variance Theta(N), as that of the unbiased estimate.
    """
    return step.batch.sample_size * emaml(step)


@row(
    "c A_it d_it + mean reward / (N T)",
    "jonasrothfuss/ProMP meta_algos/trpo_maml.py:28,144",
    inner_loss=likelihood_ratio,
    counterpart="unbiased",
)
def emaml_likelihood_ratio(step: InnerStep) -> tf.Tensor:
    """emaml's term on top of lvc.

    trpo_maml.py, as vpg_maml.py, takes a likelihood-ratio inner loss unless told otherwise, with
    `exploration` too. Bias O(1), O(1/N) with episodes of one step; variance O(1/N).
    """
    return lvc(step) + emaml(step)


@row(
    "mean outer advantage",
    "kristian-georgiev/SGMRL maml_zoo/meta_algos/vpg_sgmrl.py:170",
    counterpart="unbiased",
)
def sgmrl(step: InnerStep) -> tf.Tensor:
    """The mean advantage where the estimate of V belongs, in the first inner step; 0 in later ones.

    Code of Fallah et al. 2021. With normalized advantages, as its configuration ships, that mean is
    0 and this is maml. Bias O(1), none with episodes of one step; variance Theta(N).
    """
    if not step.first:
        return tf.zeros_like(step.score_products)
    return step.outer.mean_advantage()[:, None, None]


def learn2learn_loss(policy: Policy, parameters: tf.Tensor, batch: Trajectories) -> Trajectories:
    """The inner loss of `learn2learn_dice`: A'_it = sum_{t' >= t} N^-(t'-t) A_it'."""
    advantages = batch.mask * batch.advantages
    return batch._replace(
        advantages=decayed_sums(advantages, 1.0 / batch.sample_size, reverse=True)
    )


@row(
    "c sum_{t'>=t} N^(t-t') A_it' sum_{t''<=t'} N^(t''-t') d_it''",
    "learnables/learn2learn examples/rl/maml_dice.py:58",
    inner_loss=learn2learn_loss,
    counterpart="dice",
)
def learn2learn_dice(step: InnerStep) -> tf.Tensor:
    """The magic box of a cumulative sum whose every step is multiplied by 1/N.

    Around advantages where DiCE has rewards. The inner gradient gains terms of order 1/N. The
    file's cumulative sum (lines 26-29) also starts from the last step of the whole batch, which is
    left out here. Bias O(1), O(1/N) with episodes of one step; variance O(1/N).
    """
    decay = 1.0 / step.sampled.sample_size
    mask = step.sampled.mask
    causes = decayed_sums(mask * step.score_products, decay)
    effects = mask * step.sampled.advantages * causes
    return step.constant * decayed_sums(effects, decay, reverse=True)


def real_share(batch: Trajectories) -> tf.Tensor:
    """The share of the N T steps that happened: [K, 1, 1]."""
    lengths = tf.reduce_sum(batch.mask, axis=-1)
    return tf.reduce_sum(batch.weights * lengths, axis=-1)[:, None, None] / batch.mask.shape[-1]


def padded_loss(policy: Policy, parameters: tf.Tensor, batch: Trajectories) -> Trajectories:
    """The inner loss of `promp_dice`: a mean over N T steps of which some never happened."""
    rewards = real_share(batch) * batch.mask * batch.rewards
    return batch._replace(rewards=rewards, advantages=tf.cumsum(rewards, axis=-1, reverse=True))


def padded_outer_loss(policy: Policy, parameters: tf.Tensor, batch: Trajectories) -> Trajectories:
    """The outer loss of `promp_dice`, over padding as well."""
    return batch._replace(advantages=real_share(batch) * batch.advantages)


@row(
    "dice's, averaged over padding too",
    "jonasrothfuss/ProMP meta_algos/dice_maml.py:46",
    inner_loss=padded_loss,
    outer_loss=padded_outer_loss,
    counterpart="dice",
)
def promp_dice(step: InnerStep) -> tf.Tensor:
    """dice on smaller gradients, inner and outer.

    Bias O(1/N) as dice's, O(1) with episodes of unequal length; variance O(1/N).
    """
    return dice(step)


def trajectory_mean_loss(
    policy: Policy, parameters: tf.Tensor, batch: Trajectories
) -> Trajectories:
    """Both losses of `pytorch_maml_rl`: the mean over trajectories of means over their steps."""
    lengths = tf.reduce_sum(batch.mask, axis=-1, keepdims=True)
    mean_length = tf.reduce_sum(batch.weights[..., None] * lengths, axis=1, keepdims=True)
    return batch._replace(advantages=batch.advantages * mean_length / lengths)


@row(
    "0, means over each trajectory first",
    "tristandeleu/pytorch-maml-rl maml_rl/utils/torch_utils.py:7",
    inner_loss=trajectory_mean_loss,
    outer_loss=trajectory_mean_loss,
    counterpart="maml",
)
def pytorch_maml_rl(step: InnerStep) -> tf.Tensor:
    """maml whose losses weigh every trajectory alike, however long. Bias O(1), variance O(1/N)."""
    return maml(step)
