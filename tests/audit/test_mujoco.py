"""The audit in simulation: tiny runs against replicates put together by hand, and bad input."""

import dataclasses
import itertools
from functools import partial

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from metarl.advantages import trajectories
from metarl.audit import mujoco
from metarl.audit.mujoco import (
    Audit,
    Point,
    audit,
    auditable,
    audited_point,
)
from metarl.audit.settings import MujocoSettings
from metarl.errors import InputError
from metarl.estimators import estimator, meta_gradient
from metarl.outer_values import Resimulated, Sampled, left_out_differences
from metarl.policy_files import load_policy
from metarl.randomness import generator
from metarl.results import columns
from metarl.rollouts import make_sampler
from metarl.settings import AdvantageSettings, TrainingSettings
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
            environment=environment,
            estimator="lsf",
            algorithm="lsf",
            seed=3,
            tasks=2,
            trajectories=2,
            horizon=4,
            hidden_sizes=(4,),
            inner_learning_rate=0.2,
            **changes,
        )
        parameters = np.random.default_rng(0).normal(scale=0.3, size=size).astype(np.float32)
        path = tmp_path / "policy.npz"
        write_bytes(pack_arrays({"parameters": parameters}, dataclasses.asdict(training)), path)
        return path

    return write


def settings(policy, **changes) -> MujocoSettings:
    given = {
        "policy": policy,
        "estimators": ("leave_one_out", "lsf", "dice", "unbiased_baseline"),
        "sample_sizes": (2,),
        "replicates": 3,
        "outer_sample_size": 4,
        "seed": 1,
    }
    return MujocoSettings(**given | changes)


def point_of(given: MujocoSettings) -> Point:
    return audited_point(given, *load_policy(given.policy), threads=1)


@pytest.fixture
def point_size() -> int:
    """P of the policy above: 2 observations, 4 hidden units, 2 actions."""
    return 2 * 4 + 4 + 4 * 2 + 2 + 2


def test_a_replicate_by_hand(policy, point_size):
    """The first chunk, step by step: rollouts, float64 batches, g_hat, the mean over tasks.

    Of leave_one_out also theta'_{-i} and the rollouts there, one i after another.
    """
    names = ("lsf", "unbiased_baseline", "leave_one_out")
    given = settings(policy(size=point_size), left_out=5)  # more than there are: all
    point = point_of(given)
    audit = Audit(given, {name: auditable(name) for name in names}, point, threads=1)
    gradients = audit.gradients(3, given.replicates)
    before = np.repeat(point.parameters[None], 4, axis=0)
    index = np.array([0, 1, 0, 1])
    inner, advantage = point.training.inner, AdvantageSettings(point.training.discount, 1.0)

    def batch_of(rows, parameters, baseline, stream):
        training = dataclasses.replace(point.training, tasks=4, trajectories=rows)
        rollout = make_sampler(training, threads=1).collect(
            tf.cast(parameters, tf.float32),
            point.tasks[index],
            generator(1, "mujoco audit", *stream),
        )
        batch = trajectories(rollout, advantage, baseline, tf.float64)
        outputs = point.policy.outputs(tf.constant(parameters), batch.observations)
        return batch._replace(behaviour=outputs)

    batch = batch_of(3, before, point.baseline.of(index), (3, 0, "inner"))

    def adapted(counted):
        """theta' from the trajectories that count, [3] of 0 and 1; the divisor is that of all."""
        with tf.GradientTape() as tape:
            parameters = tf.constant(before)
            tape.watch(parameters)
            outputs = point.policy.outputs(parameters, batch.observations)
            log_probs = point.policy.distribution(outputs).log_prob(batch.actions)
            total = tf.reduce_sum(np.reshape(counted, (3, 1)) * batch.advantages * log_probs)
        return before + inner.learning_rate / (3 * 4) * tape.gradient(total, parameters).numpy()

    def value(outer):
        return outer.score_rewards.numpy().mean(axis=(1, 2))

    def values_after(outer, differences, parameters):
        sampled = Sampled(point.policy, outer, "steps", None, parameters)
        return Resimulated(sampled, differences)

    after = adapted(np.ones(3))
    for half in range(2):
        outer_of = partial(batch_of, 4, baseline=point.outer_baseline.of(index))
        stream = 3, 0, "outer", half
        outer = outer_of(after, stream=stream)
        differences = tf.constant(
            [value(outer) - value(outer_of(adapted(x), stream=stream)) for x in 1.0 - np.eye(3)]
        )
        for name in names:
            expected = meta_gradient(
                point.policy,
                estimator(name),
                tf.constant(before),
                [batch],
                inner,
                partial(values_after, outer, differences),
                value_baseline=tf.constant(point.values[index]),
            ).numpy()
            by_replicate = expected.reshape(2, 2, -1).mean(axis=1)
            estimates = gradients[name][half, :2]
            np.testing.assert_allclose(estimates, by_replicate, rtol=1e-8, atol=1e-10)
    assert gradients["lsf"].shape == (2, 3, point_size)
    assert gradients["lsf"].dtype == np.float64


