"""The audit in simulation: tiny runs against single replicates put together by hand, and bad input."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from metarl.advantages import trajectories
from metarl.audit import mujoco, sampled
from metarl.audit.mujoco import Audit, Settings, audit
from metarl.errors import InputError
from metarl.estimators import estimator, meta_gradient
from metarl.objectives import clipped_gradient
from metarl.randomness import generator
from metarl.settings import TrainingSettings
from metarl.storage import pack_arrays, write_bytes


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(mujoco, "CHUNK", 2)
    monkeypatch.setattr(mujoco, "PILOT_SAMPLE_SIZE", 20)  # enough for the cheetah's 38 features


@pytest.fixture
def policy(tmp_path):
    """A policy file of a run with `changes`."""

    def write(environment="PointGoal", size=38, **changes):
        training = TrainingSettings(
            environment=environment, estimator="lsf", algorithm="lsf", seed=3, tasks=2, trajectories=2,
            horizon=4, hidden_sizes=(4,), inner_learning_rate=0.2, **changes,
        )  # fmt: skip
        parameters = np.random.default_rng(0).normal(scale=0.3, size=size).astype(np.float32)
        path = tmp_path / "policy.npz"
        write_bytes(pack_arrays({"parameters": parameters}, dataclasses.asdict(training)), path)
        return path

    return write


def settings(policy, **changes) -> Settings:
    names = ("leave_one_out", "lsf", "dice", "unbiased_baseline")
    given = Settings(policy, "trained", names, replicates=3, outer_sample_size=4, tasks=2, seed=1)
    return dataclasses.replace(given, **changes)


@pytest.fixture
def point_size() -> int:
    """P of the policy above: 2 observations, 4 hidden units, 2 actions."""
    return 2 * 4 + 4 + 4 * 2 + 2 + 2


def test_a_replicate_by_hand(policy, point_size, monkeypatch):
    """The first chunk again, step by step: rollouts, float64 batches, g_hat, the mean over tasks."""
    run = Audit(settings(policy(size=point_size), replicates=2), threads=1)
    seen = {}
    monkeypatch.setattr(
        sampled, "rows", lambda keys, names, gradients, size, draw: seen.update(gradients) or [keys]
    )
    run.prepare()
    run.rows(run.problem, 3)
    before = np.repeat(run.parameters[None], 4, axis=0)
    index = np.array([0, 1, 0, 1])

    def collect(rows, parameters, *stream):
        sampler = run.sampler(2, rows)
        tasks = run.tasks[index]
        return sampler.collect(
            tf.cast(parameters, tf.float32), tasks, generator(1, "mujoco audit", *stream)
        )

    def batch_of(rollout, parameters, baseline):
        batch = trajectories(rollout, run.advantage, baseline, tf.float64)
        return batch._replace(
            behaviour=run.policy.outputs(tf.constant(parameters), batch.observations)
        )

    batch = batch_of(collect(3, before, 3, 0, "inner"), before, run.baseline.of(index))
    scale = run.training.inner_learning_rate / (3 * 4)
    with tf.GradientTape() as tape:
        parameters = tf.constant(before)
        tape.watch(parameters)
        log_probs = run.policy.distribution(
            run.policy.outputs(parameters, batch.observations)
        ).log_prob(batch.actions)
        total = tf.reduce_sum(batch.advantages * log_probs)
    after = before + scale * tape.gradient(total, parameters).numpy()
    outer_baseline = run.outer_baseline.of(index)._replace(
        deviation=run.baseline.of(index).deviation
    )
    for half in range(2):
        outer = batch_of(collect(4, after, 3, 0, "outer", half), after, outer_baseline)
        for name in ("lsf", "unbiased_baseline", "leave_one_out"):
            expected = meta_gradient(
                run.policy, estimator(name), tf.constant(before), [batch, outer], run.training.inner,
                lambda theta, data: clipped_gradient(run.policy, theta, data, "steps", None),
                value_baseline=tf.constant(run.values[index]),
            ).numpy()  # fmt: skip
            by_replicate = expected.reshape(2, 2, -1).mean(axis=1)
            np.testing.assert_allclose(seen[name][half], by_replicate, rtol=1e-8, atol=1e-10)
    assert seen["lsf"].dtype == np.float64


def test_points_and_pilot(policy, point_size):
    trained = Audit(settings(policy(size=point_size)), 1)
    trained.prepare()
    initial = Audit(settings(policy(size=point_size), point="initial"), 1)
    initial.prepare()
    np.testing.assert_array_equal(trained.parameters, trained.trained_parameters)
    expected = initial.policy.initial_parameters(generator(3, "initial parameters"))
    np.testing.assert_array_equal(initial.parameters, expected)
    assert trained.tasks.shape == (2, 2) and np.array_equal(trained.tasks, initial.tasks)
    assert np.isfinite(trained.values).all() and trained.values.shape == (2,)


def test_same_seed_same_bytes_whatever_the_threads(policy, tmp_path):
    path = policy("HalfCheetahDir", size=17 * 4 + 4 + 4 * 6 + 6 + 6)
    for threads in (1, 2):
        output, folder = tmp_path / f"{threads}.parquet", tmp_path / f"checkpoints_{threads}"
        audit(settings(path, estimators=("lsf", "dice")), [3, 2], folder, output, threads)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    table = pd.read_parquet(tmp_path / "1.parquet")
    assert tuple(table.columns) == sampled.COLUMNS
    assert list(table["sample_size"]) == [2] * 2 + [3] * 2
    assert set(table["problem"]) == {"HalfCheetahDir, trained policy"}
    assert set(table["level"]) == {"mujoco"}
    assert np.isfinite(table[["variance", "inner_variance", "difference_to_lsf"]].to_numpy()).all()


def test_an_interrupted_audit_goes_on(policy, point_size, tmp_path, monkeypatch):
    path, original, done = policy(size=point_size), Audit.rows, []

    def rows(run, problem, size):
        if size == 3 and not done:
            done.append(size)
            raise KeyboardInterrupt
        return original(run, problem, size)

    given = settings(path, estimators=("lsf",))
    audit(given, [2, 3], tmp_path / "whole", tmp_path / "whole.parquet")
    monkeypatch.setattr(Audit, "rows", rows)
    arguments = given, [2, 3], tmp_path / "parts", tmp_path / "parts.parquet"
    with pytest.raises(KeyboardInterrupt):
        audit(*arguments)
    assert not (tmp_path / "parts.parquet").exists()
    audit(*arguments)
    assert (tmp_path / "parts.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


@pytest.mark.parametrize(
    ("changes", "sizes", "message"),
    [
        ({"point": "middle"}, [2], "point is 'middle'; choose one of initial, trained"),
        ({"estimators": ("lfs",)}, [2], "unknown estimator 'lfs'"),
        (
            {"estimators": ("learn2learn_dice_as_coded",)},
            [2],
            "learn2learn_dice_as_coded adapts to a theta' of its own; audit it with metarl audit exact",
        ),
        ({"replicates": 2}, [2], "replicates is 2; give an integer >= 3"),
        ({"tasks": 0}, [2], "tasks is 0; give an integer >= 1"),
        ({"outer_sample_size": 0}, [2], "outer sample size is 0"),
        ({}, [0], "sample size is 0; give an integer >= 1"),
        ({}, [], "no sample size given"),
    ],
)
def test_bad_input_writes_nothing(changes, sizes, message, policy, point_size, tmp_path):
    path = policy(size=point_size)
    with pytest.raises(InputError, match=message):
        audit(settings(path, **changes), sizes, tmp_path / "c", tmp_path / "o.parquet")
    assert [each.name for each in tmp_path.iterdir()] == ["policy.npz"]


def test_a_policy_trained_with_two_inner_steps_is_refused(policy, point_size, tmp_path):
    path = policy(size=point_size, inner_steps=2)
    with pytest.raises(InputError, match="inner_steps is 2; give a policy trained with 1"):
        audit(settings(path), [2], tmp_path / "c", tmp_path / "o.parquet")
