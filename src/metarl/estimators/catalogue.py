"""The rows of the catalogue: a pure function from an inner step to its score weights W [K, N, T].

Notation: c is the inner averaging constant (eta / N for sums over steps, eta / (N T) for means),
d_it = g_it . v, A_it the advantage, r_it the reward, theta'_{-i} the update without trajectory i.
The rates named below are those of the exact audit for a smooth V (`metarl audit exact`); bias is
against grad J_N, J_N(theta) = E[V(theta')].
"""

from functools import partial

import tensorflow as tf

from metarl.estimators.algebra import (
    Estimator,
    InnerStep,
    decayed_sums,
    likelihood_ratio,
    register,
    rewards_to_go,
)

ROWS: list[Estimator] = []
row = partial(register, ROWS)

# ours: the paper leaves it to the user, its demonstration takes 1 (dice) and 0 (lvc)
LOADED_DICE_DECAY = 0.9


@row("drops the inner Jacobian", "Finn 2017, Nichol 2018", inner_jacobian=False)
def fomaml(step: InnerStep) -> tf.Tensor:
    """First-order MAML: W = 0 too: g_hat = v, as if theta' were no function of theta.

    Bias O(1), variance O(1/N).
    """
    return tf.zeros_like(step.score_products)


@row("0", "Finn 2017 as coded")
def maml(step: InnerStep) -> tf.Tensor:
    """The sampled score of the data-collecting policy is ignored.

    Autodiff through the log-likelihood inner loss. Bias O(1), variance O(1/N).
    """
    return tf.zeros_like(step.score_products)


@row("c A_it d_it", "Rothfuss 2019, ProMP's first step", inner_loss=likelihood_ratio)
def lvc(step: InnerStep) -> tf.Tensor:
    """The cross term of a step with itself: autodiff through the likelihood-ratio inner loss.

    Section 4 of its paper. Has lsf's mean where no other step's score correlates with A_it d_it;
    else a bias floor. Variance O(1/N).
    """
    return step.constant * step.batch.advantages * step.score_products


@row("c sum_{t'>=t} r_it' sum_{t''<=t'} d_it''", "Foerster 2018", inner_loss=rewards_to_go)
def dice(step: InnerStep) -> tf.Tensor:
    """Every reward with all scores that could cause it.

    Eq. 6 of its paper (the magic box). Bias O(1/N), variance O(1/N).
    """
    mask = step.batch.mask
    causes = tf.cumsum(mask * step.score_products, axis=-1)
    return step.constant * tf.cumsum(mask * step.batch.rewards * causes, axis=-1, reverse=True)


@row("c (A_it sum_{t'<=t} l^(t-t') d_it' + sum_{t'>t} l^(t'-t) A_it' d_it')", "Farquhar 2019")
def loaded_dice(step: InnerStep) -> tf.Tensor:
    """dice with advantages for rewards and causal dependencies discounted by l = LOADED_DICE_DECAY.

    Eq. 12 of its paper. l = 1 is dice where advantages are rewards-to-go, l = 0 is lvc. Bias a
    floor that grows with 1 - l where states are revisited, else O(1/N); variance O(1/N).
    """
    return loaded_dice_weights(step, LOADED_DICE_DECAY)


def loaded_dice_weights(step: InnerStep, decay: float) -> tf.Tensor:
    """W of `loaded_dice` for any decay in [0, 1]: [K, N, T]."""
    products = step.batch.mask * step.score_products
    weighted = step.batch.advantages * products
    earlier = step.batch.advantages * decayed_sums(products, decay)
    later = decayed_sums(weighted, decay, reverse=True) - weighted
    return step.constant * (earlier + later)


@row(
    "dice - c (b_it sum_{t'<t} d_it' + sum_{t'>t} b_it' d_it')",
    "Liu 2019",
    inner_loss=rewards_to_go,
)
def tmaml(step: InnerStep) -> tf.Tensor:
    """Taming MAML: dice minus a control variate, b = reward-to-go - advantage.

    The variate is sum_t (1 - prod_{t' < t} rho_t') (1 - rho_t) b(s_t), whose value and gradient are
    0 and whose Hessian has mean 0, with rho = pi / stop(pi). The baseline b is whatever lies
    between the rewards-to-go and the advantages given; where nothing does, it is dice. Bias O(1/N),
    variance O(1/N).
    """
    baselines = step.batch.advantages - step.sampled.advantages
    products = step.batch.mask * step.score_products
    earlier = baselines * tf.cumsum(products, axis=-1, exclusive=True)
    later = tf.cumsum(baselines * products, axis=-1, exclusive=True, reverse=True)
    return dice(step) - step.constant * (earlier + later)


