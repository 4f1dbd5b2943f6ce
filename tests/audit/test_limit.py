"""The limit audit against enumeration, closed forms and automatic differentiation."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from metarl.audit import exact, limit
from metarl.audit.problems import problem
from metarl.audit.settings import LimitSettings
from metarl.errors import InputError
from metarl.estimators import CATALOGUE, estimator
from metarl.policies import log_prob
from metarl.results import columns

ENUMERATED = {"bandit": (64, 128), "chain": (32, 64), "stopping": (32, 64), "two_steps": (8, 16)}
UNBIASED = ("unbiased", "unbiased_baseline", "leave_one_out")


@pytest.fixture(scope="module")
def limits() -> pd.DataFrame:
    rows = []
    for name in (*ENUMERATED, "long_chain"):
        rows += limit.Limit(problem(name), list(CATALOGUE.values())).rows()
    return pd.DataFrame(rows).set_index(["problem", "estimator"])


@pytest.mark.parametrize("name", ENUMERATED)
def test_enumeration_approaches_the_coefficients(limits, name):
    """Its distance to them halves with each octave of N, for every entry of the catalogue.

    Up to the term after the next: by 0.7 at these N. Exact numbers: no false alarms. A distance may
    shrink faster where the next term vanishes.
    """
    audit = exact.ExactAudit(problem(name), list(CATALOGUE.values()))
    near, far = (pd.DataFrame(audit.run(size)).set_index("estimator") for size in ENUMERATED[name])
    for entry in CATALOGUE:
        row = limits.loc[name, entry]
        for column in ("bias", "variance"):
            order, coefficient = row[f"{column}_order"], row[f"{column}_coefficient"]
            if column == "bias" and coefficient == 0.0:
                assert near.loc[entry, "relative_bias"] < 1e-11, entry
                continue
            first, second = (
                abs(table.loc[entry, column] / size**order - coefficient)
                for table, size in zip((near, far), ENUMERATED[name], strict=True)
            )
            assert second < 0.7 * first + 1e-9 * coefficient, (entry, column, first, second)
            assert second < 0.3 * coefficient, (entry, column, second, coefficient)


@pytest.mark.parametrize("name", ["bandit", "chain", "long_chain"])
def test_orders(limits, name):
    for entry in UNBIASED:
        assert limits.loc[(name, entry), "bias_coefficient"] == 0.0
    orders = limits.loc[name][["bias_order", "variance_order"]]
    expected = {
        "unbiased": (0, 1),
        "unbiased_baseline": (0, 0),
        "leave_one_out": (-2, -1),
        "lsf2": (-2, -1),
        "lsf": (-1, -1),
        "dice": (-1, -1),
        "maml": (0, -1),
    }
    assert {entry: tuple(orders.loc[entry]) for entry in expected} == expected
    assert limits.loc[(name, "maml"), "bias_floor"] > 0.05
    assert limits.loc[(name, "lsf"), "bias_floor"] == 0.0


def test_leave_one_out_has_a_floor_where_lengths_differ(limits):
    """The divisor of the mean over steps is the sample's own: `stopping`."""
    assert limits.loc[("stopping", "leave_one_out"), "bias_order"] == 0
    assert limits.loc[("two_steps", "leave_one_out"), "bias_order"] == -1


@pytest.mark.parametrize("name", ["bandit", "chain", "long_chain"])
def test_variance_of_unbiased_is_the_value_squared_times_the_fisher_information(limits, name):
    """Var / N -> V(theta'(p))^2 tr F, with theta'(p) = theta + eta E[f] and F = E[s s^T]."""
    finite = problem(name)
    policy, trajectories = finite.policy, len(finite.rewards)
    copies = tf.constant(np.tile(finite.parameters, (trajectories, 1)))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(copies)
        observations, actions = (
            tf.constant(x[:, None]) for x in (finite.observations, finite.actions)
        )
        log_probs = finite.mask * log_prob(policy, copies, observations, actions)[:, 0]
        advantages = np.cumsum(finite.rewards[:, ::-1], axis=1)[:, ::-1]
        weighted = tf.reduce_sum(advantages * log_probs, axis=1)
        totals = tf.reduce_sum(log_probs, axis=1)
    scores, gradients = tape.gradient(totals, copies), tape.gradient(weighted, copies)
    chances = np.exp(totals + finite.log_transitions)
    adapted = finite.parameters + finite.inner_learning_rate * chances @ gradients.numpy()
    audit = exact.ExactAudit(finite, [])
    value = float(audit.totals(tf.constant(adapted[None])).reward[0])
    trace = chances @ np.square(scores).sum(axis=1)
    measured = limits.loc[(name, "unbiased"), "variance_coefficient"]
    assert measured == pytest.approx(value**2 * trace, rel=1e-9)


