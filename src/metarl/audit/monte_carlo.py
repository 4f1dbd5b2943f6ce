"""The Monte Carlo audit: random tabular processes, too large to enumerate, with sampled batches.

Every replicate draws N inner trajectories X ~ p_theta and, independently of each other, two outer
batches Y, Y' ~ p_theta' of a fixed size, which does not grow with N. All estimators see the same
draws; `metarl.audit.sampled` has the statistics.

Rewards are discounted by their time step and advantages are their plain rewards-to-go: no baseline
is fitted, f_i depends on X_i alone, and leave_one_out is an unbiased reference. Everything is
float64.
"""

import dataclasses
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from metarl import checkpoints
from metarl.adaptation import adapt
from metarl.audit import sampled
from metarl.audit.settings import MonteCarloSettings
from metarl.estimators import Estimator, estimator, meta_gradient
from metarl.estimators.algebra import inner_chain, trajectory_shares
from metarl.outer_values import Sampled, Totals
from metarl.policies import TabularSoftmaxPolicy
from metarl.randomness import generator
from metarl.settings import InnerSettings
from metarl.storage import require_writable
from metarl.trajectories import Trajectories

# Tang et al. 2021, robintyh1/neurips2021-meta-gradient-offpolicy-evaluation main.py:42-47: sizes,
# discount, Dirichlet concentration (transitions are nearly deterministic), mean rewards uniform in
# [0, 1], first state 0, no reward noise.
STATES, ACTIONS, HORIZON, DISCOUNT, CONCENTRATION = 20, 5, 20, 0.8, 0.001
INNER_LEARNING_RATE = 2.0  # ours: theta' gains about a tenth of V, so that adaptation matters
CHUNK = 32  # replicates a compiled call: one shape means one compilation for each N


class MDP(NamedTuple):
    """A Markov decision process from state 0 over T steps, and the policy audited on it.

    Arrays alone, so that compiled functions take it as an argument and serve every instance. All
    float64.

    Attributes:
      transitions: probabilities of the next state, [S, A, S].
      rewards: of each state and action, [S, A].
      discounts: gamma^t, what a reward counts at step t, [T].
      parameters: theta, logits of a tabular softmax, [P], P = S * A.
      inner_learning_rate: eta, on sums over steps, [].
    """

    transitions: np.ndarray | tf.Tensor
    rewards: np.ndarray | tf.Tensor
    discounts: np.ndarray | tf.Tensor
    parameters: np.ndarray | tf.Tensor
    inner_learning_rate: np.ndarray | tf.Tensor

    @property
    def policy(self) -> TabularSoftmaxPolicy:
        return TabularSoftmaxPolicy(*self.rewards.shape)

    @property
    def inner(self) -> InnerSettings:
        return InnerSettings(self.inner_learning_rate, "trajectories")


def random_mdp(number: int) -> MDP:
    """Instance `number`: its transitions, its rewards and its standard normal logits."""
    draw = generator(number, "random mdp")
    return MDP(
        transitions=draw.dirichlet(np.full(STATES, CONCENTRATION), (STATES, ACTIONS)),
        rewards=draw.uniform(size=(STATES, ACTIONS)),
        discounts=DISCOUNT ** np.arange(HORIZON),
        parameters=draw.normal(size=STATES * ACTIONS),
        inner_learning_rate=np.array(INNER_LEARNING_RATE),
    )


def totals(mdp: MDP, parameters: tf.Tensor) -> Totals:
    """V and the like at parameters [K, P], exact."""
    rewards = mdp.discounts[:, None, None] * mdp.rewards
    # a reward is in the reward-to-go of every step up to its own
    rewards_to_go = np.arange(1.0, rewards.shape[0] + 1)[:, None, None] * rewards
    gains = (rewards, rewards_to_go, tf.ones_like(rewards))
    return Totals(*(expected_sum(mdp, parameters, gain) for gain in gains))


def expected_sum(mdp: MDP, parameters: tf.Tensor, gains: tf.Tensor) -> tf.Tensor:
    """E sum_t gains[t, s_t, a_t] under parameters [K, P], gains [T, S, A]: [K].

    By dynamic programming from the last step to the first.
    """
    probabilities = tf.nn.softmax(tf.reshape(parameters, [-1, *mdp.rewards.shape]))
    values = tf.zeros_like(probabilities[..., 0])  # [K, S], what is still to come
    for step in reversed(range(gains.shape[0])):
        following = tf.einsum("sax,kx->ksa", mdp.transitions, values)
        values = tf.reduce_sum(probabilities * (gains[step] + following), axis=-1)
    return values[:, 0]


