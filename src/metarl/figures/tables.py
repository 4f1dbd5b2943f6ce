"""The tidy tables that figures and claims read, and the two ways in which they are rearranged."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow

from metarl.errors import InputError


@dataclass(frozen=True)
class Table:
    """What a parquet file must hold: `keys` name a row, `values` are numbers."""

    name: str
    keys: tuple[str, ...]
    values: tuple[str, ...]


AUDIT = Table("exact audit", ("problem", "estimator", "sample_size"), ("relative_bias", "variance"))
TRAINING = Table(
    "training",
    ("algorithm", "environment", "estimator", "seed", "iteration", "inner_step"),
    ("environment_steps", "mean_return"),
)
EVALUATION = Table(
    "evaluation",
    ("algorithm", "environment", "estimator", "seed", "task", "inner_step"),
    ("mean_return",),
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
