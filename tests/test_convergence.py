"""SGD on finite problems against naive loops and finite differences."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from metarl import convergence
from metarl.audit.problems import problem
from metarl.audit.settings import ConvergenceSettings
from metarl.convergence import Experiment, choose_step_size, converge
from metarl.errors import InputError
from metarl.estimators import estimator
from metarl.randomness import generator
from metarl.results import columns

RIDGE = 0.1


def settings(**changes) -> ConvergenceSettings:
    given = {
        "problem": "bandit",
        "estimators": ("unbiased", "lsf"),
        "sample_sizes": (2, 4),
        "step_sizes": (0.5, 0.125),
        "epsilons": (0.5,),
        "seeds": 3,
        "iterations": 4,
        "ridge": RIDGE,
    }
    return ConvergenceSettings(**given | changes)


def probabilities(finite, parameters: np.ndarray) -> np.ndarray:
    """Of every trajectory, [M]."""
    table = np.exp(parameters.reshape(finite.policy.states, finite.policy.actions))
    table /= table.sum(axis=1, keepdims=True)
    chances = np.exp(finite.log_transitions)
    for m, t in np.ndindex(finite.mask.shape):
        if finite.mask[m, t]:
            chances[m] *= table[finite.observations[m, t].argmax(), finite.actions[m, t].argmax()]
    return chances


def scores(finite, parameters: np.ndarray) -> np.ndarray:
    """f of every trajectory, [M, P], from finite differences of its log-probabilities."""
    shares = np.zeros((len(finite.rewards), len(parameters)))
    table_of = (finite.policy.states, finite.policy.actions)

    def log_policy(p: np.ndarray) -> np.ndarray:
        logits = p.reshape(table_of)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    for axis in range(len(parameters)):
        shift = 1e-6 * np.eye(len(parameters))[axis]
        slope = (log_policy(parameters + shift) - log_policy(parameters - shift)) / 2e-6
        for m, t in np.ndindex(finite.mask.shape):
            step = finite.observations[m, t].argmax(), finite.actions[m, t].argmax()
            shares[m, axis] += finite.mask[m, t] * finite.rewards[m, t:].sum() * slope[step]
    return shares


def objective(finite, parameters: np.ndarray, sample_size: int) -> float:
    """F, by a loop over all ordered samples of N trajectories."""
    chances, shares = probabilities(finite, parameters), scores(finite, parameters)
    total = 0.0
    for drawn in itertools.product(range(len(chances)), repeat=sample_size):
        adapted = parameters + finite.inner_learning_rate * shares[list(drawn)].mean(axis=0)
        value = probabilities(finite, adapted) @ finite.rewards.sum(axis=1)
        total += np.prod(chances[list(drawn)]) * value
    return total - RIDGE * parameters @ parameters / 2


@pytest.mark.parametrize("name", ["bandit", "chain", "windy"])
def test_gradients_are_those_of_all_samples(name):
    finite = problem(name)
    experiment = Experiment(finite, [], 2, RIDGE)
    draw = np.random.default_rng(0)
    points = finite.parameters + np.array([[0.0], [0.4]]) * draw.normal(
        size=finite.parameters.shape
    )
    gradients = experiment.gradients(points, 2)
    for point, gradient in zip(points, gradients, strict=True):
        for axis, shift in enumerate(1e-4 * np.eye(len(point))):
            difference = objective(finite, point + shift, 2) - objective(finite, point - shift, 2)
            assert gradient[axis] == pytest.approx(difference / 2e-4, abs=1e-6)


def test_counts_are_inversions_of_the_uniforms():
    finite = problem("bandit")
    experiment = Experiment(finite, [], 4, RIDGE)
    chances = probabilities(finite, finite.parameters)
    edges = np.cumsum(chances)
    uniforms = np.array([[0.0, edges[0] - 1e-9, edges[1] + 1e-9, convergence.NO_DRAW]])
    parameters = tf.constant(finite.parameters[None])
    counts = experiment.counts(parameters, tf.constant(uniforms), tf.constant(3.0, tf.float64))
    np.testing.assert_array_equal(counts, [[2, 0, 1]])


def test_ascent_is_a_loop_of_estimates():
    """Two runs, two step sizes, against single steps with the same uniforms."""
    finite, entry = problem("bandit"), estimator("unbiased_baseline")
    experiment = Experiment(finite, [entry], 4, RIDGE)
    evaluated = np.array([0, 1, 3])
    step_sizes = np.array([0.5, 0.1])
    streams = [generator(5, "test", run) for run in range(2)]
    norms = experiment.ascend(entry, 3, step_sizes, evaluated, streams)
    assert norms.shape == (2, 2, 3)
    for grid, run in np.ndindex(2, 2):
        draw, parameters = generator(5, "test", run), finite.parameters[None].copy()
        expected = [np.sum(experiment.gradients(parameters, 3) ** 2)]
        uniforms = [draw.random([1, 3]), *draw.random([2, 3])[:, None]]
        for k, uniform in enumerate(uniforms, start=1):
            size = tf.constant(3.0, tf.float64)
            counts = experiment.counts(tf.constant(parameters), tf.constant(uniform), size)
            estimate = experiment.estimate(entry, tf.constant(parameters), counts, size).numpy()
            parameters = parameters + step_sizes[grid] * (estimate - RIDGE * parameters)
            if k in evaluated:
                expected.append(np.sum(experiment.gradients(parameters, 3) ** 2))
        np.testing.assert_allclose(norms[grid, run], expected, rtol=1e-9)


def test_the_mean_estimate_of_an_unbiased_one_is_the_gradient():
    """Over all samples of 3, exact: leave_one_out ascends F here, not something near it."""
    finite, entry = problem("chain"), estimator("leave_one_out")
    experiment = Experiment(finite, [entry], 3, RIDGE)
    counts = convergence.compositions(3, 4).astype(float)
    chances = np.exp(
        convergence.log_multinomial(counts)
        + counts @ np.log(probabilities(finite, finite.parameters))
    )
    copies = tf.constant(np.repeat(finite.parameters[None], len(counts), axis=0))
    estimates = experiment.estimate(
        entry, copies, tf.constant(counts), tf.constant(3.0, tf.float64)
    )
    expected = experiment.gradients(finite.parameters[None], 3)[0] + RIDGE * finite.parameters
    np.testing.assert_allclose(chances @ estimates.numpy(), expected, atol=1e-12)


def test_a_step_size_that_leaves_the_numbers_is_infinite_and_not_chosen():
    finite, entry = problem("bandit"), estimator("lsf")
    experiment = Experiment(finite, [entry], 2, RIDGE)
    streams = [generator(0, run) for run in range(2)]
    norms = experiment.ascend(entry, 2, np.array([1e200, 0.1]), np.array([0, 4]), streams)
    assert np.isinf(norms[0, :, 1]).all() and np.isfinite(norms[1]).all()


@pytest.mark.parametrize(
    ("curves", "chosen"),
    [
        ([[9, 5, 1], [9, 1, 5]], 1),  # the second is first
        ([[9, 1, 5], [9, 1, 1]], 1),  # of equals the smallest step
        ([[9, 4, 3], [9, 3, 4]], 1),  # none: equally close, the smallest step
        ([[9, 4, 2], [9, 3, 4]], 0),  # none: the closest
        ([[9, math.inf, math.inf], [9, 8, 7]], 1),
    ],
)
def test_the_rule_for_step_sizes(curves, chosen):
    curves = np.array(curves, float)[:, None]
    assert choose_step_size(curves, np.array([0.5, 0.25]), np.array([0, 1, 2]), 1.0) == chosen


def test_same_seed_same_bytes_and_columns(tmp_path):
    for name in ("a", "b"):
        converge(settings(), tmp_path / f"{name}.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    table = pd.read_parquet(tmp_path / "a.parquet")
    assert list(table.columns) == columns.CONVERGENCE.names
    assert len(table) == 2 * 2 * 3 * len(convergence.evaluated_iterations(4))
    starts = table.loc[table["iteration"] == 0].groupby("sample_size")["squared_gradient_norm"]
    assert (starts.nunique() == 1).all()
    assert table.groupby("estimator")["squared_bias"].max()["unbiased"] < 1e-20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problem": "pie"}, "unknown problem 'pie'"),
        ({"problem": "stopping"}, "stopping has several inner steps or a mean over steps"),
        ({"problem": "two_steps"}, "two_steps has several inner steps"),
        ({"estimators": ("lfs",)}, "unknown estimator 'lfs'"),
        (
            {"problem": "chain", "sample_sizes": (64,)},
            "sample size 64 on chain has 47905 distinct samples",
        ),
    ],
)
def test_bad_input_writes_nothing(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        converge(settings(**changes), tmp_path / "o.parquet")
    assert not list(tmp_path.iterdir())
