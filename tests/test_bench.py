"""The benchmark at a small size: what it reports, and that both sides do the same work."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from metarl import bench
from metarl.configuration import read_configuration, training_runs
from metarl.environments import make
from metarl.errors import InputError
from metarl.published import machine

SMOKE = Path(__file__).parents[1] / "config" / "smoke.yaml"


@pytest.fixture
def small(monkeypatch):
    for name, value in {
        "TASKS": 2,
        "TRAJECTORIES": 3,
        "HORIZON": 10,
        "SEGMENTS": 2,
        "REPEATS": 1,
        "MANY": 2,
        "COSTED_TASKS": 1,
    }.items():
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
    assert report["settings"]["horizon"] == 10
    assert report["settings"]["threads"] == 2
    assert report["machine"] == machine()
    assert report["machine"]["cores"] == os.cpu_count()
    for prefix in ("trpo", "full_trpo", "promp"):
        assert report[f"ratio_{prefix}_iteration_to_raw"] == pytest.approx(
            report[f"{prefix}_iteration_env_steps_per_second"] / raw
        )
    assert set(report["cost_to_maml"]) == {"lsf", "lvc", "dice", "leave_one_out"}
    assert min(report["first_iteration_seconds"].values()) > 0
    assert 0.1 < report["peak_memory_gib"] < 100.0  # at least that of this process, its parent
    assert set(report["versions"]) == {"python", "numpy", "gymnasium", "mujoco", "tensorflow"}
    assert "core_hours" not in report


def test_ratios_of_what_was_measured(monkeypatch):
    """Raw physics 1 s, the vector environment 2 s, and runs of their own numbers of seconds, all
    for the same steps."""
    costs = {
        "maml": 4.0,
        "lsf": 5.0,
        "lvc": 6.0,
        "dice": 7.0,
        "leave_one_out": 8.0,
        "trpo": 10.0,
        "full_trpo": 20.0,
        "promp": 16.0,
        "many": 60.0,
    }
    monkeypatch.setattr(bench, "measure", lambda threads: (1.0, 2.0, costs, costs))
    monkeypatch.setattr(bench, "peak_memory", lambda threads: 0.5)
    report = bench.bench(threads=1)
    assert report["raw_env_steps_per_second"] == 2 * 20 * 20 * 100
    assert report["ratio_vector_to_raw"] == 1 / 2
    assert report["ratio_iteration_to_raw"] == 1 / 5
    assert report["ratio_trpo_iteration_to_raw"] == 1 / 10
    assert report["ratio_full_trpo_iteration_to_raw"] == 1 / 20
    assert report["ratio_promp_iteration_to_raw"] == 1 / 16
    assert report["cost_trpo_to_adam"] == 10 / 4
    assert report["cost_to_maml"] == {
        "lsf": 5 / 4,
        "lvc": 6 / 4,
        "dice": 7 / 4,
        "leave_one_out": 2.0,
    }
    assert report["cost_of_ten_times_the_tasks"] == 60 / 5


def test_core_hours_are_an_iterations_seconds_scaled(monkeypatch):
    """An iteration of a quarter of the tasks takes 3600 s: ten of all take 40 hours."""
    timed = type("", (), {"__init__": lambda self, settings, threads: None, "spent": [3600.0]})
    timed.iterate = lambda self: None
    monkeypatch.setattr(bench, "Timed", timed)
    row = dataclasses.replace(bench.settings_of("lsf", 4 * bench.COSTED_TASKS), iterations=10)
    runs = {("PointGoal", "a"): row, ("HalfCheetahDir", "a"): row, ("HalfCheetahDir", "b"): row}
    costs = bench.core_hours(runs)
    assert costs["environments"] == {"PointGoal": 40.0, "HalfCheetahDir": 40.0}
    assert costs["relative"] == {"a": 1.0, "b": 1.0}
    assert costs["of_environment"] == "HalfCheetahDir"


def test_costs_the_runs_of_a_configuration(small):
    """The cost is that of an iteration times tasks and iterations."""
    runs = training_runs(read_configuration(SMOKE))
    few = {run: runs[run] for run in list(runs)[:2]}
    (environment, first), (_, second) = few
    costs = bench.core_hours(few)
    assert costs["of_environment"] == environment == "PointGoal"
    assert set(costs["environments"]) == {"PointGoal"} and costs["of_algorithm"] == first
    assert costs["relative"][first] == 1.0 and costs["relative"][second] > 0
    run = few[environment, first]
    long = dataclasses.replace(run, iterations=10**6 * run.iterations)
    longer = bench.core_hours({(environment, first): long})["environments"]["PointGoal"]
    assert longer > 1e4 * costs["environments"]["PointGoal"]


def test_costs_nothing_before_the_configuration_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "peak_memory", lambda threads: pytest.fail("measured"))
    path = tmp_path / "config.yaml"
    path.write_text("algorithms: {a: {estimator: lsf}}\n")
    with pytest.raises(InputError, match=r"config\.yaml: top level: missing key"):
        bench.bench(threads=1, configuration=path)


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
