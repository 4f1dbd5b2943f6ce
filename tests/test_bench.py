"""The benchmark at a small size: what it reports, and that both sides do the same work."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from metarl import bench
from metarl.environments import make
from metarl.errors import InputError


@pytest.fixture
def small(monkeypatch):
    for name, value in {
        "TASKS": 2, "TRAJECTORIES": 3, "HORIZON": 4, "SEGMENTS": 2, "REPEATS": 1, "MANY": 2, "COSTED_TASKS": 1,
    }.items():  # fmt: skip
        monkeypatch.setattr(bench, name, value)


def test_reports_throughputs_and_their_ratio(small):
    report = json.loads(json.dumps(bench.bench(threads=2)))
    raw, vector = report["raw_env_steps_per_second"], report["vector_env_steps_per_second"]
    assert raw > 0
    assert vector > 0
    assert report["ratio_vector_to_raw"] == pytest.approx(vector / raw)
    iteration = report["iteration_env_steps_per_second"]
    assert iteration > 0
    assert report["ratio_iteration_to_raw"] == pytest.approx(iteration / raw)
    assert report["settings"]["horizon"] == 4
    assert report["settings"]["threads"] == 2
    for prefix in ("trpo", "promp"):
        assert report[f"ratio_{prefix}_iteration_to_raw"] == pytest.approx(
            report[f"{prefix}_iteration_env_steps_per_second"] / raw
        )
    assert set(report["cost_to_maml"]) == {"lsf", "lvc", "dice", "leave_one_out"}
    assert min(report["first_iteration_seconds"].values()) > 0
    assert 0.1 < report["peak_memory_gib"] < 10.0
    assert set(report["versions"]) == {"python", "numpy", "gymnasium", "mujoco", "tensorflow"}
    assert "core_hours" not in report


def test_costs_the_runs_of_a_configuration(small):
    """A row per environment and algorithm; the cost is that of an iteration times tasks and iterations."""
    rows = bench.read_rows(Path(__file__).parents[1] / "config" / "smoke.yaml")
    environments, algorithms = list(rows), list(rows["PointGoal"])
    point = rows["PointGoal"][algorithms[0]]
    assert point.environment == "PointGoal" and point.horizon == 10
    few = {"PointGoal": {name: rows["PointGoal"][name] for name in algorithms[:2]}}
    found = bench.core_hours(few)
    assert set(found["environments"]) == {"PointGoal"} and found["of_algorithm"] == algorithms[0]
    assert found["relative"][algorithms[0]] == 1.0 and found["relative"][algorithms[1]] > 0
    assert len(environments) == 2
    assert found["of_environment"] == "PointGoal"
    long = dataclasses.replace(point, iterations=10**6 * point.iterations)
    ratio = bench.core_hours({"PointGoal": {algorithms[0]: long}})["environments"]["PointGoal"]
    assert ratio > 1e4 * found["environments"]["PointGoal"]


@pytest.mark.parametrize("text", ["", "a: [", "algorithms: 3", "algorithms: {a: {}}"])
def test_something_else_is_no_configuration(text, tmp_path):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match="no configuration of the workflow"):
        bench.read_rows(tmp_path / "config.yaml")


def test_both_sides_simulate_the_same_steps():
    environment = make("HalfCheetahDir", tasks=2, trajectories=3, horizon=10, threads=2)
    actions = np.random.default_rng(0).uniform(-1.0, 1.0, (10, 6, 6))
    environment.reset(seed=0)
    raw = bench.raw_physics(environment, actions, threads=2)(np.arange(6))
    bench.step_through(environment, actions)
    np.testing.assert_array_equal(raw[:, 1:10], environment.batch.bind("qpos"))
    np.testing.assert_array_equal(raw[:, 10:19], environment.batch.bind("qvel"))


def test_refuses_no_threads():
    with pytest.raises(InputError, match="threads is 0"):
        bench.bench(threads=0)
