"""Every estimator against a naive derivation: NumPy loops over tasks, trajectories and steps.

The policy is a tabular softmax, whose score e_a - pi and Hessian -(diag(pi) - pi pi^T) are closed
forms. hypothesis draws shapes, episode lengths, repeated rows, the number of inner steps and the
averaging; behaviour differs from theta throughout, as in later outer epochs.
"""

import ast
import functools
import re
import sys
import types
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

from metarl.estimators import CATALOGUE, as_coded, catalogue, meta_gradient
from metarl.estimators.catalogue import LOADED_DICE_DECAY
from metarl.outer_values import Sampled
from metarl.policies import TabularSoftmaxPolicy
from metarl.settings import InnerSettings
from metarl.trajectories import Trajectories

STATES, ACTIONS = 2, 3
POLICY = TabularSoftmaxPolicy(STATES, ACTIONS)
SIZE = STATES * ACTIONS
LEARNING_RATE = 0.4


class Batch:
    """The steps of one inner step in NumPy: states and actions as integers."""

    def __init__(self, draw: np.random.Generator, tasks: int, rows: int, horizon: int):
        shape = (tasks, rows, horizon)
        self.states, self.actions = (
            draw.integers(STATES, size=shape),
            draw.integers(ACTIONS, size=shape),
        )
        self.lengths = draw.integers(1, horizon + 1, (tasks, rows))
        self.counts = np.tile(draw.integers(1, 4, rows), (tasks, 1))
        self.sample_size = int(self.counts[0].sum())
        self.mask = (np.arange(horizon) < self.lengths[..., None]).astype(float)
        # after an episode's end there is rubbish
        self.rewards, self.score_rewards, self.advantages = draw.normal(size=(3, *shape))
        logits = draw.normal(size=(*shape, ACTIONS))
        self.behaviour = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))

    def tensors(self) -> Trajectories:
        fields = (
            np.eye(STATES)[self.states],
            np.eye(ACTIONS)[self.actions],
            self.advantages,
            self.rewards,
            self.score_rewards,
            self.mask,
        )
        return Trajectories(
            *(tf.constant(x, tf.float64) for x in fields),
            behaviour=(tf.constant(self.behaviour),),
            weights=tf.constant(self.counts / self.sample_size, tf.float64),
            sample_size=tf.constant(float(self.sample_size), tf.float64),
        )


def probabilities(theta: np.ndarray, state: int) -> np.ndarray:
    logits = theta.reshape(STATES, ACTIONS)[state]
    return np.exp(logits) / np.exp(logits).sum()


def score(theta: np.ndarray, state: int, action: int) -> np.ndarray:
    gradient = np.zeros((STATES, ACTIONS))
    gradient[state] = np.eye(ACTIONS)[action] - probabilities(theta, state)
    return gradient.ravel()


def hessian(theta: np.ndarray, state: int) -> np.ndarray:
    pi = probabilities(theta, state)
    full = np.zeros((STATES, ACTIONS, STATES, ACTIONS))
    full[state, :, state, :] = np.outer(pi, pi) - np.diag(pi)
    return full.reshape(SIZE, SIZE)