@pytest.fixture
def simulate():
    """V_hat [2] of rollouts with one omega, of a walker that falls; and parameters [2, P]."""
    training = TrainingSettings(
        environment="Walker2DVel",
        estimator="lsf",
        algorithm="lsf",
        tasks=2,
        trajectories=3,
        horizon=40,
        hidden_sizes=(4,),
    )
    sampler = make_sampler(training, threads=1)
    tasks = sampler.environment.sample_tasks(np.random.default_rng(0), 2)
    lengths = []

    def value(parameters: tf.Tensor) -> tf.Tensor:
        rollout = mujoco.collect(sampler, parameters, tasks, 0, "omega")
        lengths.append(rollout.mask.sum(axis=-1))
        return tf.constant(rollout.rewards.mean(axis=(1, 2), dtype=np.float64))

    parameters = sampler.policy.initial_parameters(np.random.default_rng(1))
    yield value, tf.constant(np.stack([parameters] * 2))
    assert np.min(lengths) < 40  # random numbers stay common where episodes end early


def test_random_numbers_are_common(simulate):
    """A share of 0 changes nothing, bit by bit, also after a rollout at other parameters."""
    value, after = simulate
    shares = np.zeros((3, *after.shape))
    shares[1] = 0.3
    shares[2, 1] = 0.3  # tasks are told apart
    nothing, every = np.zeros((3, 2)), np.arange(3)[::-1]
    differences = left_out_differences(value, value(after), after, shares, nothing, every)
    assert (differences[0] == 0.0).all()
    assert (differences[1] != 0.0).all()
    assert differences[2, 0] == 0.0 and differences[2, 1] == differences[1, 1]


def test_the_mean_over_all_subsets_is_what_all_trajectories_give(simulate):
    value, after = simulate
    shares = 0.1 * np.random.default_rng(2).normal(size=(4, *after.shape))

    slopes = np.random.default_rng(3).normal(size=(4, 2))

    def differences(subset):
        subset = np.array(subset)
        result = left_out_differences(value, value(after), after, shares, slopes, subset)
        assert np.count_nonzero(result != slopes) == 2 * len(subset)
        return result

    every = differences(range(4))
    for size in (1, 3):
        subsets = [differences(subset) for subset in itertools.combinations(range(4), size)]
        np.testing.assert_allclose(np.mean(subsets, axis=0), every, rtol=1e-12, atol=1e-14)


def test_a_linear_value_has_no_noise_of_the_subset():
    shares = np.random.default_rng(4).normal(size=(5, 2, 3))
    gradient = np.array([[1.0, -2.0, 0.5], [0.3, 0.0, 4.0]])
    slopes = np.einsum("nkp,kp->nk", shares, gradient)

    def value(parameters):
        return np.sum(parameters * gradient, axis=-1)

    after = np.ones((2, 3))
    for subset in ([0], [3, 1]):
        found = left_out_differences(value, value(after), after, shares, slopes, np.array(subset))
        np.testing.assert_allclose(found, slopes, rtol=1e-12)


def test_subsets_are_drawn_anew_without_replacement(policy, point_size):
    """None depends on theta or on a sample; each trajectory has its turn."""
    given = settings(policy(size=point_size), left_out=2)
    audit = Audit(given, {}, point_of(given), threads=1)
    subsets = [audit.subset(6, chunk, half) for chunk in range(20) for half in range(2)]
    assert all(len(set(subset)) == 2 for subset in subsets)
    assert len({tuple(sorted(subset)) for subset in subsets}) > 8  # of 15
    assert set(np.concatenate(subsets)) == set(range(6))
    assert sorted(audit.subset(1, 0, 0)) == [0]


