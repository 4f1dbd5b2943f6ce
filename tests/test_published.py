"""The archive of runs with published settings: what it keeps, and what it refuses."""

import json

import numpy as np
import pandas as pd
import pytest

from metarl.errors import InputError
from metarl.published import archive
from metarl.results import columns, tables
from metarl.storage import pack_arrays, write_bytes

RUN = {"algorithm": "maml_trpo", "environment": "PointGoal_finn2017", "estimator": "maml"}


@pytest.fixture
def files(tmp_path, complete):
    """Two seeds' files: seed s returns 10 k + s after inner step k; 1800 s and 5400 s of
    processor."""
    files = {"evaluations": [], "curves": [], "policies": [], "benchmarks": []}
    for seed in range(2):
        names = {kind: tmp_path / f"{kind}_{seed}" for kind in files}
        steps = pd.DataFrame({"inner_step": [0, 1, 2], "task": 0})
        steps = steps.assign(**RUN, seed=seed, mean_return=10.0 * steps["inner_step"] + seed)
        complete(columns.EVALUATION, steps).to_parquet(names["evaluations"])
        curve = pd.DataFrame({"iteration": [0, 0], "inner_step": [0, 1], "mean_return": -1.0})
        curve = curve.assign(**RUN, seed=seed, kl=0.01)
        complete(columns.TRAINING, curve).to_parquet(names["curves"])
        write_bytes(
            pack_arrays({"parameters": np.zeros(2)}, RUN | {"seed": seed}), names["policies"]
        )
        names["benchmarks"].write_text(f"s\tcpu_time\n99\t{1800 + 3600 * seed}\n")
        for kind, path in names.items():
            files[kind].append(path)
    first = {"seed": 0, "task": 0, "inner_step": 0, "trajectory": 0, "step": 1, "x": 0.5}
    path = complete(columns.paths(task_size=1, position_size=1), pd.DataFrame([RUN | first]))
    path.to_parquet(tmp_path / "paths")
    published = {"published_returns": (1.0, 2.0, 3.0), "published_deviations": (0.1, 0.1, 0.2)}
    return files | published | {"paths": tmp_path / "paths", "source": "a paper"}


def test_keeps_returns_curves_paths_and_where_they_came_from(files, tmp_path):
    archive(**files, output=tmp_path / "kept")
    stem = tmp_path / "kept" / RUN["environment"]
    returns = tables.read(columns.PUBLISHED, [f"{stem}_returns.parquet"])
    step = returns["inner_step"]
    np.testing.assert_array_equal(returns["mean_return"], 10.0 * step + returns["seed"])
    np.testing.assert_array_equal(returns["published_return"], 1.0 + step)
    np.testing.assert_array_equal(returns["published_deviation"], np.where(step == 2, 0.2, 0.1))
    assert len(tables.read(columns.TRAINING, [f"{stem}_curves.parquet"])) == 4
    assert (pd.read_parquet(f"{stem}_curves.parquet")["kl"] == 0.01).all()  # not only what is drawn
    assert pd.read_parquet(f"{stem}_paths.parquet")["x"].tolist() == [0.5]
    described = json.loads((tmp_path / "kept" / f"{RUN['environment']}.json").read_text())
    assert described["core_hours"] == {"benchmarks_0": 0.5, "benchmarks_1": 1.5}
    assert described["settings"] == [RUN | {"seed": 0}, RUN | {"seed": 1}]
    assert {"mujoco", "tensorflow", "python"} <= set(described["versions"])
    assert described["machine"]["cores"] >= 1


def other_algorithm(path) -> None:
    pd.read_parquet(path).assign(algorithm="maml").to_parquet(path)


def elsewhere(path) -> None:
    """Another environment's file."""
    pd.read_parquet(path).assign(environment="PointGoal").to_parquet(path)


def test_without_published_numbers_curves_alone_are_kept(files, tmp_path):
    kinds = ("curves", "policies", "benchmarks", "source")
    archive(**{kind: files[kind] for kind in kinds}, output=tmp_path / "kept")
    name = RUN["environment"]
    kept = {path.name for path in (tmp_path / "kept").iterdir()}
    assert kept == {f"{name}_curves.parquet", f"{name}.json"}
    described = json.loads((tmp_path / "kept" / f"{name}.json").read_text())
    assert (described["source"], described["core_hours"]) == (
        "a paper",
        {"benchmarks_0": 0.5, "benchmarks_1": 1.5},
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda files: files["curves"].pop(),
            "curves are of maml_trpo seed 0; give those of the policies, maml_trpo seed 0, maml",
        ),
        (lambda files: files["evaluations"].pop(), "the returns are of maml_trpo seed 0; give"),
        (
            lambda files: other_algorithm(files["curves"][0]),
            "the curves are of maml seed 0, maml_trpo seed 1",
        ),
        (lambda files: files.update(evaluations=()), "no evaluation rows"),
        (lambda files: elsewhere(files["paths"]), "files of one environment"),
        (lambda files: elsewhere(files["curves"][1]), "files of one environment"),
        (lambda files: files.update(published_deviations=(1.0,)), "3 numbers, one an inner step"),
        (lambda files: files.update(published_returns=(1.0,)), "3 numbers, one an inner step"),
        (lambda files: files["benchmarks"][0].write_text("s\n1\n"), "no cpu_time"),
        (lambda files: files["benchmarks"][0].unlink(), "no cpu_time"),
        (lambda files: files["paths"].unlink(), "no such file"),
    ],
)
def test_refuses_what_does_not_belong_together(files, tmp_path, change, message):
    change(files)
    with pytest.raises(InputError, match=message):
        archive(**files, output=tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
