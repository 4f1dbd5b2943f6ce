"""Reads the tables of `metarl.results.columns`, and rearranges them for figures and claims."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet

from metarl.errors import InputError
from metarl.results.columns import SAMPLED, Table

CONTROLS = "metarl.audit.controls:"  # how the names of planted errors begin
RUN = ["environment", "algorithm", "estimator", "seed", "sample_size"]


def read(table: Table, paths: Sequence[Path | str]) -> pd.DataFrame:
    """The table's columns of all the files, sorted by its keys; no file gives no rows.

    Raises:
      InputError: a file is missing or not parquet, a column is missing or of another dtype, or two
        rows share their keys.
    """
    if not paths:
        return pd.DataFrame(columns=table.names).astype(table.dtypes)
    frame = pd.concat([_read_file(table, path) for path in paths], ignore_index=True)
    repeated = frame.duplicated(table.keys)
    if repeated.any():
        row = ", ".join(f"{key} {frame.loc[repeated.idxmax(), key]}" for key in table.keys)
        raise InputError(f"{table.name} table: two rows for {row}: give each run once")
    return frame.sort_values(table.keys, ignore_index=True)


def _read_file(table: Table, path: Path | str) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file: give {table.name} parquet files") from None
    except (OSError, pyarrow.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a parquet file ({reason}): write it again") from None
    missing = [name for name in table.names if name not in frame]
    if missing:
        raise InputError(
            f"{path}: no column {', '.join(missing)}:"
            f" the {table.name} table has {', '.join(table.names)}"
        )
    if frame.empty:  # whose dtypes mean nothing
        return frame[table.names].astype(table.dtypes)
    for name, dtype in table.dtypes.items():
        if str(frame[name].dtype) != dtype:
            raise InputError(
                f"{path}: column {name} is {frame[name].dtype}:"
                f" in the {table.name} table it is {dtype}; write it again"
            )
    return frame[table.names]


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


def require_confidence(paths: Sequence[Path | str], confidence: float) -> None:
    """Checks that the intervals of sampled audits have the confidence that is asked for.

    Raises:
      InputError: as `read`, or a file's intervals have another confidence.
    """
    for path in paths:
        for given in read(SAMPLED, [path])["confidence"].unique():
            if given != confidence:
                raise InputError(
                    f"{path}: its intervals have confidence {given}, {confidence} is asked for:"
                    f" audit again with --confidence {confidence}"
                )


def is_of(table: Table, path: Path | str) -> bool:
    """Whether a file has the table's keys; one that cannot be read is for `read` to refuse."""
    try:
        return set(table.keys) <= set(pyarrow.parquet.read_schema(path).names)
    except (OSError, pyarrow.ArrowException):
        return False


def is_control(estimators: pd.Series) -> pd.Series:
    """Whether each name is that of a planted error."""
    return estimators.str.startswith(CONTROLS)


def of_rates(sampled: pd.DataFrame) -> pd.DataFrame:
    """Rows of a problem that rates are judged by: those with the largest outer batch."""
    return sampled[sampled["outer_sample_size"] == sampled["outer_sample_size"].max()]


def with_reference(sampled: pd.DataFrame) -> pd.DataFrame:
    """Rows whose bias was measured."""
    return sampled[sampled["gradient_norm"].notna()]


def post_adaptation(training: pd.DataFrame) -> pd.DataFrame:
    """The rows after the last inner step of each run."""
    last = training.groupby(RUN)["inner_step"].transform("max")
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
    """One row a run: the mean of `mean_return`, and whether any row `diverged`.

    Evaluations are of runs whose N goes without saying: they have no sample_size.
    """
    runs = frame.groupby([key for key in RUN if key in frame], as_index=False)
    return runs.agg(mean_return=("mean_return", "mean"), diverged=("diverged", "any"))