def test_the_reference_is_unbiased(policy, point_size, monkeypatch):
    """Against central differences of J_N with common random numbers, which know no estimator.

    Along one direction, that of the score-function term in replicates that are not used again.
    Within 4.5 standard errors: false-fail rate below 1e-5 over seeds. It would see an error of half
    that term, twice this distance or more; maml lacks all of it.
    """
    chunk, chunks, size = 512, 32, 2
    monkeypatch.setattr(mujoco, "CHUNK", chunk)
    given = settings(
        policy(size=point_size),
        replicates=chunk * chunks,
        outer_sample_size=8,
        tasks=1,
        left_out=1,
    )
    trained, training = load_policy(given.policy)
    training = dataclasses.replace(training, inner_learning_rate=0.3)
    point = audited_point(given, trained, training, threads=1)
    entries = {name: auditable(name) for name in ("leave_one_out", "maml")}
    audit = Audit(given, entries, point, threads=1)
    inner, outer = (mujoco.sampler_of(training, chunk, rows, threads=1) for rows in (size, 8))
    index = np.zeros(chunk, int)

    def batch_at(sampler, parameters, baseline, *stream):
        rollout = mujoco.collect(sampler, parameters, point.tasks[index], 2, *stream)
        return mujoco.float64_batch(point.policy, training, rollout, parameters, baseline.of(index))

    def values(parameters, number):
        """V_hat(theta') of independent samples: [chunk], with mean J_N."""
        before = np.repeat(parameters[None], chunk, axis=0)
        after = audit.adapt(before, batch_at(inner, before, point.baseline, "inner", number))
        return audit.value(after, batch_at(outer, after, point.outer_baseline, "outer", number))

    estimates = {
        name: x.mean(axis=0) for name, x in audit.gradients(size, given.replicates).items()
    }
    first = {name: x[: 4 * chunk].mean(axis=0) for name, x in estimates.items()}
    direction = first["leave_one_out"] - first["maml"]
    direction /= np.linalg.norm(direction)
    step = 0.05 * direction
    slopes = np.concatenate(
        [
            (values(point.parameters + step, number) - values(point.parameters - step, number))
            / 0.1
            for number in range(8)
        ]
    )
    rest = {name: x[4 * chunk :] @ direction for name, x in estimates.items()}
    samples = rest["leave_one_out"], slopes
    error = 4.5 * np.sqrt(sum(x.var() / len(x) for x in samples))
    truth = slopes.mean()
    assert rest["leave_one_out"].mean() == pytest.approx(truth, abs=error)
    assert 2 * error < abs(rest["maml"].mean() - truth) / 2


def test_without_trajectories_left_out_variances_are_the_same(policy, point_size, tmp_path):
    """Rates need no reference, and the samples are those of an audit that has one."""
    path, tables = policy(size=point_size), {}
    for count in (0, 1):
        output = tmp_path / f"{count}.parquet"
        given = settings(path, estimators=("lsf", "maml"), left_out=count)
        audit(given, tmp_path / "c", output)
        tables[count] = pd.read_parquet(output)
    variances = ["inner_variance", "outer_variance", "inner_variance_low", "difference_to_lsf"]
    pd.testing.assert_frame_equal(tables[0][variances], tables[1][variances])
    assert tables[0][["squared_bias", "gradient_norm", "cosine"]].isna().all(axis=None)
    controls = ("metarl.audit.controls:doubled",)  # which ask for values without a trajectory
    with pytest.raises(InputError, match="left_out is 0, and an estimator such as leave_one_out"):
        audit(settings(path, estimators=controls, left_out=0), tmp_path / "c", tmp_path / "none")


def test_a_pilot_decides_how_many(policy, point_size, tmp_path, monkeypatch):
    """The numbers are those of an audit with as many, whose samples are not the pilot's."""
    path = policy(size=point_size)
    monkeypatch.setattr(mujoco.sampled, "allotted", lambda pilot, *given: 3 + len(pilot))
    for name, changes in (("pilot", {"pilot": 4, "replicates": 50}), ("plain", {"replicates": 6})):
        given = settings(path, estimators=("lsf", "maml"), **changes)
        audit(given, tmp_path / "c", tmp_path / name)
    assert (tmp_path / "pilot").read_bytes() == (tmp_path / "plain").read_bytes()
    assert set(pd.read_parquet(tmp_path / "pilot")["replicates"]) == {6}