class Task:
    """One task of a batch: what the catalogue's formulas are made of, at parameters theta [P]."""

    def __init__(self, batch: Batch, task: int, theta: np.ndarray, averaging: str):
        self.theta = theta
        self.rows = range(len(batch.lengths[task]))
        self.length = batch.lengths[task]
        self.count = batch.counts[task]
        self.state, self.action = batch.states[task], batch.actions[task]
        self.A, self.r, self.score_r = (
            x[task].copy() for x in (batch.advantages, batch.rewards, batch.score_rewards)
        )
        self.total_steps = sum(
            n * length for n, length in zip(self.count, self.length, strict=True)
        )
        self.averaging = averaging
        self.divisor = batch.sample_size if averaging == "trajectories" else self.total_steps
        self.c = LEARNING_RATE / self.divisor
        self.behaviour = batch.behaviour[task]
        self.size = batch.sample_size
        self.horizon = batch.mask.shape[-1]
        self.sampled_A = self.A
        self.first = True

    def weigh(self, name: str) -> None:
        """Puts the weights of log pi in the inner loss of `name` in the place of A."""
        self.sampled_A = self.A.copy()
        for i in self.rows:
            for t in self.steps(i):
                later = range(t, self.length[i])
                if name in ("lvc", "emaml_likelihood_ratio_as_coded"):
                    self.A[i, t] *= self.ratio(self.theta, i, t)
                elif name in ("dice", "tmaml"):
                    self.A[i, t] = sum(self.r[i, b] for b in later)
                elif name == "learn2learn_dice_as_coded":
                    self.A[i, t] = sum(
                        self.size ** -float(b - t) * self.sampled_A[i, b] for b in later
                    )
                elif name == "pytorch_maml_rl_as_coded":
                    self.A[i, t] *= self.total_steps / (self.size * self.length[i])
                elif name == "promp_dice_as_coded":
                    padding = self.total_steps / (self.size * self.horizon)
                    self.A[i, t] = padding * sum(self.r[i, b] for b in later)
        if name == "promp_dice_as_coded":
            self.r *= self.total_steps / (self.size * self.horizon)

    def weigh_outer(self, name: str) -> None:
        """The same for the outer loss, where `name` has one of its own: of a mean over steps."""
        for i in self.rows if self.averaging == "steps" else ():
            if name == "promp_dice_as_coded":
                self.A[i] *= self.total_steps / (self.size * self.horizon)
            elif name == "pytorch_maml_rl_as_coded":
                self.A[i] *= self.total_steps / (self.size * self.length[i])

    def steps(self, row: int) -> range:
        return range(self.length[row])

    def g(self, i: int, t: int) -> np.ndarray:
        return score(self.theta, self.state[i, t], self.action[i, t])

    def f(self, i: int) -> np.ndarray:
        return sum(self.A[i, t] * self.g(i, t) for t in self.steps(i))

    def ratio(self, theta: np.ndarray, i: int, t: int) -> float:
        """pi_theta / pi_behaviour of one step."""
        a = self.action[i, t]
        return probabilities(theta, self.state[i, t])[a] / np.exp(self.behaviour[i, t, a])

    def causal_ratio(self, theta: np.ndarray, i: int, t: int) -> float:
        return float(np.prod([self.ratio(theta, i, b) for b in range(t + 1)]))

    def average(self, term) -> float:
        total = sum(n * term(i, t) for i, n in enumerate(self.count) for t in self.steps(i))
        return total / self.divisor

    def value(self, theta: np.ndarray, rewards: np.ndarray) -> float:
        """The average reward under the per-decision weights of theta."""
        return self.average(lambda i, t: self.causal_ratio(theta, i, t) * rewards[i, t])

    def policy_gradient(self, theta: np.ndarray) -> np.ndarray:
        """v: the gradient of the average of ratio_it A_it."""
        return self.average(
            lambda i, t: (
                self.ratio(theta, i, t)
                * self.A[i, t]
                * score(theta, self.state[i, t], self.action[i, t])
            )
        )


def maml(x: Task, d, outer, theta):
    return lambda i, t: 0.0


def lvc(x: Task, d, outer, theta):
    return lambda i, t: x.c * x.A[i, t] * d(i, t)


def dice(x: Task, d, outer, theta):
    return lambda i, t: (
        x.c * sum(x.r[i, b] * sum(d(i, a) for a in range(b + 1)) for b in range(t, x.length[i]))
    )


def pairs(x: Task, d, weight):
    """c sum over the other step b of the pair (t, b), of weight(i, later step, lag) times d."""
    return lambda i, t: x.c * sum(weight(i, max(t, b), abs(t - b)) * d(i, b) for b in x.steps(i))


def loaded_dice(x: Task, d, outer, theta):
    return pairs(x, d, lambda i, later, lag: LOADED_DICE_DECAY**lag * x.A[i, later])


def tmaml(x: Task, d, outer, theta):
    """A pair of steps is weighed by the later one's advantage, a step alone by its reward-to-go."""
    return pairs(x, d, lambda i, later, lag: x.sampled_A[i, later] if lag else x.A[i, later])


def learn2learn_dice(x: Task, d, outer, theta):
    """The box of step b holds every a <= b, decayed by 1/N a step."""

    def box(i: int, b: int) -> float:
        return sum(x.size ** -float(b - a) * d(i, a) for a in range(b + 1))

    return lambda i, t: (
        x.c
        * sum(
            x.sampled_A[i, b] * x.size ** -float(b - t) * box(i, b) for b in range(t, x.length[i])
        )
    )


def lsf(x: Task, d, outer, theta):
    return lambda i, t: x.c * sum(x.A[i, b] * d(i, b) for b in x.steps(i))


def unbiased(x: Task, d, outer, theta):
    return lambda i, t: outer.value(theta, outer.score_r)


