"""The Monte Carlo audit: random tabular processes, too large to enumerate, with exact outer values.

Every replicate draws N inner trajectories X ~ p_theta; all estimators see the same. V, grad V and
V(theta'_{-i}) come from dynamic programming (`metarl.outer_values.ClosedForm`), so that the inner
sampling, which the rates in N are about, is the only noise, and leave_one_out is an unbiased
reference without importance weights. `metarl.audit.sampled` has the statistics.

Practice does not have exact values. The variance that it has is measured beside, on some of the
replicates: with one outer batch of N trajectories Y ~ p_theta'.

Rewards are discounted by their time step and advantages are their plain rewards-to-go: no baseline
is fitted, f_i depends on X_i alone. Everything is float64.
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
from metarl.audit import sampled
from metarl.audit.memory import require_monte_carlo
from metarl.audit.settings import ACTIONS, HORIZON, STATES, MonteCarloSettings
from metarl.estimators import Estimator, compiled_estimator, meta_gradient
from metarl.estimators.algebra import inner_chain, trajectory_shares
from metarl.outer_values import ClosedForm, Loss, OuterValues, Sampled, Totals
from metarl.policies import TabularSoftmaxPolicy
from metarl.randomness import generator
from metarl.settings import InnerSettings
from metarl.storage import require_writable
from metarl.trajectories import Trajectories

# Tang et al. 2021, robintyh1/neurips2021-meta-gradient-offpolicy-evaluation main.py:42-47: sizes
# (STATES, ACTIONS, HORIZON), discount, Dirichlet concentration (transitions are nearly
# deterministic), mean rewards uniform in [0, 1], first state 0, no reward noise.
DISCOUNT, CONCENTRATION = 0.8, 0.001
INNER_LEARNING_RATE = 2.0  # ours: theta' gains about a tenth of V, so that adaptation matters
CHUNK = 32  # replicates a compiled call, at most: one shape means one compilation for each N
ROWS = 2048  # trajectories a compiled call, where N allows: each has a theta' - share of its own


class TablePolicy(TabularSoftmaxPolicy):
    """The same, for K rows of parameters; looks states up in the table.

    Where N T is in the thousands, sums of products with one-hot rows take several times as long.
    """

    def _rows(self, parameters: tf.Tensor, observations: tf.Tensor) -> tf.Tensor:
        table = tf.reshape(parameters, [-1, self.states, self.actions])
        return tf.gather(table, tf.argmax(observations, axis=-1), batch_dims=1)


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
    def policy(self) -> TablePolicy:
        return TablePolicy(*self.rewards.shape)

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
    transitions = tf.reshape(mdp.transitions, [-1, mdp.rewards.shape[0]])  # [S * A, S]
    values = tf.zeros_like(probabilities[..., 0])  # [K, S], what is still to come
    # Unrolled: of a loop's second derivatives XLA compiles a new program for every batch.
    for gain in reversed(tf.unstack(gains)):
        following = tf.matmul(values, transitions, transpose_b=True)
        following = tf.reshape(following, probabilities.shape)
        values = tf.reduce_sum(probabilities * (gain + following), axis=-1)
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
    count = states.shape[1]
    # all 1, and yet no constant, of which XLA would compute sums while it compiles, slowly
    mask = tf.cast(tf.convert_to_tensor(states) >= 0, tf.float64)
    observations = tf.one_hot(states, mdp.policy.states, dtype=tf.float64)
    rewards = mdp.discounts * tf.gather_nd(mdp.rewards, tf.stack([states, actions], axis=-1))
    return Trajectories(
        observations=observations,
        actions=tf.one_hot(actions, mdp.policy.actions, dtype=tf.float64),
        advantages=tf.cumsum(rewards, axis=-1, reverse=True),
        rewards=rewards,
        score_rewards=rewards,
        mask=mask,
        behaviour=mdp.policy.outputs(parameters, observations),
        weights=mask[..., 0] / count,
        sample_size=tf.constant(float(count), tf.float64),
    )


class Answers(NamedTuple):
    """Answers of an `OuterValues` at theta' [K, P] and at the shares of its own trajectories.

    They are computed once for all estimators with that theta', which ask for nothing else.

    Attributes:
      at: value, mean_reward and mean_advantage, [K], as far as they are needed.
      direction: grad V_hat, [K, P].
      around: differences and curvatures, [N, K], likewise.
    """

    at: dict[str, tf.Tensor]
    direction: tf.Tensor
    around: dict[str, tf.Tensor]

    def value(self) -> tf.Tensor:
        return self.at["value"]

    def gradient(self, loss: Loss) -> tf.Tensor:
        """The average is over trajectories: no loss changes it."""
        return self.direction

    def differences(self, shares: tf.Tensor) -> tf.Tensor:
        return self.around["differences"]

    def curvatures(self, shares: tf.Tensor) -> tf.Tensor:
        return self.around["curvatures"]

    def mean_reward(self) -> tf.Tensor:
        return self.at["mean_reward"]

    def mean_advantage(self) -> tf.Tensor:
        return self.at["mean_advantage"]


AT, AROUND = ("value", "mean_reward", "mean_advantage"), ("differences", "curvatures")


class Asked(dict):
    """Notes the questions that estimators ask: answers anything, and keeps the question."""

    def __init__(self, answer: tf.Tensor):
        super().__init__()
        self.answer = answer

    def __missing__(self, question: str) -> tf.Tensor:
        self[question] = self.answer
        return self.answer


def questions(entry: Estimator) -> set[str]:
    """Of AT and AROUND, what the estimator asks for, found by calling it on a tiny sample."""
    mdp = random_mdp(0)
    parameters, nowhere = tf.constant(mdp.parameters[None]), np.zeros((1, 1, HORIZON), int)
    batch = trajectories(mdp, parameters, nowhere, nowhere)
    at, around = Asked(tf.zeros([1], tf.float64)), Asked(tf.zeros([1, 1], tf.float64))
    answers = Answers(at, tf.zeros_like(parameters), around)
    meta_gradient(mdp.policy, entry, parameters, [batch], mdp.inner, lambda _: answers, at.answer)
    return {*at, *around}


class MonteCarlo:
    """The compiled functions of estimators with one inner loss, so with one theta'.

    They compile once for each N and serve every instance.

    Args:
      entries: the estimators; they share their inner loss.
    """

    def __init__(self, entries: Sequence[Estimator]):
        self.entries = entries
        asked = [questions(entry) for entry in entries]
        self.questions = set().union(*asked)
        # Curvatures of a batch cost more than all the rest, and practice has no use for them.
        self.practical_names = [
            entry.name
            for entry, names in zip(entries, asked, strict=True)
            if "curvatures" not in names
        ]
        self.adapted, self.exact, self.sampled, self.estimates = (
            tf.function(function, jit_compile=True, autograph=False)
            for function in (self._adapted, self._exact, self._sampled, self._estimates)
        )

    def gradients(
        self, mdp: MDP, inner: Sequence[tf.Tensor], baseline: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """g_hat [K, P] of every estimator with exact outer values.

        Args:
          mdp: the process.
          inner: states and actions, [K, N, T] each.
          baseline: b [], see `value_baseline`.
        """
        estimates = self.estimates(mdp, inner, self.exact(mdp, inner), baseline)
        return {entry.name: x for entry, x in zip(self.entries, estimates, strict=True)}

    def practical(
        self, mdp: MDP, inner: Sequence[tf.Tensor], outer: Sequence[tf.Tensor], baseline: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """The same with the values of an outer batch, states and actions [K, M, T].

        Estimators that ask for curvatures are left out.
        """
        estimates = self.estimates(mdp, inner, self.sampled(mdp, inner, outer), baseline)
        by_name = {entry.name: x for entry, x in zip(self.entries, estimates, strict=True)}
        return {name: by_name[name] for name in self.practical_names}

    def _inner(self, mdp: MDP, states: tf.Tensor, actions: tf.Tensor):
        """The pre-update batch as sampled and as the loss sees it; theta [K, P] before and after.

        The step between them is the inner step.
        """
        before = tf.repeat(mdp.parameters[None], states.shape[0], axis=0)
        batch = trajectories(mdp, before, states, actions)
        (_, after), (seen,) = inner_chain(mdp.policy, self.entries[0], before, [batch], mdp.inner)
        return batch, seen, before, after

    def _adapted(self, mdp: MDP, states: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        """theta' [K, P] of inner samples [K, N, T]."""
        return self._inner(mdp, states, actions)[-1]

    def _exact(self, mdp: MDP, inner: Sequence[tf.Tensor]) -> Answers:
        _, seen, before, after = self._inner(mdp, *inner)
        return self._answers(
            mdp, ClosedForm(partial(totals, mdp), after), before, seen, self.questions
        )

    def _sampled(self, mdp: MDP, inner: Sequence[tf.Tensor], outer: Sequence[tf.Tensor]) -> Answers:
        _, seen, before, after = self._inner(mdp, *inner)
        batch = trajectories(mdp, after, *outer)
        values = Sampled(mdp.policy, batch, "trajectories", None, after)
        answers = self._answers(mdp, values, before, seen, self.questions - {"curvatures"})
        if "curvatures" in self.questions:  # of estimators whose result is left out
            answers.around["curvatures"] = tf.zeros_like(tf.transpose(seen.weights))
        return answers

    def _answers(
        self,
        mdp: MDP,
        values: OuterValues,
        before: tf.Tensor,
        seen: Trajectories,
        asked: set[str],
    ) -> Answers:
        shares = trajectory_shares(mdp.policy, before, seen, mdp.inner)
        return Answers(
            {name: getattr(values, name)() for name in AT if name in asked},
            values.gradient(self.entries[0].outer_loss),
            {name: getattr(values, name)(shares) for name in AROUND if name in asked},
        )

    def _estimates(
        self, mdp: MDP, inner: Sequence[tf.Tensor], answers: Answers, baseline: tf.Tensor
    ) -> list[tf.Tensor]:
        batch, _, before, _ = self._inner(mdp, *inner)
        baselines = tf.fill(before.shape[:1], baseline)
        return [
            meta_gradient(
                mdp.policy, entry, before, [batch], mdp.inner, lambda _: answers, baselines
            )
            for entry in self.entries
        ]