def test_a_place_has_its_own_horizon_and_learning_rate(policy, point_size, tmp_path):
    """As if the run had had them, and the table says so."""
    own, other = tmp_path / "own", tmp_path / "other"
    audit(
        settings(policy(size=point_size), horizon=6, inner_learning_rate=0.1), tmp_path / "c", own
    )
    path, training = tmp_path / "policy.npz", load_policy(tmp_path / "policy.npz")
    changed = dataclasses.asdict(training[1]) | {"horizon": 6, "inner_learning_rate": 0.1}
    write_bytes(pack_arrays({"parameters": training[0]}, changed), path)
    audit(settings(path), tmp_path / "c", other)
    tables = [pd.read_parquet(path) for path in (own, other)]
    assert set(tables[0].pop("problem")) == {"PointGoal, trained policy, 6 steps"}
    assert set(tables[1].pop("problem")) == {"PointGoal, trained policy"}
    pd.testing.assert_frame_equal(*tables)


def test_points_and_pilot(policy, point_size):
    path = policy(size=point_size)
    trained, initial = (point_of(settings(path, point=name)) for name in ("trained", "initial"))
    np.testing.assert_array_equal(trained.parameters, load_policy(path)[0])
    expected = initial.policy.initial_parameters(generator(3, "initial parameters"))
    np.testing.assert_array_equal(initial.parameters, expected)
    assert trained.tasks.shape == (2, 2) and np.array_equal(trained.tasks, initial.tasks)
    assert np.isfinite(trained.values).all() and trained.values.shape == (2,)


def test_both_baselines_have_one_sigma_and_their_own_fits(policy, point_size):
    """V and its gradient would be in other units than the inner advantages otherwise."""
    point = point_of(settings(policy(size=point_size)))
    np.testing.assert_array_equal(point.baseline.deviation, point.outer_baseline.deviation)
    assert not np.allclose(point.baseline.coefficients, point.outer_baseline.coefficients)


def test_same_seed_same_bytes_whatever_the_threads(policy, tmp_path):
    path = policy("HalfCheetahDir", size=17 * 4 + 4 + 4 * 6 + 6 + 6)
    for threads in (1, 2):
        output, folder = tmp_path / f"{threads}.parquet", tmp_path / f"checkpoints_{threads}"
        given = settings(path, estimators=("lsf", "dice"), sample_sizes=(3, 2), confidence=0.9)
        audit(given, folder, output, threads)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    table = pd.read_parquet(tmp_path / "1.parquet")
    assert list(table.columns) == columns.SAMPLED.names
    assert list(table["sample_size"]) == [2] * 2 + [3] * 2
    assert set(table["problem"]) == {"HalfCheetahDir, trained policy"}
    assert set(table["level"]) == {"mujoco"} and set(table["confidence"]) == {0.9}
    assert np.isfinite(table[["variance", "inner_variance", "difference_to_lsf"]].to_numpy()).all()
    assert np.isfinite(table[["squared_bias", "gradient_norm"]].to_numpy()).all()  # unmasked


def test_an_interrupted_audit_goes_on(policy, point_size, tmp_path, monkeypatch):
    path, original, done = policy(size=point_size), Audit.rows, []

    def rows(run, problem, size):
        if size == 3 and not done:
            done.append(size)
            raise KeyboardInterrupt
        return original(run, problem, size)

    given = settings(path, estimators=("lsf",), sample_sizes=(2, 3))
    audit(given, tmp_path / "whole", tmp_path / "whole.parquet")
    monkeypatch.setattr(Audit, "rows", rows)
    arguments = given, tmp_path / "parts", tmp_path / "parts.parquet"
    with pytest.raises(KeyboardInterrupt):
        audit(*arguments)
    assert not (tmp_path / "parts.parquet").exists()
    audit(*arguments)
    assert (tmp_path / "parts.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"estimators": ("lfs",)}, "unknown estimator 'lfs'"),
        (
            {"estimators": ("learn2learn_dice_as_coded",)},
            "learn2learn_dice_as_coded adapts to a theta' of its own; audit it with metarl audit",
        ),
    ],
)
def test_bad_input_writes_nothing(changes, message, policy, point_size, tmp_path):
    path = policy(size=point_size)
    with pytest.raises(InputError, match=message):
        audit(settings(path, **changes), tmp_path / "c", tmp_path / "o.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["policy.npz"]


def test_a_policy_trained_with_two_inner_steps_is_refused(policy, point_size, tmp_path):
    path = policy(size=point_size, inner_steps=2)
    with pytest.raises(InputError, match="inner_steps is 2; give a policy trained with 1"):
        audit(settings(path), tmp_path / "c", tmp_path / "o.parquet")
