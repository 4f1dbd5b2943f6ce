"""Synthetic tables with known answers, as parquet files."""

import itertools

import numpy as np
import pandas as pd
import pytest

SIZES = (4, 8, 16, 20, 32, 64)
AUDITED = {  # estimator: relative bias = factor N^exponent, variance = factor N^exponent
    "unbiased": (1e-14, 0.0, 30.0, 1.0),
    "leave_one_out": (1e-14, 0.0, 5.0, -1.0),
    "lsf": (0.05, -1.0, 4.0, -1.0),
    "maml": (0.3, 0.0, 3.0, -1.0),
    "pytorch_maml_rl_as_coded": (0.4, 0.0, 2.0, -1.0),
}


@pytest.fixture
def audit_frame():
    return pd.DataFrame(
        [
            {
                "problem": problem,
                "estimator": estimator,
                "sample_size": size,
                "relative_bias": bias * size**bias_rate,
                "variance": variance * size**variance_rate,
            }
            for problem in ("bandit", "chain")
            for estimator, (bias, bias_rate, variance, variance_rate) in AUDITED.items()
            for size in SIZES
        ]
    )


@pytest.fixture
def training_frame():
    """Seeds 0, 1, 2 return 10 i, 10 i + 1, 10 i + 2 after adaptation in iteration i."""
    return runs(
        {"iteration": range(5), "inner_step": range(2)},
        lambda row: 10.0 * row["iteration"] * row["inner_step"] + row["seed"],
    ).assign(environment_steps=lambda frame: 1000 * (frame["iteration"] + 1))


@pytest.fixture
def evaluation_frame():
    """Seeds 0, 1, 2 return 10 k, 10 k + 1, 10 k + 2 after inner step k, on the mean of 2 tasks."""
    return runs(
        {"task": range(2), "inner_step": range(4)},
        lambda row: 10.0 * row["inner_step"] + row["seed"] + (-1) ** row["task"],
    )


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
def write(tmp_path):
    """Writes frames to parquet files and gives their paths."""

    def write_frames(*frames):
        paths = [tmp_path / f"table_{i}.parquet" for i in range(len(frames))]
        for frame, path in zip(frames, paths, strict=True):
            frame.to_parquet(path)
        return paths

    return write_frames


@pytest.fixture
def tables_of(audit_frame, training_frame, evaluation_frame):
    """The table that each figure reads."""
    return {
        "exact_audit": audit_frame,
        "published_code": audit_frame,
        "learning_curves": training_frame,
        "adaptation": evaluation_frame,
    }


@pytest.fixture
def nothing_finite():
    def spoil(frame):
        columns = frame.columns.intersection(["relative_bias", "variance", "mean_return"])
        return frame.assign(**dict.fromkeys(columns, np.nan))

    return spoil
