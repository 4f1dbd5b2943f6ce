"""The tidy tables that figures and claims read, and the ways in which they are rearranged."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow

from metarl.errors import InputError

CONTROLS = "metarl.audit.controls:"  # how the names of planted errors begin
RUN = ["environment", "algorithm", "estimator", "seed"]


@dataclass(frozen=True)
class Table:
    """What a parquet file must hold: `keys` name a row, `values` are numbers."""

    name: str
    keys: tuple[str, ...]
    values: tuple[str, ...]


AUDIT = Table(
    "exact audit",
    ("problem", "estimator", "sample_size"),
    ("relative_bias", "variance", "gradient_norm"),
)
TRAINING = Table(
    "training",
    ("algorithm", "environment", "estimator", "seed", "iteration", "inner_step"),
    ("sample_size", "environment_steps", "mean_return"),
)
MEASURES = (
    "squared_bias",
    "relative_bias",
    "variance",
    "inner_variance",
    "outer_variance",
    "cosine",
)
SAMPLED = Table(
    "sampled audit",
    ("level", "problem", "estimator", "sample_size"),
    (
        *(f"{measure}{end}" for measure in MEASURES for end in ("", "_low", "_high")),
        "relative_standard_deviation",
        "gradient_norm",
        "difference_to_lsf",
        "outer_sample_size",
        "effective_sample_size",
    ),
)
CONVERGENCE = Table(
    "convergence",
    ("problem", "estimator", "sample_size", "epsilon", "seed", "iteration"),
    ("step_size", "squared_gradient_norm", "variance", "squared_bias"),
)
EVALUATION = Table(
    "evaluation",
    ("algorithm", "environment", "estimator", "seed", "task", "inner_step"),
    ("mean_return",),
)

PUBLISHED = Table(
    "published returns",
    EVALUATION.keys,
    ("mean_return", "published_return", "published_deviation"),
)
PATHS = Table(
    "paths",
    ("algorithm", "environment", "estimator", "seed", "task", "inner_step", "trajectory", "step"),
    ("x",),
)


def read(table: Table, paths: Sequence[Path | str]) -> pd.DataFrame:
    """The rows of all the files, sorted by the table's keys; no file gives no rows.

    Raises:
      InputError: a file is missing, is not parquet or lacks a column, or two rows share their keys.
    """
    columns = [*table.keys, *table.values]
    frames = [_read_file(table, path, columns) for path in paths]
    if not frames:
        return pd.DataFrame(columns=columns)
    frame = pd.concat(frames, ignore_index=True)
    repeated = frame.duplicated(list(table.keys))
    if repeated.any():
        row = ", ".join(f"{key} {frame.loc[repeated.idxmax(), key]}" for key in table.keys)
        raise InputError(f"{table.name} table: two rows for {row}: give each run once")
    return frame.sort_values(list(table.keys), ignore_index=True)


def _read_file(table: Table, path: Path | str, columns: list[str]) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file: give {table.name} parquet files") from None
    except (OSError, pyarrow.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a parquet file ({reason}): write it again") from None
    missing = [column for column in columns if column not in frame]
    if missing:
        raise InputError(
            f"{path}: no column {', '.join(missing)}:"
            f" the {table.name} table has {', '.join(columns)}"
        )
    return frame[columns]


def read_some(table: Table, paths: Sequence[Path | str]) -> pd.DataFrame:
    """`read`, for what is meaningless without rows.

    Raises:
      InputError: as `read`, or there is no row at all.
    """
    frame = read(table, paths)
    if frame.empty:
        raise InputError(
            f"no {table.name} rows in {len(paths)} files: give at least one file with rows"
        )
    return frame


def post_adaptation(training: pd.DataFrame) -> pd.DataFrame:
    """The rows after the last inner step of each run."""
    last = training.groupby(["environment", "algorithm", "seed"])["inner_step"].transform("max")
    return training[training["inner_step"] == last]


def by_seed(frame: pd.DataFrame, index: str) -> pd.DataFrame:
    """mean_return as [index, seed], for one algorithm in one environment.

    Only those values of `index` that every seed has are kept, so that a nan means a return that is
    not a number and never a run that is shorter than the others.
    """
    table = frame.pivot(index=index, columns="seed", values="mean_return")
    return table[frame.groupby(index).size() == table.shape[1]]


def final_returns(training: pd.DataFrame) -> pd.DataFrame:
    """One row a run: its mean_return over the last fifth of its iterations, and `diverged`."""
    post = count_divergence_as_worst(post_adaptation(training)).sort_values("iteration")
    iterations = post.groupby(RUN)["iteration"]
    last = iterations.cumcount(ascending=False) < np.ceil(iterations.transform("size") / 5)
    return mean_of_runs(post[last])


def count_divergence_as_worst(frame: pd.DataFrame) -> pd.DataFrame:
    """Replaces each return that is not finite by the worst finite one of its environment.

    Adds the column `diverged`. Where no return of an environment is finite, they become nan.
    """
    returns = frame["mean_return"].astype(float)
    finite = returns.where(np.isfinite(returns))
    worst = finite.groupby(frame["environment"]).transform("min")
    return frame.assign(mean_return=finite.fillna(worst), diverged=finite.isna())


def mean_of_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a run: the mean of `mean_return`, and whether any row `diverged`."""
    runs = frame.groupby(RUN, as_index=False)
    columns = {"mean_return": ("mean_return", "mean"), "diverged": ("diverged", "any")}
    if "sample_size" in frame:
        columns["sample_size"] = ("sample_size", "first")
    return runs.agg(**columns)
