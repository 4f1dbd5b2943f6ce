"""The exact audit against enumeration by hand, finite differences and rates of theory."""

import dataclasses
import itertools
import math

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from metarl.audit import exact
from metarl.audit.problems import PROBLEMS, problem
from metarl.audit.settings import ExactSettings
from metarl.errors import InputError
from metarl.estimators import CATALOGUE, Estimator
from metarl.estimators.catalogue import lsf
from metarl.results import columns
from metarl.results.rates import fit

SAMPLE_SIZES = {
    "bandit": (4, 8, 16, 32, 64),
    "chain": (4, 8, 16, 32, 64),
    "long_chain": (1, 2),
    "windy": (4, 8, 16),
    "stopping": (4, 8, 16, 32, 64),
    "two_steps": (2, 4, 8, 16),
}
ONE_STEP = ("bandit", "chain", "windy")


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> pd.DataFrame:
    """The whole catalogue on every problem, as the command writes it."""
    folder = tmp_path_factory.mktemp("audit")
    for name, sample_sizes in SAMPLE_SIZES.items():
        settings = ExactSettings(
            problem=(name,), estimators=tuple(CATALOGUE), sample_sizes=sample_sizes
        )
        exact.audit(settings, folder / f"{name}.parquet")
    return pd.concat([pd.read_parquet(folder / f"{name}.parquet") for name in SAMPLE_SIZES])


def test_every_problem_is_audited_here():
    assert list(SAMPLE_SIZES) == list(PROBLEMS)


def rows(table: pd.DataFrame, name: str, estimator: str) -> pd.DataFrame:
    chosen = table[(table["problem"] == name) & (table["estimator"] == estimator)]
    return chosen.sort_values("sample_size")


def slope(frame: pd.DataFrame, column: str) -> float:
    return fit(frame["sample_size"], frame[column], confidence=0.95).slope


def test_columns_and_rows(table):
    assert list(table.columns) == columns.EXACT.names
    assert len(table) == sum(map(len, SAMPLE_SIZES.values())) * len(CATALOGUE)
    assert np.isfinite(table.select_dtypes("number").to_numpy()).all()


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_unbiased_ones(table, name):
    """Exact numbers here and below, so no false alarms: a bound fails only if the code changes."""
    for estimator in ("unbiased", "unbiased_baseline"):
        assert rows(table, name, estimator)["relative_bias"].max() < 1e-12
    if len(SAMPLE_SIZES[name]) < 3:
        return  # too few for a slope
    assert slope(rows(table, name, "unbiased"), "variance") == pytest.approx(1.0, abs=0.1)
    assert abs(slope(rows(table, name, "unbiased_baseline"), "variance")) < 0.15


@pytest.mark.parametrize("name", ONE_STEP)
class TestRates:
    """The small sample sizes of `windy` are still far from their slopes: bounds are wider there."""

    @pytest.fixture
    def margin(self, name):
        return 0.2 if name == "windy" else 0.1

    def test_leave_one_out(self, table, name, margin):
        frame = rows(table, name, "leave_one_out")
        assert frame["relative_bias"].max() < 1e-12
        assert slope(frame, "variance") == pytest.approx(-1.0, abs=margin)

    @pytest.mark.parametrize(
        ("estimator", "order"), [("lsf", -1.0), ("dice", -1.0), ("lsf2", -2.0)]
    )
    def test_lsf_and_its_kin(self, table, name, estimator, order, margin):
        frame = rows(table, name, estimator)
        assert slope(frame, "bias") == pytest.approx(order, abs=margin)
        assert slope(frame, "variance") == pytest.approx(-1.0, abs=margin)

    @pytest.mark.parametrize("estimator", ["maml", "fomaml", "emaml"])
    def test_bias_floors(self, table, name, estimator, margin):
        frame = rows(table, name, estimator)
        assert frame["relative_bias"].min() > 0.05
        assert abs(slope(frame, "bias")) < 0.1
        assert slope(frame, "variance") == pytest.approx(-1.0, abs=margin)


@pytest.mark.parametrize("estimator", ["lsf", "lsf2", "leave_one_out", "dice", "lvc"])
def test_two_inner_steps(table, estimator):
    """The last of two steps alone is leave_one_out's own; before it there is lsf's bias."""
    frame = rows(table, "two_steps", estimator)
    assert slope(frame, "bias") == pytest.approx(-1.0, abs=0.1)
    assert slope(frame, "variance") == pytest.approx(-1.0, abs=0.1)


@pytest.mark.parametrize("estimator", ["lsf", "lsf2", "leave_one_out", "dice"])
def test_the_mean_over_steps_of_unequal_lengths_is_a_bias_floor(table, estimator):
    """Its divisor depends on every trajectory; the sum over steps has no floor."""
    frame = rows(table, "stopping", estimator)
    assert frame["relative_bias"].min() > 0.03
    assert abs(slope(frame, "bias")) < 0.1
    sums = dataclasses.replace(problem("stopping"), averaging="trajectories")
    audit = exact.ExactAudit(sums, [CATALOGUE[estimator]])
    assert audit.run(32)[0]["relative_bias"] < 0.01