def emaml(x: Task, d, outer, theta):
    if not x.first:
        return lambda i, t: 0.0
    rewards = sum(n * outer.score_r[i, : outer.length[i]].sum() for i, n in enumerate(outer.count))
    return lambda i, t: rewards / outer.total_steps / x.total_steps


def emaml_sum(x: Task, d, outer, theta):
    return lambda i, t: x.size * emaml(x, d, outer, theta)(i, t)


def emaml_likelihood_ratio(x: Task, d, outer, theta):
    return lambda i, t: lvc(x, d, outer, theta)(i, t) + emaml(x, d, outer, theta)(i, t)


def sgmrl(x: Task, d, outer, theta):
    if not x.first:
        return lambda i, t: 0.0
    total = sum(n * outer.A[i, : outer.length[i]].sum() for i, n in enumerate(outer.count))
    return lambda i, t: total / outer.total_steps


def leave_one_out(x: Task, d, outer, theta):
    def weight(i, t):
        without = theta - x.c * x.f(i)
        return outer.value(theta, outer.r) - outer.value(without, outer.r)

    return weight


def lsf2(x: Task, d, outer, theta):
    """The curvature by a second difference of V along f_i, whose error is about 1e-7."""

    @functools.cache
    def curvature(i):
        share, h = x.c * x.f(i), 1e-3
        above, at, below = (outer.value(theta + s * share, outer.r) for s in (h, 0.0, -h))
        return (above - 2 * at + below) / h**2

    return lambda i, t: lsf(x, d, outer, theta)(i, t) - 0.5 * curvature(i)


NAIVE = {
    "maml": maml,
    "lvc": lvc,
    "dice": dice,
    "lsf": lsf,
    "unbiased": unbiased,
    "emaml": emaml,
    "leave_one_out": leave_one_out,
    "lsf2": lsf2,
    "loaded_dice": loaded_dice,
    "tmaml": tmaml,
    "emaml_sum_as_coded": emaml_sum,
    "emaml_likelihood_ratio_as_coded": emaml_likelihood_ratio,
    "sgmrl_as_coded": sgmrl,
    "learn2learn_dice_as_coded": learn2learn_dice,
    "promp_dice_as_coded": dice,
    "pytorch_maml_rl_as_coded": maml,
}
LAST_STEP_ONLY = ("leave_one_out", "lsf2")  # lsf before it


def naive_task(name, theta, batches, task, averaging, baseline=None):
    """g_hat [P] of one task, and V_hat(theta')."""
    steps, current = [], theta
    for batch in batches[:-1]:
        x = Task(batch, task, current, averaging)
        x.weigh(name)
        x.first = not steps
        steps.append(x)
        current = (
            current + LEARNING_RATE * sum(n * x.f(i) for i, n in enumerate(x.count)) / x.divisor
        )
    outer = Task(batches[-1], task, current, averaging)
    outer.weigh_outer(name)
    u = outer.policy_gradient(current)
    value = outer.value(current, outer.score_r)
    if name == "fomaml":
        return u, value
    for number, x in reversed(list(enumerate(steps))):

        def d(i, t, x=x, u=u):
            return x.g(i, t) @ u

        if name == "unbiased_baseline":
            weight = lambda i, t: value - baseline
        elif name in LAST_STEP_ONLY and number < len(steps) - 1:
            weight = lsf(x, d, outer, current)
        else:
            weight = NAIVE[name](x, d, outer, current)
        new = u.copy()
        for i, n in enumerate(x.count):
            for t in x.steps(i):
                new += n * x.c * x.A[i, t] * hessian(x.theta, x.state[i, t]) @ u
                new += n * weight(i, t) * x.g(i, t)
        u = new
    return u, value


def naive(name, parameters, batches, averaging):
    """g_hat [K, P]."""
    tasks = range(len(parameters))
    baselines = [None] * len(parameters)
    if name == "unbiased_baseline":
        values = [naive_task("fomaml", parameters[k], batches, k, averaging)[1] for k in tasks]
        baselines = [
            np.mean([v for j, v in enumerate(values) if j != k]) if len(values) > 1 else 0.0
            for k in tasks
        ]
    return np.array(
        [naive_task(name, parameters[k], batches, k, averaging, baselines[k])[0] for k in tasks]
    )


def test_every_entry_is_derived_here():
    assert {*NAIVE, "fomaml", "unbiased_baseline"} == set(CATALOGUE)


