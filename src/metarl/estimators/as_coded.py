"""What published code computes where it differs from its paper: entries `<name>_as_coded`.

Each is a catalogue entry like the others, with its own score weights and, where the code weighs log pi differently,
its own inner loss. Line numbers are those of the files read; `c`, `d_it` as in `metarl.estimators.catalogue`. What they do
to bias, variance and the effective inner learning rate is measured by `metarl audit exact`.

Deviations in the data rather than in the gradient are no entries: standardized E-MAML rewards (see `emaml`), a
state-dependent baseline subtracted from DiCE's rewards (jonasrothfuss/ProMP samplers/dice_sample_processor.py:100-109), log pi
averaged over action dimensions (learnables/learn2learn examples/rl/policies.py:96, which divides the inner learning rate
by their number) and a meta learning rate taken for the inner one (examples/rl/promp.py:62).
"""

import tensorflow as tf

from metarl.estimators.algebra import Estimator, InnerStep, decayed_sums, likelihood_ratio
from metarl.estimators.catalogue import dice, emaml, lvc, maml
from metarl.policies import Policy
from metarl.trajectories import Trajectories, step_weights


def emaml_sum(step: InnerStep) -> tf.Tensor:
    """W_it = mean reward / T: N times emaml's, its option `e_maml_sum`.

    jonasrothfuss/ProMP experiments/e_maml_versions/vpg_maml.py, `rollouts_per_meta_task`: the mean over steps, and not their sum, keeps it T
    times smaller than the objective asks for. Variance Theta(N), as that of the unbiased estimate.
    """
    return step.batch.sample_size * emaml(step)


def emaml_likelihood_ratio(step: InnerStep) -> tf.Tensor:
    """W_it = c A_it d_it + mean reward / (N T): emaml's term on top of lvc.

    jonasrothfuss/ProMP meta_algos/vpg_maml.py and trpo_maml.py take a likelihood-ratio inner loss unless told otherwise
    (trpo_maml.py:28), with `exploration` too.
    """
    return lvc(step) + emaml(step)


def sgmrl(step: InnerStep) -> tf.Tensor:
    """W_it = mean outer advantage in the first inner step, else 0.

    Fallah et al. 2021, kristian-georgiev/SGMRL maml_zoo/meta_algos/vpg_sgmrl.py:170: the mean advantage stands where the
    estimate of V belongs. With normalized advantages, as its configuration ships, that mean is 0 and this is maml.
    """
    if not step.first:
        return tf.zeros_like(step.score_products)
    outer = step.outer_batch
    mean = tf.reduce_sum(step_weights(outer, "steps") * outer.advantages, axis=[1, 2])
    return mean[:, None, None]


def learn2learn_loss(policy: Policy, parameters: tf.Tensor, batch: Trajectories) -> Trajectories:
    """The inner loss of `learn2learn_dice`: A'_it = sum_{t' >= t} N^-(t'-t) A_it'."""
    advantages = batch.mask * batch.advantages
    return batch._replace(
        advantages=decayed_sums(advantages, 1.0 / batch.sample_size, reverse=True)
    )


def learn2learn_dice(step: InnerStep) -> tf.Tensor:
    """W_it = c sum_{t' >= t} l^(t'-t) A_it' sum_{t'' <= t'} l^(t'-t'') d_it'', l = 1/N.

    learnables/learn2learn examples/rl/maml_dice.py:58-60: the magic box of a cumulative sum whose every step is multiplied
    by 1/N, around advantages where DiCE has rewards. The inner gradient gains terms of order 1/N. The file's
    cumulative sum (lines 26-29) also starts from the last step of the whole batch, which is left out here.
    """
    decay = 1.0 / step.sampled.sample_size
    mask = step.sampled.mask
    causes = decayed_sums(mask * step.score_products, decay)
    effects = mask * step.sampled.advantages * causes
    return step.constant * decayed_sums(effects, decay, reverse=True)


def padded_loss(policy: Policy, parameters: tf.Tensor, batch: Trajectories) -> Trajectories:
    """The inner loss of `promp_dice`: a mean over N T steps of which some never happened."""
    lengths = tf.reduce_sum(batch.mask, axis=-1)
    share = tf.reduce_sum(batch.weights * lengths, axis=-1)[:, None, None] / batch.mask.shape[-1]
    rewards = share * batch.mask * batch.rewards
    return batch._replace(rewards=rewards, advantages=tf.cumsum(rewards, axis=-1, reverse=True))


def trajectory_mean_loss(
    policy: Policy, parameters: tf.Tensor, batch: Trajectories
) -> Trajectories:
    """The inner loss of `pytorch_maml_rl`: a mean over each trajectory's T_i steps, then over trajectories."""
    lengths = tf.reduce_sum(batch.mask, axis=-1, keepdims=True)
    mean_length = tf.reduce_sum(batch.weights[..., None] * lengths, axis=1, keepdims=True)
    return batch._replace(advantages=batch.advantages * mean_length / lengths)


AS_CODED = (
    Estimator(
        "emaml_sum_as_coded",
        emaml_sum,
        "mean reward / T",
        "jonasrothfuss/ProMP experiments/e_maml_versions/vpg_maml.py",
        counterpart="unbiased",
    ),
    Estimator(
        "emaml_likelihood_ratio_as_coded",
        emaml_likelihood_ratio,
        "c A_it d_it + mean reward / (N T)",
        "jonasrothfuss/ProMP meta_algos/trpo_maml.py:28,144",
        likelihood_ratio,
        counterpart="unbiased",
    ),
    Estimator(
        "sgmrl_as_coded",
        sgmrl,
        "mean outer advantage",
        "kristian-georgiev/SGMRL maml_zoo/meta_algos/vpg_sgmrl.py:170",
        counterpart="unbiased",
    ),
    Estimator(
        "learn2learn_dice_as_coded",
        learn2learn_dice,
        "c sum_{t'>=t} N^(t-t') A_it' sum_{t''<=t'} N^(t''-t') d_it''",
        "learnables/learn2learn examples/rl/maml_dice.py:58",
        learn2learn_loss,
        counterpart="dice",
    ),
    Estimator(
        "promp_dice_as_coded",
        dice,
        "dice's, averaged over padding too",
        "jonasrothfuss/ProMP meta_algos/dice_maml.py:46",
        padded_loss,
        counterpart="dice",
    ),
    Estimator(
        "pytorch_maml_rl_as_coded",
        maml,
        "0, inner mean over each trajectory first",
        "tristandeleu/pytorch-maml-rl maml_rl/utils/torch_utils.py:7",
        trajectory_mean_loss,
        counterpart="maml",
    ),
)
