"""Synthetic tables with known answers, as parquet files."""

import itertools

import numpy as np
import pandas as pd
import pytest

from metarl.results import columns

SIZES = (4, 8, 16, 20, 32, 64)
COUNTERPARTS = {"pytorch_maml_rl_as_coded": "maml"}
AUDITED = {  # estimator: relative bias = factor N^exponent, variance = factor N^exponent
    "unbiased": (1e-14, 0.0, 30.0, 1.0),
    "leave_one_out": (1e-14, 0.0, 5.0, -1.0),
    "lsf": (0.05, -1.0, 4.0, -1.0),
    "maml": (0.3, 0.0, 3.0, -1.0),
    "pytorch_maml_rl_as_coded": (0.4, 0.0, 2.0, -1.0),
}


@pytest.fixture
def audit_frame(complete):
    rows = [
        {
            "problem": problem,
            "estimator": estimator,
            "sample_size": size,
            "relative_bias": bias * size**bias_rate,
            "variance": variance * size**variance_rate,
            "gradient_norm": 2.0,
            "counterpart": COUNTERPARTS.get(estimator, ""),
        }
        for problem in ("bandit", "chain")
        for estimator, (bias, bias_rate, variance, variance_rate) in AUDITED.items()
        for size in SIZES
    ]
    return complete(columns.EXACT, pd.DataFrame(rows))


@pytest.fixture
def training_frame(complete):
    """Seeds 0, 1, 2 return 10 i, 10 i + 1, 10 i + 2 after adaptation in iteration i."""
    frame = runs(
        {"iteration": range(5), "inner_step": range(2)},
        lambda row: 10.0 * row["iteration"] * row["inner_step"] + row["seed"],
    )
    steps = 1000 * (frame["iteration"] + 1)
    return complete(columns.TRAINING, frame.assign(environment_steps=steps, sample_size=20))


@pytest.fixture
def study_frame(training_frame):
    """The same at N = 5 and 80, ten lower and ten higher."""
    returns = training_frame["mean_return"]
    return pd.concat(
        [
            training_frame.assign(sample_size=size, mean_return=returns + shift)
            for size, shift in ((5, -10.0), (80, 10.0))
        ],
        ignore_index=True,
    )


@pytest.fixture
def sampled_frame(complete):
    """A Monte Carlo audit and two simulated ones, of which the second has no reference."""
    places = (("monte_carlo", "random_mdp_1"), ("mujoco", "A, initial"), ("mujoco", "A, trained"))
    rows = []
    for (level, problem), (estimator, wanted), size in itertools.product(
        places, AUDITED.items(), (4, 8, 16)
    ):
        bias, bias_rate, variance, variance_rate = wanted
        relative = np.nan if problem == "A, trained" else max(bias, 1e-3) * size**bias_rate
        row = {"level": level, "problem": problem, "estimator": estimator, "sample_size": size}
        row |= {"relative_bias": relative, "inner_variance": variance * size**variance_rate}
        rows.append(row | {"outer_variance": 0.3, "difference_to_lsf": 0.5})
    frame = complete(columns.SAMPLED, pd.DataFrame(rows))
    for name in ("relative_bias", "inner_variance"):
        frame[f"{name}_low"], frame[f"{name}_high"] = 0.5 * frame[name], 2.0 * frame[name]
    return frame.assign(gradient_norm=2.0, confidence=0.95)


@pytest.fixture
def convergence_frame(complete):
    """Squared norms 2 exp(-k / (4 N)) of unbiased, at half the rate for even seeds; lsf's fall ten
    times as fast."""
    rows = [
        {
            "problem": "bandit",
            "estimator": name,
            "sample_size": size,
            "epsilon": 0.1,
            "seed": seed,
            "iteration": k,
            "squared_gradient_norm": 2.0 * np.exp(-k * rate / (4 * size * (1 + seed % 2))),
            "variance": 5.0 * size if name == "unbiased" else 5.0 / size,
        }
        for name, rate in (("unbiased", 1.0), ("lsf", 10.0))
        for size in (2, 4)
        for seed in range(4)
        for k in (0, 1, 2, 4, 8, 16)
    ]
    frame = pd.DataFrame(rows).assign(step_size=0.5, squared_bias=0.0)
    return complete(columns.CONVERGENCE, frame)


@pytest.fixture
def evaluation_frame(complete):
    """Seeds 0, 1, 2 return 10 k, 10 k + 1, 10 k + 2 after inner step k, on the mean of 2 tasks."""
    frame = runs(
        {"task": range(2), "inner_step": range(4)},
        lambda row: 10.0 * row["inner_step"] + row["seed"] + (-1) ** row["task"],
    )
    return complete(columns.EVALUATION, frame)


@pytest.fixture
def published_frame(evaluation_frame):
    """As evaluated, beside published 5 + 10 k +- 2."""
    frame = evaluation_frame[evaluation_frame["algorithm"] == "second"]
    return frame.assign(published_return=5.0 + 10.0 * frame["inner_step"], published_deviation=2.0)


@pytest.fixture
def paths_frame(complete, evaluation_frame):
    """Straight lines: after k inner steps, trajectory i of task j goes to (k j + i / 10, -k j) in 4
    steps."""
    frame = evaluation_frame[evaluation_frame["algorithm"] == "second"]
    frame = frame.merge(pd.DataFrame({"trajectory": [0, 1]}), how="cross")
    frame = frame.merge(pd.DataFrame({"step": [1, 2, 3, 4]}), how="cross")
    end = frame["inner_step"] * frame["task"]
    frame = frame.assign(
        task_0=2.0 * frame["task"] - 1.0,
        task_1=0.5,
        x=frame["step"] / 4 * (end + frame["trajectory"] / 10),
        y=-frame["step"] / 4 * end,
    )
    return complete(columns.paths(task_size=2, position_size=2), frame)


def runs(axes, mean_return):
    algorithms = [("first", "unbiased"), ("second", "lsf"), ("third", "lsf")]
    rows = [
        dict(zip(["environment", "algorithm", "seed", *axes], values, strict=True))
        for values in itertools.product(
            ("HalfCheetahDir", "PointGoal"), algorithms, range(3), *axes.values()
        )
    ]
    for row in rows:
        row["algorithm"], row["estimator"] = row["algorithm"]
        row["mean_return"] = mean_return(row)
    return pd.DataFrame(rows)


@pytest.fixture
def tables_of(
    audit_frame,
    sampled_frame,
    convergence_frame,
    training_frame,
    study_frame,
    evaluation_frame,
    published_frame,
    paths_frame,
):
    """The table that each figure reads; estimator_matrix reads an exact audit beside this one."""
    return {
        "exact_audit": audit_frame,
        "sampled_audit": sampled_frame,
        "published_code": audit_frame,
        "budget": audit_frame,
        "convergence": convergence_frame,
        "sample_sizes": study_frame,
        "learning_curves": training_frame,
        "adaptation": evaluation_frame,
        "published_returns": published_frame,
        "comparison": training_frame,
        "point_paths": paths_frame,
        "torso_positions": paths_frame,
    }


@pytest.fixture
def nothing_finite():
    """Takes the finite numbers from a frame."""

    def spoil(frame):
        measured = ["relative_bias", "variance", "mean_return", "x", "y"]
        spoilt = {name: frame[name] * np.nan for name in frame.columns.intersection(measured)}
        return frame.assign(**spoilt)

    return spoil