@pytest.mark.parametrize("control", ["doubled", "sign_error", "shuffled"])
def test_a_planted_error_leaves_a_floor(control):
    name = f"metarl.audit.controls:{control}"
    (row,) = limit.Limit(problem("chain"), [estimator(name)]).rows()
    assert row["bias_order"] == 0
    assert row["bias_floor"] > 0.05 * row["gradient_norm"]


@pytest.mark.parametrize("entry", ["lsf", "dice", "leave_one_out", "lsf2"])
def test_spectral_derivatives_are_the_automatic_ones(entry):
    """First and second derivatives along every direction, through the production code."""
    audit = limit.Limit(problem("chain"), [])
    paths = limit.Paths(audit.problem)
    sample_size = tf.constant(50.0, tf.float64)
    entries = [CATALOGUE[entry]]
    values = paths.estimates(entries, tf.constant(audit.nodes(audit.directions)), sample_size)[0]
    values = tf.reshape(values, [len(limit.NODES), len(audit.directions), -1]).numpy()
    slopes, halves = (limit.taylor(values, audit.step, order) for order in (1, 2))
    size = audit.problem.policy.parameter_size
    directions = tf.constant(np.repeat(audit.directions, size, axis=0))
    distances = tf.zeros([len(directions)], tf.float64)
    with tf.GradientTape() as second:
        second.watch(distances)
        with tf.GradientTape() as first:
            first.watch(distances)
            mixtures = distances[:, None, None] * directions
            estimates = paths.estimates(entries, mixtures, sample_size)[0]
            components = tf.tile(tf.eye(size, dtype=tf.float64), [len(audit.directions), 1])
            total = tf.reduce_sum(components * estimates)
        slope = first.gradient(total, distances)
    curvature = second.gradient(slope, distances)
    np.testing.assert_allclose(slopes.ravel(), slope, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(2.0 * halves.ravel(), curvature, rtol=1e-7, atol=1e-8)


def test_taylor_coefficients_of_a_known_function():
    values = np.exp(3.0 * 0.1 * limit.NODES)
    coefficients = [limit.taylor(values, 0.1, order) for order in range(4)]
    np.testing.assert_allclose(coefficients, [1.0, 3.0, 4.5, 4.5], rtol=1e-7)


def test_the_table(tmp_path):
    settings = LimitSettings(problem=("bandit", "bandit-1"), estimators=("lsf", "maml"))
    limit.audit(settings, tmp_path / "limit.parquet")
    table = pd.read_parquet(tmp_path / "limit.parquet")
    assert list(table.columns) == columns.LIMIT.names
    assert table["problem"].tolist() == ["bandit", "bandit", "bandit-1", "bandit-1"]
    assert table["estimator"].tolist() == ["lsf", "maml"] * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problem": ("bandits",)}, "unknown problem 'bandits'"),
        ({"estimators": ("lfs",)}, "unknown estimator 'lfs'"),
        ({"problem": ()}, "no problem given"),
        ({"estimators": ()}, "no estimator given"),
        ({"problem": ("bandit", "bandit")}, "given twice"),
    ],
)
def test_bad_input_writes_nothing(changes, message, tmp_path):
    given = {"problem": ("bandit",), "estimators": ("lsf",)}
    with pytest.raises(InputError, match=message):
        limit.audit(LimitSettings(**given | changes), tmp_path / "limit.parquet")
    assert not list(tmp_path.iterdir())
