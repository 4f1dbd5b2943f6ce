import numpy as np
import pandas as pd
import pytest

from metarl.errors import InputError
from metarl.results import tables


def test_files_are_joined_and_sorted(audit_frame, write):
    paths = write(audit_frame[::-2], audit_frame[-2::-2])
    expected = audit_frame.sort_values(list(tables.AUDIT.keys), ignore_index=True)
    pd.testing.assert_frame_equal(tables.read(tables.AUDIT, paths)[audit_frame.columns], expected)


def test_no_file_gives_no_rows_but_all_columns():
    frame = tables.read(tables.TRAINING, [])
    assert frame.empty
    assert "mean_return" in frame


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="nowhere.parquet: no such file") as error:
        tables.read(tables.AUDIT, [tmp_path / "nowhere.parquet"])
    assert "\n" not in str(error.value)


def test_file_that_is_not_parquet(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a table")
    with pytest.raises(InputError, match="not a parquet file") as error:
        tables.read(tables.AUDIT, [path])
    assert "\n" not in str(error.value)


def test_missing_column(audit_frame, write):
    with pytest.raises(InputError, match="no column variance: the exact audit table has problem"):
        tables.read(tables.AUDIT, write(audit_frame.drop(columns="variance")))


def test_same_run_twice(training_frame, write):
    with pytest.raises(InputError, match="two rows for algorithm first, environment HalfCheetah"):
        tables.read(tables.TRAINING, write(training_frame, training_frame))


def test_no_rows(audit_frame, write):
    for paths in ([], write(audit_frame[:0])):
        with pytest.raises(InputError, match="no exact audit rows"):
            tables.read_some(tables.AUDIT, paths)


def test_post_adaptation_is_the_last_inner_step_of_each_run(training_frame):
    longer = training_frame["algorithm"] == "first"
    extra = training_frame[longer & (training_frame["inner_step"] == 1)].assign(inner_step=2)
    found = tables.post_adaptation(pd.concat([training_frame, extra], ignore_index=True))
    assert found.groupby("algorithm")["inner_step"].unique().map(list).to_dict() == {
        "first": [2],
        "second": [1],
        "third": [1],
    }


def test_by_seed_keeps_nan_and_drops_what_a_seed_lacks():
    frame = pd.DataFrame(
        {
            "seed": [0, 0, 0, 1, 1],
            "iteration": [0, 1, 2, 0, 1],
            "mean_return": [1.0, 2.0, 3.0, 4.0, np.nan],
        }
    )
    table = tables.by_seed(frame, "iteration")
    np.testing.assert_array_equal(table.to_numpy(), [[1.0, 4.0], [2.0, np.nan]])
