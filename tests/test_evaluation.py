"""Evaluation: its own seed, horizon and learning rates, and what does not learn beside it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metarl import environments
from metarl.errors import InputError
from metarl.evaluation import baseline_returns, evaluate
from metarl.figures import adaptation
from metarl.policy_files import save_policy
from metarl.results import columns, tables

RUN = {"environment": "PointGoal", "estimator": "lsf", "algorithm": "label", "hidden_sizes": []}
SIZES = {"tasks": 3, "trajectories": 2}


@pytest.fixture
def policy(tmp_path) -> Path:
    """A linear one that stays where it is, but for its noise."""
    parameters = np.zeros(2 * 2 + 2 + 2, np.float32)
    run = RUN | {"horizon": 6, "seed": 4}
    save_policy(parameters, run, tmp_path / "run.npz")
    save_policy(parameters, run | {"iterations": 50}, tmp_path / "run_iteration_50.npz")
    return tmp_path / "run.npz"


@pytest.fixture
def evaluated(policy, tmp_path):
    """The table of an evaluation with these arguments."""

    def table(inner_steps: int = 2, policies=(policy,), **arguments) -> pd.DataFrame:
        output = tmp_path / "evaluation.parquet"
        evaluate(policies, output, inner_steps=inner_steps, **SIZES, **arguments)
        return tables.read(columns.EVALUATION, [output])

    return table


def test_learning_rates_of_its_own(evaluated):
    """Those of the run, stated, change nothing; the second alone changes what comes after it."""
    own, stated = evaluated(), evaluated(inner_learning_rates=[0.1])
    pd.testing.assert_frame_equal(own, stated)
    later = evaluated(inner_learning_rates=[0.1, 5.0])
    same = own["mean_return"] == later["mean_return"]
    assert same[own["inner_step"] < 2].all() and not same[own["inner_step"] == 2].any()


def test_a_seed_draws_other_tasks_for_the_same_run(evaluated):
    own, other = evaluated(), evaluated(seed=5)
    assert set(other["seed"]) == {4}
    assert not (own["mean_return"] == other["mean_return"]).any()
    pd.testing.assert_frame_equal(evaluated(seed=4), own)


def test_a_horizon_of_its_own(evaluated):
    """At -distance a step, of about 0.4, a longer horizon adds to what is lost."""
    returns = [evaluated(0, horizon=steps)["mean_return"].mean() for steps in (1, 6, 60)]
    assert returns[0] > returns[1] > returns[2]


def test_baselines_are_rows_of_the_same_tasks(evaluated, policy, tmp_path):
    """Once a run's environment and seed, whatever the number of its policies."""
    policies = [policy, tmp_path / "run_iteration_50.npz"]
    frame = evaluated(policies=policies, baselines=["random", "oracle"])
    of_baselines = frame[frame["estimator"] == "none"]
    assert of_baselines["algorithm"].tolist() == ["oracle"] * 3 + ["random"] * 3
    assert (of_baselines[["iterations", "inner_step"]] == 0).all(axis=None)
    best, evenly = (
        of_baselines.loc[of_baselines["algorithm"] == name, "mean_return"].to_numpy()
        for name in ("oracle", "random")
    )
    assert (best > evenly).all()
    last = frame[(frame["estimator"] != "none") & (frame["iterations"] == 100)]
    pd.testing.assert_frame_equal(last.reset_index(drop=True), evaluated())
    evaluated(baselines=["random", "oracle"])
    assert adaptation.draw([tmp_path / "evaluation.parquet"], 0.95).axes  # it can be drawn


@pytest.mark.parametrize("name", ["PointGoal", "PointGoal_finn2017"])
def test_the_oracle_takes_the_fewest_steps_to_the_goal(name):
    """0.1 a step and coordinate: the return of a goal (0.25, -0.1) is known by hand."""
    environment = environments.make(name, tasks=1, trajectories=2, horizon=5)
    goal = np.array([[0.25, -0.1]])
    returns = baseline_returns("oracle", environment, goal, np.random.default_rng(0))
    np.testing.assert_allclose(returns, [[-0.15 - 0.05 - 0.0] * 2], atol=1e-12)


def test_random_actions_fill_their_bounds(monkeypatch):
    """400 draws each of [-0.1, 0.1]: all within, and a mean beyond 0.012 is 4 standard errors."""
    environment = environments.make("PointGoal", tasks=2, trajectories=10, horizon=20)
    step, taken = environment.unwrapped.step, []
    monkeypatch.setattr(
        environment.unwrapped, "step", lambda actions: taken.append(actions) or step(actions)
    )
    baseline_returns("random", environment.unwrapped, np.zeros((2, 2)), np.random.default_rng(0))
    actions = np.array(taken)
    assert actions.shape == (20, 20, 2)
    assert 0.099 < np.abs(actions).max() <= 0.1
    assert np.abs(actions.mean()) < 0.012


def test_no_oracle_is_one_line(tmp_path):
    environment = environments.make("HalfCheetahDir", tasks=1, trajectories=1, horizon=3)
    with pytest.raises(InputError, match="HalfCheetahDir has no oracle; leave it out"):
        baseline_returns("oracle", environment, np.ones((1, 1)), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inner_learning_rates": [0.1, 0.0]}, "inner_learning_rates is 0.0; give positive"),
        ({"inner_learning_rates": [0.1], "later_step_scale": 0.5}, "both later_step_scale and"),
        ({"horizon": 0}, "horizon is 0; give an integer >= 1"),
        ({"seed": -1}, "seed is -1; give an integer >= 0"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line(policy, tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        evaluate([policy], tmp_path / "new.parquet", inner_steps=1, **SIZES, **arguments)
    assert not (tmp_path / "new.parquet").exists()