def test_instances_differ_and_repeat():
    assert np.array_equal(problem("chain-3").rewards, problem("chain-3").rewards)
    assert not np.array_equal(problem("chain-3").rewards, problem("chain-4").rewards)
    assert not np.array_equal(problem("chain-3").parameters, problem("chain").parameters)


@pytest.mark.parametrize("name", [*PROBLEMS, "windy-2"])
def test_trajectories_are_all_there_are(name):
    """Their probabilities sum to 1 for any logits, and no two are alike."""
    finite = problem(name)
    audit = exact.ExactAudit(finite, [])
    logits = tf.constant([finite.parameters, 3.0 * finite.parameters])
    probabilities = tf.exp(audit.log_probabilities(logits))
    np.testing.assert_allclose(tf.reduce_sum(probabilities, axis=1), 1.0, rtol=1e-12)
    steps = np.concatenate([finite.observations, finite.actions], axis=-1) * finite.mask[..., None]
    assert len(np.unique(steps.reshape(len(steps), -1), axis=0)) == len(steps)


def test_lvc_has_a_floor_where_states_are_revisited_only(table):
    assert slope(rows(table, "bandit", "lvc"), "bias") == pytest.approx(-1.0, abs=0.1)
    chain = rows(table, "chain", "lvc")
    assert abs(slope(chain, "bias")) < 0.1
    floor = chain["relative_bias"].iloc[-1]
    assert 0.01 < floor < rows(table, "chain", "maml")["relative_bias"].iloc[-1]


def test_compositions():
    compositions = exact.compositions(4, 3)
    expected = [c for c in itertools.product(range(5), repeat=3) if sum(c) == 4]
    assert sorted(map(tuple, compositions)) == sorted(expected)


def naive_objective(finite, parameters: np.ndarray, sample_size: int, steps_left: int) -> float:
    """J_N(theta) = E[V(theta')] in plain NumPy, one ordered sample of trajectories at a time."""
    states, actions = finite.policy.states, finite.policy.actions
    visits = finite.observations.argmax(-1), finite.actions.argmax(-1)
    lengths = finite.mask.sum(axis=1).astype(int)
    table = np.exp(parameters.reshape(states, actions))
    table /= table.sum(axis=1, keepdims=True)
    chances = np.exp(finite.log_transitions) * np.where(finite.mask > 0, table[visits], 1.0).prod(
        axis=1
    )
    if steps_left == 0:
        return chances @ finite.rewards.sum(axis=1)

    def gradient(m: int) -> np.ndarray:
        """f of trajectory m: sum_t (reward-to-go) grad log pi."""
        total = np.zeros((states, actions))
        for t in range(lengths[m]):
            s, a = visits[0][m, t], visits[1][m, t]
            score = -table[s]
            score[a] += 1.0
            total[s] += finite.rewards[m, t:].sum() * score
        return total.ravel()

    shares = [gradient(m) for m in range(len(finite.rewards))]
    objective = 0.0
    for sample in itertools.product(range(len(shares)), repeat=sample_size):
        divisor = sample_size
        if finite.averaging == "steps":
            divisor = sum(lengths[m] for m in sample)
        step = sum(shares[m] for m in sample) / divisor
        adapted = parameters + finite.inner_learning_rate * step
        later = naive_objective(finite, adapted, sample_size, steps_left - 1)
        objective += math.prod(chances[m] for m in sample) * later
    return objective


@pytest.mark.parametrize("name", PROBLEMS)
def test_estimand_is_the_gradient_of_the_objective(table, name):
    """Against central differences of J_N over ordered samples: independent of the algebra."""
    finite = problem(name)
    sample_size = SAMPLE_SIZES[name][0]
    step, gradient = 1e-5, []
    for direction in np.eye(len(finite.parameters)):
        above, below = (
            naive_objective(
                finite, finite.parameters + s * direction, sample_size, finite.inner_steps
            )
            for s in (step, -step)
        )
        gradient.append((above - below) / (2 * step))
    measured = rows(table, name, "unbiased")["gradient_norm"].iloc[0]
    assert measured == pytest.approx(np.linalg.norm(gradient), rel=1e-7)


@pytest.mark.parametrize(
    ("fault", "weights"),
    [
        ("sign", lambda step: -lsf(step)),
        ("factor", lambda step: 2.0 * lsf(step)),
        ("shuffled", lambda step: tf.roll(lsf(step), shift=1, axis=1)),
    ],
)
def test_a_planted_fault_leaves_a_bias_floor(fault, weights):
    audit = exact.ExactAudit(problem("chain"), [Estimator(fault, weights, "", "")])
    biases = [audit.run(sample_size)[0]["relative_bias"] for sample_size in (16, 64)]
    assert min(biases) > 0.05
    assert biases[1] > 0.8 * biases[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problem": ("bandits",)}, "unknown problem 'bandits'; choose one of bandit, chain"),
        ({"estimators": ("lfs",)}, "unknown estimator 'lfs'"),
        ({"problem": ("chain",), "sample_sizes": (4, 100_000)}, "distinct samples"),
    ],
)
def test_bad_input_writes_nothing(changes, message, tmp_path):
    given = {"problem": ("bandit",), "estimators": ("lsf",), "sample_sizes": (4,)}
    with pytest.raises(InputError, match=message):
        exact.audit(ExactSettings(**given | changes), tmp_path / "out.parquet")
    assert not list(tmp_path.iterdir())