def chunk_size(sample_size: int) -> int:
    """Replicates a compiled call: CHUNK, or as many as have ROWS trajectories between them."""
    return max(1, min(CHUNK, ROWS // sample_size))


def joined(chunks: Sequence[dict[str, tf.Tensor]], count: int) -> dict[str, np.ndarray]:
    """The first `count` rows of the chunks, one after the other, by name: [count, P]."""
    return {name: np.concatenate([x[name] for x in chunks])[:count] for name in chunks[0]}


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
            entry = compiled_estimator(name)
            by_loss.setdefault(entry.inner_loss, []).append(entry)
        self.groups = [MonteCarlo(entries) for entries in by_loss.values()]

    def gradients(
        self, number: int, sample_size: int
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """g_hat of every estimator with exact values, [R, P], and with sampled ones, [R', P].

        The latter are of the first R' replicates.

        A replicate's draws depend on seed, instance, N and its number alone: more replicates leave
        the first ones as they are.
        """
        settings, mdp = self.settings, random_mdp(number)
        tasks, baseline = chunk_size(sample_size), value_baseline(mdp)
        start = np.repeat(mdp.parameters[None], tasks, axis=0)
        exact, practical = [], []
        for chunk in range(math.ceil(settings.replicates / tasks)):
            draws = [
                generator(settings.seed, stream, number, sample_size, chunk).uniform(
                    size=(tasks, sample_size, HORIZON, 2)
                )
                for stream in ("monte carlo", "monte carlo outer")
            ]
            inner = sample(mdp, start, draws[0])
            exact.append({})
            if chunk * tasks < settings.practical_replicates:
                practical.append({})
            for group in self.groups:
                exact[-1] |= group.gradients(mdp, inner, baseline)
                if chunk * tasks < settings.practical_replicates:
                    outer = sample(mdp, group.adapted(mdp, *inner).numpy(), draws[1])
                    practical[-1] |= group.practical(mdp, inner, outer, baseline)
        few = min(settings.replicates, settings.practical_replicates)
        return joined(exact, settings.replicates), joined(practical, few)

    def rows(self, problem: str, number: int, sample_size: int) -> list[dict]:
        """The rows of `columns.SAMPLED` at one instance and N.

        Raises:
          RunError: an estimate is not finite.
        """
        gradients, practical = self.gradients(number, sample_size)
        keys = {
            "level": "monte_carlo",
            "problem": problem,
            "sample_size": sample_size,
            "replicates": self.settings.replicates,
            "outer_sample_size": 0,
        }
        return sampled.rows(
            keys,
            self.settings.estimators,
            # without outer noise both halves are the same
            {name: np.broadcast_to(g, (2, *g.shape)) for name, g in gradients.items()},
            generator(self.settings.seed, "monte carlo bootstrap", number, sample_size),
            confidence=self.settings.confidence,
            practical=practical,
        )


def audit(settings: MonteCarloSettings, checkpoint_folder: Path, output: Path) -> None:
    """Audits random instances; writes a tidy parquet, a row an instance, estimator and N.

    Args:
      settings: instances, estimators, sample sizes, replicates, seed, confidence.
      checkpoint_folder: where finished instances and N are kept; an audit that was interrupted goes
        on from there.
      output: parquet file with `columns.SAMPLED`; outer_sample_size is 0, since outer values
        are exact.

    Raises:
      InputError: an unknown estimator or a path that cannot be written; nothing is written.
      RunError: an estimate is not finite; what was finished stays in the checkpoint.
    """
    require_writable(output, checkpoint_folder / "checkpoint.npz")
    require_monte_carlo(settings)
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
    costs = [math.ceil(settings.replicates / chunk_size(size)) for *_, size in units]
    sampled.audit_units(units, costs, run.rows, checkpoint, described, output)
