"""Finite problems: few enough distinct trajectories to enumerate every possible sample.

A trajectory's probability is the product of its action probabilities and of its transition
probabilities, which do not depend on theta. The problems are ours; the paper's own are not
available to us. `bandit` is one problem, `bandit-1`, `bandit-2`, ... are random instances of it,
with rewards and logits drawn by that number.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from metarl.errors import InputError
from metarl.policies import TabularSoftmaxPolicy
from metarl.randomness import generator
from metarl.settings import Averaging


@dataclass(frozen=True)
class FiniteProblem:
    """M trajectories of T steps in S states with A actions.

    Attributes:
      name: for tables.
      policy: a tabular softmax.
      parameters: logits [P], where the meta-gradient is audited.
      observations: one-hot states [M, T, S].
      actions: one-hot actions [M, T, A].
      rewards: [M, T].
      mask: [M, T], 0 after an episode's end.
      log_transitions: [M], log of the product of the transition probabilities.
      inner_learning_rate: eta.
      averaging: of the inner gradient, see `metarl.settings.InnerSettings`.
      inner_steps: S.
    """

    name: str
    policy: TabularSoftmaxPolicy
    parameters: np.ndarray
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    mask: np.ndarray
    log_transitions: np.ndarray
    inner_learning_rate: float = 1.0
    averaging: Averaging = "trajectories"
    inner_steps: int = 1


def enumerated(
    name: str,
    transitions: np.ndarray,
    horizon: int,
    logits: np.ndarray,
    rewards: np.ndarray,
    **settings,
) -> FiniteProblem:
    """The problem of a Markov decision process: all its trajectories of positive probability.

    Args:
      name: for tables.
      transitions: probabilities [S, A, S'] of the next state; a row of zeros ends the episode.
      horizon: T, the most steps.
      logits: [S, A].
      rewards: [S, A].
      **settings: further fields of `FiniteProblem`.

    The first state is 0.
    """
    states, actions = logits.shape
    trajectories: list[tuple[tuple[int, ...], tuple[int, ...], float]] = []

    def extend(visited: tuple[int, ...], taken: tuple[int, ...], log_probability: float) -> None:
        for action in range(actions):
            following = transitions[visited[-1], action]
            if len(visited) == horizon or not following.any():
                trajectories.append((visited, (*taken, action), log_probability))
                continue
            for state in np.flatnonzero(following):
                extend(
                    (*visited, int(state)),
                    (*taken, action),
                    log_probability + float(np.log(following[state])),
                )

    extend((0,), (), 0.0)
    shape = (len(trajectories), horizon)
    visited, taken, mask = np.zeros(shape, int), np.zeros(shape, int), np.zeros(shape)
    for row, (path, plan, _) in enumerate(trajectories):
        visited[row, : len(path)], taken[row, : len(plan)], mask[row, : len(path)] = path, plan, 1
    return FiniteProblem(
        name=name,
        policy=TabularSoftmaxPolicy(states, actions),
        parameters=logits.ravel(),
        observations=np.eye(states)[visited],
        actions=np.eye(actions)[taken],
        rewards=mask * rewards[visited, taken],
        mask=mask,
        log_transitions=np.array([log_probability for *_, log_probability in trajectories]),
        **settings,
    )


def bandit(name: str, draw: np.random.Generator | None) -> FiniteProblem:
    """A 3-armed bandit: one step, no state to revisit."""
    logits, rewards = drawn(draw, [[0.4, -0.3, 0.1]], [[1.0, 0.2, -0.6]])
    return enumerated(name, np.zeros((1, 3, 1)), 1, logits, rewards)


def chain(name: str, draw: np.random.Generator | None) -> FiniteProblem:
    """Two states, two steps: action 0 stays, action 1 crosses; so states are revisited."""
    return two_states(name, draw, failure=0.0, horizon=2)


def long_chain(name: str, draw: np.random.Generator | None) -> FiniteProblem:
    """The chain over six steps: 64 trajectories, whose samples can be enumerated for tiny N alone.

    A smaller inner learning rate, since the sums over steps are longer.
    """
    return two_states(name, draw, failure=0.0, horizon=6, inner_learning_rate=0.2)


def windy(name: str, draw: np.random.Generator | None) -> FiniteProblem:
    """The chain with a random transition: to cross fails with probability 0.3."""
    return two_states(name, draw, failure=0.3, horizon=2)


def two_states(
    name: str, draw: np.random.Generator | None, failure: float, horizon: int, **settings
) -> FiniteProblem:
    """Action 0 stays, action 1 crosses to the other state but for the probability `failure`."""
    logits, rewards = drawn(draw, [[0.3, -0.2], [-0.1, 0.5]], [[0.7, -0.4], [0.1, 1.2]])
    crosses = 1.0 - failure
    transitions = np.array([[[1, 0], [failure, crosses]], [[0, 1], [crosses, failure]]])
    return enumerated(name, transitions, horizon, logits, rewards, **settings)


def stopping(name: str, draw: np.random.Generator | None) -> FiniteProblem:
    """Action 0 ends the episode, action 1 goes on, for up to three steps in two alternating states.

    Lengths differ, so the mean over steps, which published code takes, is more than another
    learning rate: its divisor is the sample's own, so that theta' depends on X_i through every f_j.
    """
    logits, rewards = drawn(draw, [[-0.4, 0.3], [0.2, 0.1]], [[0.5, -0.2], [-0.3, 1.0]])
    transitions = np.array([[[0, 0], [0, 1]], [[0, 0], [1, 0]]], float)
    return enumerated(name, transitions, 3, logits, rewards, averaging="steps")


def two_steps(name: str, draw: np.random.Generator | None) -> FiniteProblem:
    """The bandit with two inner steps: theta' = theta_2, and each step has a sample of its own."""
    logits, rewards = drawn(draw, [[0.4, -0.3, 0.1]], [[1.0, 0.2, -0.6]])
    return enumerated(name, np.zeros((1, 3, 1)), 1, logits, rewards, inner_steps=2)


def drawn(
    draw: np.random.Generator | None, logits: list, rewards: list
) -> tuple[np.ndarray, np.ndarray]:
    """The given logits and rewards; of a random instance normal ones, with deviations 0.5 and 1."""
    logits, rewards = np.array(logits), np.array(rewards)
    if draw is None:
        return logits, rewards
    return 0.5 * draw.normal(size=logits.shape), draw.normal(size=rewards.shape)


PROBLEMS: dict[str, Callable[[str, np.random.Generator | None], FiniteProblem]] = {
    make.__name__: make for make in (bandit, chain, long_chain, windy, stopping, two_steps)
}


def problem(name: str) -> FiniteProblem:
    """The finite problem called `name`, such as "chain", or a random instance, such as "chain-3".

    Raises:
      InputError: there is none.
    """
    family, dash, number = name.partition("-")
    if family not in PROBLEMS or (dash and not (number.isascii() and number.isdigit())):
        raise InputError(
            f"unknown problem {name!r}; choose one of {', '.join(PROBLEMS)}, "
            "or a random instance such as bandit-1"
        )
    draw = generator(int(number), "problem", family) if dash else None
    return PROBLEMS[family](name, draw)