@row("c sum_t' A_it' d_it'", "Tang 2022")
def lsf(step: InnerStep) -> tf.Tensor:
    """The score-function term with V(theta') linearized in theta': (eta / N) f_i . v for all t.

    Bias O(1/N), variance O(1/N).
    """
    products = step.batch.mask * step.batch.advantages * step.score_products
    return step.constant * tf.reduce_sum(products, axis=-1, keepdims=True)


@row("V_hat(theta')", "Fallah 2021, E-MAML as derived")
def unbiased(step: InnerStep) -> tf.Tensor:
    """The score-function term as it stands.

    SG-MRL; E-MAML as Stadie et al. 2018 derive it. No bias, variance Theta(N).
    """
    return step.outer.value()[:, None, None]


@row("V_hat(theta') - b", "Fallah 2021 with a baseline")
def unbiased_baseline(step: InnerStep) -> tf.Tensor:
    """The baseline b, ours, is independent of the task's sample.

    No bias, variance O(1) for b near E V(theta').
    """
    values = step.outer.value()
    baseline = other_tasks_mean(values) if step.value_baseline is None else step.value_baseline
    return (values - baseline)[:, None, None]


def other_tasks_mean(values: tf.Tensor) -> tf.Tensor:
    """The mean over the other tasks, [K] from [K]: independent of a task's own sample.

    0 for a single task.
    """
    return (tf.reduce_sum(values) - values) / max(values.shape[0] - 1, 1)


@row("mean reward / (N T)", "Stadie 2018 as coded in jonasrothfuss/ProMP")
def emaml(step: InnerStep) -> tf.Tensor:
    """Mean outer reward times mean log pi, in the first inner step; W = 0 in later ones.

    meta_policy_search/meta_algos/trpo_maml.py:144: N T times smaller than the sum that E-MAML's
    objective asks for (its paper's own estimate is `unbiased`), and only the first inner step's
    log pi. Rewards are there standardized over all tasks
    (samplers/meta_sample_processor.py:40-44), which takes away a constant and divides by a scale.
    Bias O(1), variance O(1/N).
    """
    if not step.first:
        return tf.zeros_like(step.score_products)
    lengths = tf.reduce_sum(step.batch.mask, axis=-1)
    steps = step.batch.sample_size * tf.reduce_sum(step.batch.weights * lengths, axis=-1)
    return (step.outer.mean_reward() / steps)[:, None, None]


@row("V_hat(theta') - V_hat(theta'_{-i})", "ours")
def leave_one_out(step: InnerStep) -> tf.Tensor:
    """What trajectory i adds to the value, the same for all t. No bias, variance O(1/N).

    theta'_{-i} does not depend on X_i, so E[V(theta'_{-i}) s_i] = 0, and the difference is O(1/N);
    lsf is its first-order Taylor expansion. V_hat(theta') and V_hat(theta'_{-i}) share their outer
    randomness. Assumes that f_i depends on X_i alone. A baseline fitted on the same batch breaks
    that at O(1/N). A scale or a divisor taken from the same batch (normalized advantages; the mean
    over steps where lengths differ) breaks it at O(1): as N grows, theta' depends on theta through
    that scale too, and no row of this catalogue differentiates it (`metarl audit exact --problem
    stopping`).
    Of several inner steps it is this in the last one. Before that, later data depend on X_i too and
    no value without X_i is at hand: there it takes lsf's weights, and errs by O(1/N) as lsf does.
    """
    if not step.last:
        return lsf(step)
    return tf.transpose(step.outer.differences(step.shares()))[..., None]


@row("c f_i . v - (c f_i)^T (grad^2 V_hat) (c f_i) / 2", "ours")
def lsf2(step: InnerStep) -> tf.Tensor:
    """The second-order Taylor expansion of leave_one_out's difference, the same for all t.

    Where lsf is the first-order one. Bias O(1/N^2), variance O(1/N). V_hat and what it assumes are
    leave_one_out's; derivatives at theta' do not degenerate as importance weights do. Before the
    last of several inner steps it takes lsf's weights.
    """
    if not step.last:
        return lsf(step)
    return lsf(step) - 0.5 * tf.transpose(step.outer.curvatures(step.shares()))[..., None]
