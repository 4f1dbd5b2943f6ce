"""Finite problems: few enough distinct trajectories to enumerate every possible sample.

Transitions are deterministic, so that a trajectory's probability is the product of its action probabilities. The
instances are ours (drawn once, rounded); the paper's own are not available to us.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from metarl.errors import InputError
from metarl.policies import TabularSoftmaxPolicy


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
      inner_learning_rate: eta, on sums over steps.
    """

    name: str
    policy: TabularSoftmaxPolicy
    parameters: np.ndarray
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    inner_learning_rate: float


def bandit() -> FiniteProblem:
    """A 3-armed bandit: one step, no state to revisit."""
    arms = np.eye(3)
    return FiniteProblem(
        name="bandit",
        policy=TabularSoftmaxPolicy(states=1, actions=3),
        parameters=np.array([0.4, -0.3, 0.1]),
        observations=np.ones((3, 1, 1)),
        actions=arms[:, None, :],
        rewards=np.array([[1.0], [0.2], [-0.6]]),
        inner_learning_rate=1.0,
    )


def chain() -> FiniteProblem:
    """Two states, two steps: action 0 stays, action 1 crosses to the other state; so states are revisited."""
    states, horizon = 2, 2
    plans = list(itertools.product(range(2), repeat=horizon))
    visited = [[0, plan[0]] for plan in plans]  # action 1 in state 0 leads to state 1
    rewards = np.array([[0.7, -0.4], [0.1, 1.2]])  # [state, action]
    return FiniteProblem(
        name="chain",
        policy=TabularSoftmaxPolicy(states=states, actions=2),
        parameters=np.array([0.3, -0.2, -0.1, 0.5]),
        observations=np.eye(states)[visited],
        actions=np.eye(2)[np.array(plans)],
        rewards=np.array([rewards[s, a] for s, a in zip(visited, plans, strict=True)]),
        inner_learning_rate=1.0,
    )


PROBLEMS = {"bandit": bandit, "chain": chain}


def problem(name: str) -> FiniteProblem:
    """The finite problem called `name`.

    Raises:
      InputError: there is none.
    """
    if name not in PROBLEMS:
        raise InputError(f"unknown problem {name!r}; choose one of {', '.join(PROBLEMS)}")
    return PROBLEMS[name]()
