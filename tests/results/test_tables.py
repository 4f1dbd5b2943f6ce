import numpy as np
import pandas as pd
import pytest

from metarl.errors import InputError
from metarl.results import columns, tables


@pytest.fixture
def exact(complete):
    """Two estimators at three N."""
    frame = pd.DataFrame(
        {"estimator": ["lsf", "maml"] * 3, "sample_size": [4, 4, 8, 8, 16, 16], "variance": 1.0}
    )
    return complete(columns.EXACT, frame.assign(problem="chain"))


@pytest.fixture
def training(complete):
    """Two algorithms, two iterations, before and after one inner step."""
    index = pd.MultiIndex.from_product(
        [["first", "second"], [0, 1], [0, 1]], names=["algorithm", "iteration", "inner_step"]
    )
    frame = index.to_frame(index=False).assign(environment="Flat", estimator="lsf", sample_size=20)
    return complete(columns.TRAINING, frame.assign(mean_return=1.0))


def test_files_are_joined_and_sorted(exact, write):
    paths = write(exact[::-2], exact[-2::-2])
    expected = exact.sort_values(columns.EXACT.keys, ignore_index=True)
    pd.testing.assert_frame_equal(tables.read(columns.EXACT, paths), expected)


def test_no_file_gives_no_rows_but_all_columns():
    frame = tables.read(columns.TRAINING, [])
    assert frame.empty
    assert frame.dtypes.astype(str).to_dict() == columns.TRAINING.dtypes


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="nowhere.parquet: no such file") as error:
        tables.read(columns.EXACT, [tmp_path / "nowhere.parquet"])
    assert "\n" not in str(error.value)


def test_file_that_is_not_parquet(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a table")
    with pytest.raises(InputError, match="not a parquet file") as error:
        tables.read(columns.EXACT, [path])
    assert "\n" not in str(error.value)


def test_missing_columns(exact, write):
    with pytest.raises(InputError, match="no column bias, variance: the exact audit table has pro"):
        tables.read(columns.EXACT, write(exact.drop(columns=["variance", "bias"])))


def test_another_dtype(exact, write):
    wrong = exact.assign(sample_size=exact["sample_size"] + 0.5)
    message = "column sample_size is float64: in the exact audit table it is int64"
    with pytest.raises(InputError, match=message):
        tables.read(columns.EXACT, write(wrong))


def test_a_table_of_another_kind(training, write):
    with pytest.raises(InputError, match="no column problem, bias, .*: the exact audit table has"):
        tables.read(columns.EXACT, write(training))


def test_same_run_twice(training, write):
    with pytest.raises(InputError, match="two rows for algorithm first, environment Flat"):
        tables.read(columns.TRAINING, write(training, training))
    other = training.assign(sample_size=80)
    assert len(tables.read(columns.TRAINING, write(training, other))) == 2 * len(training)


def test_no_rows(exact, write):
    for paths in ([], write(exact[:0])):
        with pytest.raises(InputError, match="no exact audit rows"):
            tables.read_some(columns.EXACT, paths)


def test_another_confidence_is_refused(complete, write):
    frame = complete(columns.SAMPLED, pd.DataFrame({"estimator": ["lsf"], "confidence": [0.9]}))
    paths = write(frame)
    tables.require_confidence(paths, 0.9)
    message = f"{paths[0]}: its intervals have confidence 0.9, 0.95 is asked for: audit again"
    with pytest.raises(InputError, match=message):
        tables.require_confidence(paths, 0.95)


def test_controls_are_planted_errors_of_the_package():
    from metarl.audit import controls
    from metarl.estimators import estimator

    name = f"{tables.CONTROLS}{controls.doubled.__name__}"
    assert estimator(name).name == name
    assert tables.is_control(pd.Series([name, "lsf", "package.module:doubled"])).tolist() == [
        True,
        False,
        False,
    ]


def test_post_adaptation_is_the_last_inner_step_of_each_run(training):
    longer = training["algorithm"] == "first"
    extra = training[longer & (training["inner_step"] == 1)].assign(inner_step=2)
    other_size = training[longer].assign(sample_size=80)
    post = tables.post_adaptation(pd.concat([training, extra, other_size], ignore_index=True))
    steps = post.groupby(["algorithm", "sample_size"])["inner_step"].unique().map(list)
    assert steps.to_dict() == {("first", 20): [2], ("first", 80): [1], ("second", 20): [1]}


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