def value_baseline(mdp: MDP) -> tf.Tensor:
    """b []: V after the expected inner update theta + eta grad V(theta), which no sample enters.

    It is E V(theta') up to O(1/N).
    """
    parameters = tf.constant(mdp.parameters[None])
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        values = totals(mdp, parameters).reward
    expected = parameters + mdp.inner_learning_rate * tape.gradient(values, parameters)
    return totals(mdp, expected).reward[0]


def sample(mdp: MDP, parameters: np.ndarray, uniforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Trajectories of every task's policy, by inversion of cumulative probabilities.

    Args:
      mdp: the process, in NumPy arrays.
      parameters: [K, P].
      uniforms: [K, N, T, 2] in [0, 1): for each step's action and next state.

    Returns:
      States and actions, int64 [K, N, T].
    """
    weights = np.exp(parameters.reshape(-1, *mdp.rewards.shape))
    cumulated = np.cumsum(weights / weights.sum(axis=-1, keepdims=True), axis=-1)
    # without the last edge, which rounding may leave below 1
    action_edges, state_edges = cumulated[..., :-1], np.cumsum(mdp.transitions, axis=-1)[..., :-1]
    tasks = np.arange(len(parameters))[:, None]
    states, actions = np.zeros((2, *uniforms.shape[:-1]), int)
    state = states[..., 0]
    for t in range(uniforms.shape[2]):
        draws = uniforms[:, :, t, :, None]
        action = np.sum(draws[:, :, 0] >= action_edges[tasks, state], axis=-1)
        states[..., t], actions[..., t] = state, action
        state = np.sum(draws[:, :, 1] >= state_edges[state, action], axis=-1)
    return states, actions


def trajectories(
    mdp: MDP, parameters: tf.Tensor, states: tf.Tensor, actions: tf.Tensor
) -> Trajectories:
    """The batch of `states` and `actions` [K, N, T], sampled under `parameters` [K, P]."""
    tasks, count, _ = states.shape
    observations = tf.one_hot(states, mdp.policy.states, dtype=tf.float64)
    rewards = mdp.discounts * tf.gather_nd(mdp.rewards, tf.stack([states, actions], axis=-1))
    return Trajectories(
        observations=observations,
        actions=tf.one_hot(actions, mdp.policy.actions, dtype=tf.float64),
        advantages=tf.cumsum(rewards, axis=-1, reverse=True),
        rewards=rewards,
        score_rewards=rewards,
        mask=tf.ones_like(rewards),
        behaviour=mdp.policy.outputs(parameters, observations),
        weights=tf.fill([tasks, count], tf.constant(1.0 / count, tf.float64)),
        sample_size=tf.constant(float(count), tf.float64),
    )


class MonteCarlo:
    """The compiled functions of estimators with one inner loss, so with one theta'.

    They compile once for each N and outer sample size, and serve every instance.

    Args:
      entries: the estimators; they share their inner loss.
    """

    def __init__(self, entries: Sequence[Estimator]):
        self.entries = entries
        self.adapted = tf.function(self._adapted, jit_compile=True, autograph=False)
        self.gradients = tf.function(self._gradients, jit_compile=True, autograph=False)

    def _inner(self, mdp: MDP, states: tf.Tensor, actions: tf.Tensor):
        """The pre-update batch, and theta [K, P] before and after the inner step."""
        before = tf.repeat(mdp.parameters[None], states.shape[0], axis=0)
        batch = trajectories(mdp, before, states, actions)
        (_, after), _ = inner_chain(mdp.policy, self.entries[0], before, [batch], mdp.inner)
        return batch, before, after

    def _adapted(self, mdp: MDP, states: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        """theta' [K, P] of inner samples [K, N, T]."""
        return self._inner(mdp, states, actions)[-1]

    def _gradients(
        self, mdp: MDP, inner: Sequence[tf.Tensor], outer: Sequence[tf.Tensor], baseline: tf.Tensor
    ) -> list[tf.Tensor]:
        """g_hat [K, P] of every estimator, from inner and outer states and actions [K, N, T]."""
        batch, before, after = self._inner(mdp, *inner)
        outer_values = partial(
            Sampled, mdp.policy, trajectories(mdp, after, *outer), "trajectories", None
        )
        baselines = tf.fill(before.shape[:1], baseline)

        return [
            meta_gradient(
                mdp.policy,
                entry,
                before,
                [batch],
                mdp.inner,
                outer_values,
                value_baseline=baselines,
            )
            for entry in self.entries
        ]


@tf.function(jit_compile=True, autograph=False)
def reference_sample_sizes(
    mdp: MDP, inner: Sequence[tf.Tensor], outer: Sequence[tf.Tensor]
) -> tf.Tensor:
    """leave_one_out's effective sample size, the smallest over left-out trajectories: [K]."""
    before = tf.repeat(mdp.parameters[None], inner[0].shape[0], axis=0)
    batch = trajectories(mdp, before, *inner)
    after = adapt(mdp.policy, before, batch, mdp.inner)
    outer_batch = trajectories(mdp, after, *outer)
    values = Sampled(mdp.policy, outer_batch, "trajectories", None, after)
    return values.effective_sample_size(trajectory_shares(mdp.policy, before, batch, mdp.inner))


class Run:
    """The audit of some estimators, at any instance and N.

    Args:
      settings: of the run.

    Raises:
      InputError: an unknown estimator.
    """

    def __init__(self, settings: MonteCarloSettings):
        self.settings = settings
        by_loss = {}
        for name in dict.fromkeys((sampled.REFERENCE, sampled.LINEARIZED, *settings.estimators)):
            entry = estimator(name)
            by_loss.setdefault(entry.inner_loss, []).append(entry)
        self.groups = [MonteCarlo(entries) for entries in by_loss.values()]

    def gradients(self, number: int, sample_size: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """g_hat [2, R, P] of every estimator, and effective sample sizes of the first replicates.

        A replicate's draws depend on seed, instance, N and its chunk alone: more replicates leave
        the first ones as they are.
        """
        replicates, outer_size = self.settings.replicates, self.settings.outer_sample_size
        mdp = random_mdp(number)
        baseline = value_baseline(mdp)
        start = np.repeat(mdp.parameters[None], CHUNK, axis=0)
        collected = {entry.name: [] for group in self.groups for entry in group.entries}
        for chunk in range(math.ceil(replicates / CHUNK)):
            draw = generator(self.settings.seed, "monte carlo", number, sample_size, chunk)
            inner = sample(mdp, start, draw.uniform(size=(CHUNK, sample_size, HORIZON, 2)))
            uniforms = draw.uniform(size=(2, CHUNK, outer_size, HORIZON, 2))
            for group in self.groups:
                after = group.adapted(mdp, *inner).numpy()
                halves = [
                    group.gradients(mdp, inner, sample(mdp, after, half), baseline)
                    for half in uniforms
                ]
                for entry, *pair in zip(group.entries, *halves, strict=True):
                    collected[entry.name].append(np.stack(pair))
            if chunk == 0:
                after = self.groups[0].adapted(mdp, *inner).numpy()
                sizes = reference_sample_sizes(mdp, inner, sample(mdp, after, uniforms[0]))
        gradients = {
            name: np.concatenate(parts, axis=1)[:, :replicates] for name, parts in collected.items()
        }
        return gradients, sizes.numpy()[:replicates]

    def rows(self, problem: str, number: int, sample_size: int) -> list[dict]:
        """The rows of `columns.SAMPLED` at one instance and N.

        Raises:
          RunError: an estimate is not finite.
        """
        gradients, sizes = self.gradients(number, sample_size)
        keys = {
            "level": "monte_carlo",
            "problem": problem,
            "sample_size": sample_size,
            "replicates": self.settings.replicates,
            "outer_sample_size": self.settings.outer_sample_size,
        }
        return sampled.rows(
            keys,
            self.settings.estimators,
            gradients,
            float(sizes.mean()),
            generator(self.settings.seed, "monte carlo bootstrap", number, sample_size),
            confidence=self.settings.confidence,
        )


def audit(settings: MonteCarloSettings, checkpoint_folder: Path, output: Path) -> None:
    """Audits random instances; writes a tidy parquet, a row an instance, estimator and N.

    Args:
      settings: instances, estimators, sample sizes, replicates, outer sample size, seed,
        confidence.
      checkpoint_folder: where finished instances and N are kept; an audit that was interrupted goes
        on from there.
      output: parquet file with `columns.SAMPLED`; effective_sample_size is that of leave_one_out's
        importance weights, at most outer_sample_size, the smallest over left-out trajectories,
        averaged over replicates.

    Raises:
      InputError: an unknown estimator or a path that cannot be written; nothing is written.
      RunError: an estimate is not finite; what was finished stays in the checkpoint.
    """
    require_writable(output, checkpoint_folder / "checkpoint.npz")
    run = Run(settings)
    described = dataclasses.asdict(settings)
    checkpoint = checkpoints.keyed_path(
        checkpoint_folder, described, ["metarl.audit.monte_carlo"], settings.estimators
    )
    units = [
        (f"random_mdp_{number}", number, size)
        for size in sorted(settings.sample_sizes)
        for number in settings.instances
    ]
    costs = [size for *_, size in units]
    sampled.audit_units(units, costs, run.rows, checkpoint, described, output)
