"""The benchmark at a small size: what it reports, and that both sides do the same work."""

import json

import numpy as np
import pytest

from metarl import bench
from metarl.environments import make
from metarl.errors import InputError


@pytest.fixture
def small(monkeypatch):
    for name, value in {"TASKS": 2, "TRAJECTORIES": 3, "HORIZON": 4, "SEGMENTS": 2}.items():
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
    assert set(report["versions"]) == {"python", "numpy", "gymnasium", "mujoco"}


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
