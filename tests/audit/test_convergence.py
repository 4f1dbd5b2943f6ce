"""SGD on finite problems against naive loops and finite differences."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from metarl.audit import convergence
from metarl.audit.convergence import Experiment, Settings, choose_step_size, converge
from metarl.audit.problems import problem
from metarl.errors import InputError
from metarl.estimators import estimator
from metarl.randomness import generator

RIDGE = 0.1


def settings(**changes) -> Settings:
    return Settings((0.5, 0.125), (0.5,), 3, 4, RIDGE, 0)._replace(**changes)


def probabilities(finite, parameters: np.ndarray) -> np.ndarray:
    """Of every trajectory, [M]."""
    table = np.exp(parameters.reshape(finite.policy.states, finite.policy.actions))
    table /= table.sum(axis=1, keepdims=True)
    found = np.exp(finite.log_transitions)
    for m, t in np.ndindex(finite.mask.shape):
        if finite.mask[m, t]:
            found[m] *= table[finite.observations[m, t].argmax(), finite.actions[m, t].argmax()]
    return found


def scores(finite, parameters: np.ndarray) -> np.ndarray:
    """f of every trajectory, [M, P], from finite differences of its log-probabilities."""
    found = np.zeros((len(finite.rewards), len(parameters)))
    table_of = (finite.policy.states, finite.policy.actions)

    def log_policy(p: np.ndarray) -> np.ndarray:
        logits = p.reshape(table_of)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    for axis in range(len(parameters)):
        shift = 1e-6 * np.eye(len(parameters))[axis]
        slope = (log_policy(parameters + shift) - log_policy(parameters - shift)) / 2e-6
        for m, t in np.ndindex(finite.mask.shape):
            step = finite.observations[m, t].argmax(), finite.actions[m, t].argmax()
            found[m, axis] += finite.mask[m, t] * finite.rewards[m, t:].sum() * slope[step]
    return found


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
    found = experiment.gradients(points, 2)
    for point, gradient in zip(points, found, strict=True):
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
    found = experiment.counts(parameters, tf.constant(uniforms), tf.constant(3.0, tf.float64))
    np.testing.assert_array_equal(found, [[2, 0, 1]])


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
            found = experiment.estimate(entry, tf.constant(parameters), counts, size).numpy()
            parameters = parameters + step_sizes[grid] * (found - RIDGE * parameters)
            if k in evaluated:
                expected.append(np.sum(experiment.gradients(parameters, 3) ** 2))
        np.testing.assert_allclose(norms[grid, run], expected, rtol=1e-9)


def test_the_mean_estimate_of_an_unbiased_one_is_the_gradient():
    """Over all samples of 3, exact: leave_one_out in this experiment ascends F, not something near it."""
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
        converge("bandit", ["unbiased", "lsf"], [2, 4], settings(), tmp_path / f"{name}.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    table = pd.read_parquet(tmp_path / "a.parquet")
    assert tuple(table.columns) == convergence.COLUMNS
    assert len(table) == 2 * 2 * 3 * len(convergence.evaluated_iterations(4))
    starts = table.loc[table["iteration"] == 0].groupby("sample_size")["squared_gradient_norm"]
    assert (starts.nunique() == 1).all()
    assert table.groupby("estimator")["squared_bias"].max()["unbiased"] < 1e-20


@pytest.mark.parametrize(
    ("name", "estimators", "sizes", "changes", "message"),
    [
        ("pie", ["lsf"], [2], {}, "unknown problem 'pie'"),
        ("stopping", ["lsf"], [2], {}, "stopping has several inner steps or a mean over steps"),
        ("two_steps", ["lsf"], [2], {}, "two_steps has several inner steps"),
        ("bandit", ["lfs"], [2], {}, "unknown estimator 'lfs'"),
        ("bandit", [], [2], {}, "no estimator given"),
        ("bandit", ["lsf"], [], {}, "no sample size given"),
        ("bandit", ["lsf"], [0], {}, "sample size is 0; give an integer >= 1"),
        ("chain", ["lsf"], [64], {}, "sample size 64 on chain has 47905 distinct samples"),
        ("bandit", ["lsf"], [2], {"step_sizes": ()}, "no step size given"),
        (
            "bandit",
            ["lsf"],
            [2],
            {"step_sizes": (0.0,)},
            "step size is 0.0; give a positive number",
        ),
        ("bandit", ["lsf"], [2], {"epsilons": (-1.0,)}, "epsilon is -1.0; give a positive number"),
        ("bandit", ["lsf"], [2], {"seeds": 2}, "seeds is 2; give an integer >= 3"),
        ("bandit", ["lsf"], [2], {"iterations": 0}, "iterations is 0; give an integer >= 1"),
        ("bandit", ["lsf"], [2], {"ridge": -0.1}, "ridge is -0.1; give a number >= 0"),
        ("bandit", ["lsf"], [2], {"seed": -1}, "seed is -1"),
    ],
)
def test_bad_input_writes_nothing(name, estimators, sizes, changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        converge(name, estimators, sizes, settings(**changes), tmp_path / "o.parquet")
    assert not list(tmp_path.iterdir())
