"""What is written fits its table, or is not written."""

import numpy as np
import pandas as pd
import pytest

from metarl.results import columns, tables
from metarl.results.writer import write_table

ROW = {"algorithm": "maml", "environment": "PointGoal", "estimator": "maml", "seed": 0}
ROW |= {"iterations": 2, "task": 1, "inner_step": 0, "mean_return": -3.0}


def test_rows_come_back_in_the_tables_order_and_dtypes(tmp_path):
    row = ROW | {"mean_return": np.float32(-3.0)}
    write_table(columns.EVALUATION, [dict(reversed(row.items()))], tmp_path / "a.parquet")
    frame = pd.read_parquet(tmp_path / "a.parquet")
    assert list(frame) == columns.EVALUATION.names
    assert frame.dtypes.astype(str).to_dict() == columns.EVALUATION.dtypes
    pd.testing.assert_frame_equal(frame, tables.read(columns.EVALUATION, [tmp_path / "a.parquet"]))


def test_no_rows_are_a_table_too(tmp_path):
    write_table(columns.EVALUATION, [], tmp_path / "a.parquet")
    frame = tables.read(columns.EVALUATION, [tmp_path / "a.parquet"])
    assert frame.empty and list(frame) == columns.EVALUATION.names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"speed": 1.0}, r"unknown columns \['speed'\]"),
        ({"seed": 0.5}, "seed is float64, not int64"),
        ({"mean_return": "high"}, "mean_return is str, not float64"),
        ({"algorithm": 3}, "algorithm is int64, not str"),
    ],
)
def test_what_does_not_fit_is_not_written(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        write_table(columns.EVALUATION, [ROW | change], tmp_path / "a.parquet")
    without = {key: value for key, value in ROW.items() if key != "task"}
    with pytest.raises(ValueError, match=r"missing or unknown columns \['task'\]"):
        write_table(columns.EVALUATION, [without], tmp_path / "a.parquet")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "table",
    [
        columns.EXACT,
        columns.SAMPLED,
        columns.CONVERGENCE,
        columns.TRAINING,
        columns.EVALUATION,
        columns.PUBLISHED,
        columns.paths(3, 2),
    ],
)
def test_every_column_has_its_name_once_and_a_meaning(table):
    assert len(set(table.names)) == len(table.names)
    assert all(column.meaning for column in table.columns) and table.keys
