"""The exact audit against enumeration by hand, finite differences and the rates that theory gives."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from metarl.audit import exact
from metarl.audit.problems import PROBLEMS, problem
from metarl.audit.rates import fit
from metarl.errors import InputError
from metarl.estimators import CATALOGUE, Estimator
from metarl.estimators.catalogue import lsf

SAMPLE_SIZES = (4, 8, 16, 32, 64)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> pd.DataFrame:
    """The whole catalogue on both problems, as the command writes it."""
    folder = tmp_path_factory.mktemp("audit")
    for name in PROBLEMS:
        exact.audit(name, list(CATALOGUE), SAMPLE_SIZES, folder / f"{name}.parquet")
    return pd.concat([pd.read_parquet(folder / f"{name}.parquet") for name in PROBLEMS])


def rows(table: pd.DataFrame, name: str, estimator: str) -> pd.DataFrame:
    chosen = table[(table["problem"] == name) & (table["estimator"] == estimator)]
    return chosen.sort_values("sample_size")


def slope(frame: pd.DataFrame, column: str) -> float:
    return fit(frame["sample_size"], frame[column], confidence=0.95).slope


def test_columns_and_rows(table):
    assert list(table.columns) == [
        "problem", "estimator", "sample_size", "bias", "relative_bias", "variance", "gradient_norm",
    ]  # fmt: skip
    assert len(table) == len(PROBLEMS) * len(CATALOGUE) * len(SAMPLE_SIZES)
    assert np.isfinite(table.select_dtypes("number").to_numpy()).all()


@pytest.mark.parametrize("name", PROBLEMS)
class TestRates:
    """Exact numbers, so no false alarms: a bound fails only if the code changes."""

    def test_unbiased_ones_have_no_bias(self, table, name):
        for estimator in ("unbiased", "unbiased_baseline", "leave_one_out"):
            assert rows(table, name, estimator)["relative_bias"].max() < 1e-12

    def test_unbiased_variance_grows_like_n(self, table, name):
        assert slope(rows(table, name, "unbiased"), "variance") == pytest.approx(1.0, abs=0.05)

    def test_a_baseline_makes_it_constant(self, table, name):
        assert abs(slope(rows(table, name, "unbiased_baseline"), "variance")) < 0.15

    def test_leave_one_out_variance_falls_like_lsf(self, table, name):
        assert slope(rows(table, name, "leave_one_out"), "variance") == pytest.approx(-1.0, abs=0.1)

    @pytest.mark.parametrize("estimator", ["lsf", "dice"])
    def test_lsf_and_dice(self, table, name, estimator):
        assert slope(rows(table, name, estimator), "bias") == pytest.approx(-1.0, abs=0.1)
        assert slope(rows(table, name, estimator), "variance") == pytest.approx(-1.0, abs=0.1)

    @pytest.mark.parametrize("estimator", ["maml", "fomaml", "emaml"])
    def test_bias_floors(self, table, name, estimator):
        frame = rows(table, name, estimator)
        assert frame["relative_bias"].min() > 0.05
        assert abs(slope(frame, "bias")) < 0.1
        assert slope(frame, "variance") == pytest.approx(-1.0, abs=0.1)


def test_lvc_has_a_floor_where_states_are_revisited_only(table):
    assert slope(rows(table, "bandit", "lvc"), "bias") == pytest.approx(-1.0, abs=0.1)
    chain = rows(table, "chain", "lvc")
    assert abs(slope(chain, "bias")) < 0.1
    floor = chain["relative_bias"].iloc[-1]
    assert 0.01 < floor < rows(table, "chain", "maml")["relative_bias"].iloc[-1]


def test_compositions():
    found = exact.compositions(4, 3)
    expected = [c for c in itertools.product(range(5), repeat=3) if sum(c) == 4]
    assert sorted(map(tuple, found)) == sorted(expected)


def naive_objective(finite, parameters: np.ndarray, sample_size: int) -> float:
    """J_N(theta) = E[V(theta')] in plain NumPy, one ordered sample of trajectories at a time."""
    states, actions = finite.policy.states, finite.policy.actions
    visits = finite.observations.argmax(-1), finite.actions.argmax(-1)

    def probabilities(theta: np.ndarray) -> np.ndarray:
        table = np.exp(theta.reshape(states, actions))
        table /= table.sum(axis=1, keepdims=True)
        return table

    def trajectory_probabilities(theta: np.ndarray) -> np.ndarray:
        return probabilities(theta)[visits].prod(axis=1)

    def gradient(theta: np.ndarray, m: int) -> np.ndarray:
        """f of trajectory m: sum_t (reward-to-go) grad log pi."""
        total = np.zeros((states, actions))
        for t, (s, a) in enumerate(zip(visits[0][m], visits[1][m], strict=True)):
            score = -probabilities(theta)[s]
            score[a] += 1.0
            total[s] += finite.rewards[m, t:].sum() * score
        return total.ravel()

    shares = [gradient(parameters, m) for m in range(len(finite.rewards))]
    chances = trajectory_probabilities(parameters)
    objective = 0.0
    for sample in itertools.product(range(len(shares)), repeat=sample_size):
        step = sum(shares[m] for m in sample) / sample_size
        adapted = parameters + finite.inner_learning_rate * step
        returns = trajectory_probabilities(adapted) @ finite.rewards.sum(axis=1)
        objective += math.prod(chances[m] for m in sample) * returns
    return objective


@pytest.mark.parametrize("name", PROBLEMS)
def test_estimand_is_the_gradient_of_the_objective(table, name):
    """Against central differences of J_4, enumerated over ordered samples: independent of the algebra."""
    finite = problem(name)
    step, gradient = 1e-5, []
    for direction in np.eye(len(finite.parameters)):
        above = naive_objective(finite, finite.parameters + step * direction, 4)
        below = naive_objective(finite, finite.parameters - step * direction, 4)
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
    ("arguments", "message"),
    [
        (("bandits", ["lsf"], [4]), "unknown problem 'bandits'; choose one of bandit, chain"),
        (("bandit", ["lfs"], [4]), "unknown estimator 'lfs'"),
        (("bandit", ["lsf"], [0]), "sample size is 0; give an integer >= 1"),
        (("chain", ["lsf"], [100000]), "distinct samples"),
        (("bandit", ["lsf"], []), "no sample size given"),
        (("bandit", [], [4]), "no estimator given"),
        (("bandit", ["lsf", "lsf"], [4]), "given twice"),
    ],
)
def test_bad_input_writes_nothing(arguments, message, tmp_path):
    with pytest.raises(InputError, match=message):
        exact.audit(*arguments, tmp_path / "out.parquet")
    assert not list(tmp_path.iterdir())