@pytest.mark.parametrize("name", CATALOGUE)
@hypothesis.settings(max_examples=12, deadline=None, derandomize=True, database=None)
@hypothesis.given(
    tasks=st.integers(1, 3),
    rows=st.integers(1, 3),
    horizon=st.integers(1, 3),
    inner_steps=st.integers(1, 3),
    averaging=st.sampled_from(["steps", "trajectories"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_naive_derivation(name, tasks, rows, horizon, inner_steps, averaging, seed):
    draw = np.random.default_rng(seed)
    batches = [Batch(draw, tasks, rows, horizon) for _ in range(inner_steps + 1)]
    parameters = 0.5 * draw.normal(size=(tasks, SIZE))
    result = meta_gradient(
        POLICY,
        CATALOGUE[name],
        tf.constant(parameters),
        [batch.tensors() for batch in batches[:-1]],
        InnerSettings(LEARNING_RATE, averaging),
        functools.partial(Sampled, POLICY, batches[-1].tensors(), averaging, None),
    )
    expected = naive(name, parameters, batches, averaging)
    tolerance = 1e-5 if name == "lsf2" else 1e-9
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(result / scale, expected / scale, rtol=0, atol=tolerance)


MUTATIONS = (
    (r" - ", " + "),
    (r"[\w.]*mask \* ", ""),
    (r"step\.constant \* ", ""),
    ("reverse=True", "reverse=False"),
    ("exclusive=True", "exclusive=False"),
    (r"step\.batch\.advantages", "step.batch.rewards"),
    (r"step\.batch\.rewards", "step.batch.advantages"),
    (r"0\.5 \* ", ""),
    (r"mean_reward\(\)", "value()"),
    (r"mean_advantage\(\)", "mean_reward()"),
    (r"/ batch\.mask\.shape\[-1\]", ""),
    ("mean_length / lengths", "lengths"),
    (r"step\.batch\.sample_size \* ", ""),
    (r"1\.0 / ", "0.5 / "),
    (r"not step\.", "step."),
)
EQUIVALENT = ("causes = ",)  # what comes after an episode's end causes no reward, masked or not


def mutants() -> list[tuple[str, int, str]]:
    """Every single edit of a line of code, docstrings left alone: module, line, its new text."""
    edits = []
    for module in (catalogue, as_coded):
        tree = ast.parse(Path(module.__file__).read_text())
        lines = Path(module.__file__).read_text().splitlines()
        for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
            for number in range(function.body[0].end_lineno, function.end_lineno):
                for old, new in MUTATIONS:
                    text = re.sub(old, new, lines[number], count=1)
                    same = "mask" in old and lines[number].strip().startswith(EQUIVALENT)
                    if text != lines[number] and not same:
                        edits.append((module.__name__, number, text))
    return edits


@functools.cache
def planted_example(name: str) -> tuple[np.ndarray, list[Batch], np.ndarray]:
    draw = np.random.default_rng(4)
    batches = [Batch(draw, 2, 3, 3) for _ in range(3)]
    parameters = 0.5 * draw.normal(size=(2, SIZE))
    return parameters, batches, naive(name, parameters, batches, "steps")


def deviation(entry) -> float:
    parameters, batches, expected = planted_example(entry.name)
    estimate = meta_gradient(
        POLICY,
        entry,
        tf.constant(parameters),
        [batch.tensors() for batch in batches[:-1]],
        InnerSettings(LEARNING_RATE, "steps"),
        functools.partial(Sampled, POLICY, batches[-1].tensors(), "steps", None),
    )
    return float(np.abs(estimate - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize(("module", "line", "text"), mutants())
def test_a_planted_error_is_seen(module, line, text):
    """Signs, masks, causality, averages and constants, one at a time, in every catalogue row."""
    original = sys.modules[module]
    lines = Path(original.__file__).read_text().splitlines()
    lines[line] = text
    mutant = types.ModuleType(module)
    exec(compile("\n".join(lines), f"mutant of {module}", "exec"), mutant.__dict__)  # noqa: S102
    functions = [
        node for node in ast.parse("\n".join(lines)).body if isinstance(node, ast.FunctionDef)
    ]
    edited = next(node.name for node in functions if node.lineno <= line < node.end_lineno)
    users = {node.name for node in functions if edited in ast.unparse(node)}
    entries = [
        entry
        for entry in (mutant.ROWS if module.endswith("catalogue") else mutant.AS_CODED)
        if users & {entry.inner_loss.__name__, entry.weights.__name__}
    ]
    assert max(map(deviation, entries)) > 1e-5
