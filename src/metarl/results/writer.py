"""Writes tables that hold what `metarl.results.columns` says."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from metarl.results.columns import Table
from metarl.storage import write_parquet


def write_table(table: Table, rows: Sequence[Mapping] | pd.DataFrame, path: Path) -> None:
    """Writes rows as a parquet file, its columns in the table's order and of its dtypes.

    Args:
      table: the contract.
      rows: with exactly the table's columns.
      path: parquet file.

    Raises:
      ValueError: a column is missing, unknown, or of values that its dtype cannot hold.
    """
    frame = pd.DataFrame(rows, columns=None if len(rows) else table.names)
    wrong = set(table.names) ^ set(frame.columns)
    if wrong:
        raise ValueError(f"{table.name} table: missing or unknown columns {sorted(wrong)}")
    for name, dtype in table.dtypes.items():
        if len(frame) and not _holds(frame[name].dtype, dtype):
            raise ValueError(f"{table.name} table: {name} is {frame[name].dtype}, not {dtype}")
    write_parquet(frame[table.names].astype(table.dtypes), path)


def _holds(given: object, dtype: str) -> bool:
    """Whether `dtype` holds all values of dtype `given` as they are, or rounded as floats are."""
    if dtype == "str" or not isinstance(given, np.dtype):
        return str(given) == dtype
    return np.can_cast(given, dtype, "safe")
