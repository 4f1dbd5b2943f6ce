"""Training: the same bytes whatever the threads and the interruptions; failures that leave the
checkpoint whole."""

import dataclasses
import math
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from metarl import checkpoints
from metarl.adaptation import adapt
from metarl.environments import PhysicsError
from metarl.errors import InputError, RunError
from metarl.estimators import CATALOGUE, estimator, meta_gradient
from metarl.evaluation import evaluate
from metarl.optimizers import optimizer_of
from metarl.optimizers.measures import standard_error
from metarl.outer_values import Sampled
from metarl.policy_files import load_initial, load_policy
from metarl.randomness import generator
from metarl.rollouts import Sampler, make_sampler
from metarl.settings import TrainingSettings
from metarl.training import iteration, train
from metarl.training.gradient import MetaObjective, every_task
from metarl.training.iteration import MetaIteration, adaptation_chain, compiled_adaptation
from metarl.trajectories import Trajectories

SETTINGS = TrainingSettings(
    environment="PointGoal",
    estimator="lvc",
    algorithm="lvc",
    seed=3,
    iterations=3,
    tasks=2,
    trajectories=3,
    horizon=6,
    hidden_sizes=(4,),
    outer_epochs=2,
    inner_kl_coefficient=0.01,
)
IDENTITY = checkpoints.run_identity(dataclasses.asdict(SETTINGS))


def paths(folder: Path, tensorboard: Path | None = None) -> tuple[list[train.RunFiles], Path]:
    files = train.RunFiles(folder / "run.parquet", folder / "run.npz", tensorboard)
    return [files], folder / "checkpoints"


def outer_step(sampler, name: str, settings: TrainingSettings, theta: np.ndarray, shards):
    """The optimizer's first step on the shards' batches: theta [P] and its measures."""
    optimizer = optimizer_of(settings)
    parameters = tf.constant(theta, tf.float32)
    objective = MetaObjective(sampler.policy, CATALOGUE[name], settings)
    moved, _, measures = optimizer.update(
        objective, parameters, optimizer.start(parameters, settings), shards
    )
    return moved.numpy(), measures


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train.train(SETTINGS, *paths(folder, folder / "tensorboard"))
    return folder


def command(folder: Path, threads: int, iterations: int) -> list[str]:
    flags = {
        "--environment": "HalfCheetahDir",
        "--estimator": "leave_one_out",
        "--algorithm": "leave_one_out",
        "--seed": "5",
        "--iterations": str(iterations),
        "--tasks": "4",  # two shards
        "--trajectories": "2",
        "--horizon": "8",
        "--outer-epochs": "2",
        "--threads": str(threads),
        "--output": str(folder / "run.parquet"),
        "--policy": str(folder / "run.npz"),
        "--checkpoints": str(folder / "checkpoints"),
    }
    words = [word for flag in flags.items() for word in flag]
    return [sys.executable, "-m", "metarl", "train", *words, "--hidden-sizes", "4", "4"]


def kill_after(folder: Path, threads: int, iterations: int, line: int) -> None:
    """Runs the command and kills it with signal 9 when it reports the iteration `line`."""
    process = subprocess.Popen(
        command(folder, threads, iterations), stderr=subprocess.PIPE, text=True, bufsize=1
    )
    for text in process.stderr:
        if f"iteration {line}/" in text:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.stderr.close()
    assert process.wait() == -signal.SIGKILL


def test_killed_runs_end_in_the_same_bytes(tmp_path):
    """Killed at the start, midway and after the last iteration, resumed with another number of
    threads."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(whole, threads=1, iterations=4), check=True, capture_output=True)
    for line, threads in ((1, 1), (3, 2), (4, 1)):
        kill_after(killed, threads, 4, line)
        assert line == 4 or not (killed / "run.parquet").exists()
    done = subprocess.run(
        command(killed, threads=2, iterations=4), check=True, capture_output=True, text=True
    )
    assert "iteration 1/4" not in done.stderr
    for name in ("run.parquet", "run.npz"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()


def test_table(trained):
    frame = pd.read_parquet(trained / "run.parquet")
    assert frame["iteration"].tolist() == [0, 0, 1, 1, 2, 2]
    assert frame["inner_step"].tolist() == [0, 1] * 3
    assert frame["environment_steps"].tolist() == [72, 72, 144, 144, 216, 216]  # 2 x 2 x 3 x 6
    assert (frame["mean_return"] < 0).all() and (frame["gradient_norm"] > 0).all()
    for column in ("effective_sample_size", "kl", "step_accepted"):
        assert frame[column].isna().all()
    assert (frame["inner_kl_coefficient"] == np.float32(0.01)).all()
    assert set(frame["seed"]) == {3}


def test_tensorboard_scalars_are_written(trained):
    (events,) = (trained / "tensorboard").iterdir()
    records = list(tf.compat.v1.io.tf_record_iterator(str(events)))
    text = b"".join(records)
    assert b"return/inner_step_1" in text and b"meta_gradient/norm" in text


def test_tensorboard_on_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(*arguments):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(train, "write_scalars", full)
    with pytest.raises(
        RunError, match=r"scalars below '.*tb' \(No space left on device\); make room"
    ):
        train.train(SETTINGS, *paths(tmp_path, tmp_path / "tb"))


@pytest.mark.parametrize("stop_at", [0, 2])
def test_interrupted_between_any_two_checkpoints(stop_at, trained, tmp_path, monkeypatch):
    """Stopped before the checkpoint of iteration `stop_at` is written, then run again."""
    save, saved = checkpoints.save, []

    def stopping(*arguments):
        if len(saved) == stop_at:
            raise KeyboardInterrupt
        saved.append(save(*arguments))

    monkeypatch.setattr(checkpoints, "save", stopping)
    with pytest.raises(KeyboardInterrupt):
        train.train(SETTINGS, *paths(tmp_path))
    assert not (tmp_path / "run.parquet").exists()
    monkeypatch.setattr(checkpoints, "save", save)
    train.train(SETTINGS, *paths(tmp_path))
    for name in ("run.parquet", "run.npz"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()


def test_a_run_goes_on_where_a_shorter_one_ended(trained, tmp_path):
    """With the policies along the way, the last of the shorter run among them."""
    shorter = dataclasses.replace(SETTINGS, iterations=2)
    train.train(shorter, *paths(tmp_path), policy_interval=1)
    of_two = (tmp_path / "run.npz").read_bytes()
    train.train(SETTINGS, *paths(tmp_path), policy_interval=1)
    for name in ("run.parquet", "run.npz"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()
    assert (tmp_path / "run_iteration_2.npz").read_bytes() == of_two
    assert (tmp_path / "run_iteration_1.npz").exists()


def test_a_shorter_run_leaves_the_checkpoint_of_a_longer_one(trained, tmp_path, capsys):
    files, _ = paths(tmp_path)
    shorter = dataclasses.replace(SETTINGS, iterations=1)
    kept = {path: path.read_bytes() for path in (trained / "checkpoints").iterdir()}
    train.train(shorter, files, trained / "checkpoints")
    assert "is 3 iterations long, this run 1: it is run by itself" in capsys.readouterr().err
    assert all(path.read_bytes() == whole for path, whole in kept.items())
    whole, cut = (pd.read_parquet(folder / "run.parquet") for folder in (trained, tmp_path))
    pd.testing.assert_frame_equal(cut, whole[whole["iteration"] < 1])
    assert load_policy(tmp_path / "run.npz")[1] == shorter


def test_a_run_starts_from_a_policy(trained, tmp_path):
    policy = tmp_path / "start.npz"
    policy.write_bytes((trained / "run.npz").read_bytes())
    other = dataclasses.replace(SETTINGS, estimator="maml", iterations=1, outer_learning_rate=1e-9)
    train.train(other, *paths(tmp_path), initial_policy=policy)
    start, ended = load_policy(policy)[0], load_policy(tmp_path / "run.npz")[0]
    np.testing.assert_allclose(ended, start, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(load_initial(tmp_path / "run.npz"), start)
    # what the file holds is part of what the run is
    train.train(dataclasses.replace(SETTINGS, seed=8, iterations=1), *paths(tmp_path / "other"))
    policy.write_bytes((tmp_path / "other" / "run.npz").read_bytes())
    train.train(other, *paths(tmp_path), initial_policy=policy)
    ended = load_policy(tmp_path / "run.npz")[0]
    np.testing.assert_allclose(ended, load_policy(policy)[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [{"hidden_sizes": (5,)}, {"activation": "relu"}, {"environment": "ReacherGoal"}],
)
def test_an_initial_policy_of_another_network_is_refused(trained, tmp_path, change):
    settings = dataclasses.replace(SETTINGS, **change)
    with pytest.raises(InputError, match="has 2 observations, 2 actions, hidden_sizes .4,., tanh"):
        train.train(settings, *paths(tmp_path), initial_policy=trained / "run.npz")
    assert not list(tmp_path.iterdir())


def test_a_damaged_checkpoint_is_named_and_ignored(trained, tmp_path, capsys):
    path = checkpoints.checkpoint_path(tmp_path / "checkpoints", IDENTITY)
    path.parent.mkdir()
    whole = checkpoints.checkpoint_path(trained / "checkpoints", IDENTITY)
    damaged = bytearray(whole.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    train.train(SETTINGS, *paths(tmp_path))
    assert "starting afresh" in capsys.readouterr().err
    assert (tmp_path / "run.parquet").read_bytes() == (trained / "run.parquet").read_bytes()


def test_another_setting_is_another_checkpoint(tmp_path):
    described = dataclasses.asdict(SETTINGS)
    one = checkpoints.checkpoint_path(tmp_path, described)
    assert one == checkpoints.checkpoint_path(tmp_path, dict(described))
    assert one != checkpoints.checkpoint_path(tmp_path, described | {"seed": 4})


def test_a_checkpoint_of_another_run_under_its_name_is_set_aside(tmp_path, trained, capsys):
    """A copied file: believed, it would give seed 3 the results of seed 4."""
    other = dataclasses.replace(SETTINGS, seed=4)
    train.train(other, *paths(tmp_path))
    folder = tmp_path / "checkpoints"
    mine, theirs = (
        checkpoints.checkpoint_path(folder, checkpoints.run_identity(dataclasses.asdict(settings)))
        for settings in (SETTINGS, other)
    )
    mine.write_bytes(theirs.read_bytes())
    train.train(SETTINGS, *paths(tmp_path))
    assert "holds other work than its name says" in capsys.readouterr().err
    assert (tmp_path / "run.parquet").read_bytes() == (trained / "run.parquet").read_bytes()


def test_a_physics_failure_keeps_the_last_good_checkpoint(tmp_path, monkeypatch, trained):
    collect, calls = Sampler.collect, []

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise PhysicsError(task=1, trajectory=2, step=4, reason="planted")
        return collect(*arguments)

    monkeypatch.setattr(Sampler, "collect", failing)
    with pytest.raises(PhysicsError, match="task 1"):
        train.train(SETTINGS, *paths(tmp_path))
    monkeypatch.setattr(Sampler, "collect", collect)
    path = checkpoints.checkpoint_path(tmp_path / "checkpoints", IDENTITY)
    arrays, rows = checkpoints.load(path, IDENTITY)
    assert int(arrays["iteration"]) == 1 and len(rows) == 2
    train.train(SETTINGS, *paths(tmp_path))
    assert (tmp_path / "run.parquet").read_bytes() == (trained / "run.parquet").read_bytes()


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path, monkeypatch):
    """A post-update batch with an infinite advantage; the pre-update one is as it was."""
    trajectories, seen = iteration.trajectories, []

    def overflowing(rollout, settings):
        seen.append(rollout)
        batch = trajectories(rollout, settings)
        return batch._replace(advantages=math.inf * batch.advantages) if len(seen) == 2 else batch

    monkeypatch.setattr(iteration, "trajectories", overflowing)
    with pytest.raises(train.NonFiniteGradient, match="iteration 0"):
        train.train(SETTINGS, *paths(tmp_path))
    assert not (tmp_path / "run.parquet").exists()


def test_an_inner_learning_rate_beyond_float32_stops_the_run_by_name(tmp_path):
    with pytest.raises(RunError, match=r"step 1; lower inner_learning_rate, which is 1e\+300"):
        train.train(dataclasses.replace(SETTINGS, inner_learning_rate=1e300), *paths(tmp_path))
    assert not (tmp_path / "run.parquet").exists()


def test_unknown_estimator_writes_nothing(tmp_path):
    with pytest.raises(InputError, match="choose one of fomaml"):
        train.train(dataclasses.replace(SETTINGS, estimator="lfs"), *paths(tmp_path))
    assert not list(tmp_path.iterdir())


TRPO = dataclasses.replace(
    SETTINGS, estimator="maml", outer_optimizer="trpo", outer_epochs=1, inner_kl_coefficient=0.0
)
ADAPTIVE = dataclasses.replace(SETTINGS, inner_steps=2, inner_kl_target=1e-5)


@pytest.mark.parametrize("settings", [TRPO, ADAPTIVE], ids=["trpo", "adaptive"])
def test_other_outer_states_survive_an_interruption(settings, tmp_path, monkeypatch):
    """Stopped after two iterations of three, then run again."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train.train(settings, *paths(whole))
    save, saved = checkpoints.save, []

    def stopping(*arguments):
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(save(*arguments))

    monkeypatch.setattr(checkpoints, "save", stopping)
    with pytest.raises(KeyboardInterrupt):
        train.train(settings, *paths(stopped))
    monkeypatch.setattr(checkpoints, "save", save)
    train.train(settings, *paths(stopped))
    for name in ("run.parquet", "run.npz"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes()
    frame = pd.read_parquet(whole / "run.parquet")
    if settings is TRPO:
        assert frame["step_accepted"].isin([0.0, 1.0]).all()
        assert frame["kl"].between(0, settings.trust_region).all() and frame["kl"].max() > 0
    else:
        assert frame["inner_kl_coefficient"].nunique() > 1


def test_a_published_inner_loss_adapts_in_training_too():
    """The policy that acts after the inner step is the one that the estimator differentiates
    through."""
    name = "learn2learn_dice_as_coded"
    sampler = make_sampler(SETTINGS, threads=1)
    initial = sampler.policy.initial_parameters(generator(0, "initial")).astype(np.float32)
    tasks = sampler.environment.sample_tasks(generator(0, "tasks"), SETTINGS.tasks)
    acting = {}
    for each in (name, "maml"):
        adapt = compiled_adaptation(sampler.policy, CATALOGUE[each], SETTINGS)
        (_, batch), _ = adaptation_chain(
            sampler, adapt, SETTINGS, initial, tasks, [0.1], ("rollout",)
        )
        acting[each] = batch.behaviour[0]
    assert not np.array_equal(acting[name], acting["maml"])


def test_two_inner_steps_train(tmp_path):
    settings = dataclasses.replace(SETTINGS, inner_steps=2, iterations=1)
    train.train(settings, *paths(tmp_path))
    frame = pd.read_parquet(tmp_path / "run.parquet")
    assert frame["inner_step"].tolist() == [0, 1, 2]
    assert frame["environment_steps"].iloc[0] == 3 * 2 * 3 * 6


@pytest.mark.parametrize("name", ["unbiased_baseline", "leave_one_out", "dice"])
def test_later_epochs_are_off_policy_and_finite(name):
    """One update on data from other parameters; the rest of the catalogue is compared off policy
    elsewhere."""
    sampler = make_sampler(SETTINGS, threads=1)
    initial = sampler.policy.initial_parameters(generator(0, "initial"))
    tasks = sampler.environment.sample_tasks(generator(0, "tasks"), SETTINGS.tasks)
    batches, _ = adaptation_chain(
        sampler,
        compiled_adaptation(sampler.policy, CATALOGUE[name], SETTINGS),
        SETTINGS,
        initial.astype(np.float32),
        tasks,
        [0.1],
        ("rollout",),
    )
    norms = [
        float(outer_step(sampler, name, SETTINGS, initial + shift, [batches])[1].gradient_norms[0])
        for shift in (0.0, 0.05)
    ]
    assert all(math.isfinite(norm) and norm > 0 for norm in norms) and norms[0] != norms[1]


@pytest.mark.parametrize("name", ["unbiased_baseline", "leave_one_out", "lvc"])
def test_tasks_one_by_one_make_the_meta_gradient_of_all_at_once(name):
    """In float32, by its norm; without the other tasks' value, b of unbiased_baseline would be
    0."""
    settings = dataclasses.replace(SETTINGS, tasks=3, inner_kl_coefficient=0.0)
    sampler = make_sampler(settings, threads=1)
    initial = sampler.policy.initial_parameters(generator(0, "initial")).astype(np.float32)
    tasks = sampler.environment.sample_tasks(generator(0, "tasks"), settings.tasks)
    entry, policy = CATALOGUE[name], sampler.policy
    batches, _ = adaptation_chain(
        sampler,
        compiled_adaptation(policy, entry, settings),
        settings,
        initial,
        tasks,
        [0.1],
        ("rollout",),
    )
    found = outer_step(sampler, name, settings, initial, [batches])[1].gradient_norms[0]

    *inner_batches, outer_batch = batches
    outer = partial(Sampled, policy, outer_batch, settings.averaging, None)

    def norm(value_baseline):
        theta = every_task(tf.constant(initial), settings.tasks)
        estimates = meta_gradient(
            policy, entry, theta, inner_batches, settings.inner, outer, value_baseline
        )
        return float(tf.norm(tf.reduce_mean(estimates, axis=0)))

    assert float(found) == pytest.approx(norm(None), rel=1e-4)
    if name == "unbiased_baseline":
        assert norm(tf.zeros(settings.tasks)) > 1.1 * norm(None)


@pytest.mark.parametrize("optimizer", ["adam", "trpo"])
def test_shards_make_the_step_of_all_tasks_together(optimizer):
    """Two shards of two tasks against one of four, in float32; one shard alone steps elsewhere.

    A linear policy: its Fisher matrix is so well conditioned that conjugate gradient does not
      magnify the rounding.
    """
    settings = dataclasses.replace(
        SETTINGS,
        tasks=4,
        hidden_sizes=(),
        estimator="lsf",
        outer_optimizer=optimizer,
        outer_epochs=1,
        inner_kl_coefficient=0.0,
    )
    sampler = make_sampler(settings, threads=1)
    initial = sampler.policy.initial_parameters(generator(0, "initial"))
    tasks = sampler.environment.sample_tasks(generator(0, "tasks"), settings.tasks)
    entry = CATALOGUE["lsf"]
    batches, _ = adaptation_chain(
        sampler,
        compiled_adaptation(sampler.policy, entry, settings),
        settings,
        initial.astype(np.float32),
        tasks,
        [0.1],
        ("rollout",),
    )
    halves = [
        [
            tf.nest.map_structure(lambda x, part=part: x[part] if x.shape.rank else x, each)
            for each in batches
        ]
        for part in (slice(0, 2), slice(2, 4))
    ]
    start = initial.astype(np.float32)
    whole, cut = (
        outer_step(sampler, "lsf", settings, start, shards)[0] - start
        for shards in ([batches], halves)
    )
    # rounding alone gave 2e-4 to 4e-4 of the step, for the same tasks in other orders too
    assert np.linalg.norm(cut - whole) < 2e-3 * np.linalg.norm(whole)
    half = dataclasses.replace(settings, tasks=2)
    alone = outer_step(sampler, "lsf", half, start, halves[:1])[0]
    elsewhere = alone - start - whole
    assert np.linalg.norm(elsewhere) > 1e-2 * np.linalg.norm(whole)


def test_shards_share_the_tasks_and_no_random_number():
    iterate = MetaIteration(dataclasses.replace(SETTINGS, tasks=4), CATALOGUE["lvc"], 1)
    _, (shards, rollouts, _) = iterate(iterate.start(), 0)
    tasks = iterate.samplers[0].environment.sample_tasks(generator(SETTINGS.seed, "tasks", 0), 4)
    used = [sampler.environment.tasks for sampler in iterate.samplers]
    np.testing.assert_array_equal(np.concatenate(used), tasks)
    first, second = (batches[0].actions - batches[0].behaviour[0] for batches in shards)
    assert not np.isin(first, second).any()
    assert [len(steps) for steps in rollouts] == [2, 2]


@pytest.mark.parametrize(("target", "factor"), [(1e-12, 2.0), (1e3, 0.5)])
def test_the_inner_kl_rule_sees_the_policy_after_the_step(target, factor):
    """At the theta that acted the divergence would be 0 and every coefficient would halve."""
    settings = dataclasses.replace(SETTINGS, inner_kl_target=target)
    iterate = MetaIteration(settings, CATALOGUE["lvc"], 1)
    state, _ = iterate(iterate.start(), 0)
    np.testing.assert_allclose(state.memory.coefficients, [0.01 * factor], rtol=1e-6)


@pytest.mark.parametrize("averaging", ["steps", "trajectories"])
def test_fisher_products_of_every_other_step(averaging):
    """Where every step comes twice they are those of all steps; where not, they differ."""
    settings = dataclasses.replace(TRPO, averaging=averaging)
    iterate = MetaIteration(settings, CATALOGUE["maml"], 1)
    start = iterate.start()
    _, (shards, _, _) = iterate(start, 0)
    vector = np.random.default_rng(0).normal(size=start.parameters.shape).astype(np.float32)

    def product(stride: int, shards: list[list[Trajectories]]) -> np.ndarray:
        thinning = dataclasses.replace(settings, fisher_stride=stride)
        objective = MetaObjective(iterate.samplers[0].policy, CATALOGUE["maml"], thinning)
        return objective.fisher_product(start.parameters, shards)(vector)

    def doubled(batch: Trajectories) -> Trajectories:
        def twice(x):
            return tf.repeat(x[:, :, ::2], 2, axis=2) if x.shape.rank > 2 else x

        return tf.nest.map_structure(twice, batch)

    pairs = [[doubled(batch) for batch in batches] for batches in shards]
    np.testing.assert_allclose(product(2, pairs), product(1, pairs), rtol=1e-4, atol=1e-6)
    assert np.abs(product(2, shards) - product(1, shards)).max() > 1e-2


def test_the_effective_sample_size_is_that_of_the_leave_one_out_weights():
    settings = dataclasses.replace(SETTINGS, estimator="leave_one_out", inner_kl_coefficient=0.0)
    iterate = MetaIteration(settings, CATALOGUE["leave_one_out"], 1)
    start = iterate.start()
    _, (shards, _, _) = iterate(start, 0)
    whole = float(iterate.objective.effective_sample_size(start.parameters, shards))
    assert 1.0 <= whole < SETTINGS.trajectories  # all trajectories but for the weights
    unmoved = dataclasses.replace(settings, inner_learning_rate=1e-9)
    objective = MetaObjective(iterate.samplers[0].policy, CATALOGUE["leave_one_out"], unmoved)
    batches = [[batch, batch] for (batch, _) in shards]  # theta' is the theta that acted
    found = objective.effective_sample_size(start.parameters, batches)
    assert float(found) == pytest.approx(SETTINGS.trajectories, rel=1e-5)


def test_an_edited_estimator_from_outside_starts_afresh(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edited_weights.py").write_text(
        "def w(step):\n    return 0 * step.score_products\n"
    )
    described = dataclasses.asdict(dataclasses.replace(SETTINGS, estimator="edited_weights:w"))
    estimator("edited_weights:w")
    before = checkpoints.checkpoint_path(tmp_path, described)
    assert checkpoints.checkpoint_path(tmp_path, described) == before
    (tmp_path / "edited_weights.py").write_text("def w(step):\n    return step.score_products\n")
    assert checkpoints.checkpoint_path(tmp_path, described) != before


def test_an_estimator_without_a_file_is_one_line_too(tmp_path):
    settings = dataclasses.replace(SETTINGS, estimator="time:sleep")  # built into Python
    with pytest.raises(InputError, match="estimator 'time:sleep' failed"):
        train.train(settings, *paths(tmp_path))
    assert not (tmp_path / "run.parquet").exists()


def test_a_failure_names_the_task_among_all(monkeypatch):
    """The second of the second shard's two tasks is the fourth of all."""
    iterate = MetaIteration(dataclasses.replace(SETTINGS, tasks=4), CATALOGUE["lvc"], 1)

    def fail(*arguments):
        raise PhysicsError(task=1, trajectory=2, step=4, reason="planted")

    monkeypatch.setattr(iterate.samplers[1], "collect", fail)
    with pytest.raises(PhysicsError, match="task 3, trajectory 2, step 4: planted"):
        iterate(iterate.start(), 0)


def test_an_initial_policy_beyond_the_bounds_is_told(tmp_path, monkeypatch, capsys):
    """The share against a count, both sides of the threshold, and that a run asks at its start."""
    iterate = MetaIteration(SETTINGS, CATALOGUE["lvc"], 1)
    _, iteration = iterate(iterate.start(), 0)
    environment = iterate.samplers[0].environment
    means = np.concatenate([rollouts[0].behaviour[0] for rollouts in iteration.rollouts])
    outside = np.abs(means) > environment.single_action_space.high
    assert train.beyond_bounds(iteration, environment) == pytest.approx(outside.mean())
    for share, told in ((0.31, True), (0.29, False)):
        train.warn_of_start(share, 0.1)
        assert ("31% of the initial policy's mean actions" in capsys.readouterr().err) == told
    for divergence, told in ((0.31, True), (0.29, False)):
        train.warn_of_start(0.1, divergence)
        assert ("warning: an inner step" in capsys.readouterr().err) == told
    monkeypatch.setattr(train, "beyond_bounds", lambda *_: 0.9)
    train.train(dataclasses.replace(SETTINGS, iterations=1), *paths(tmp_path))
    assert "warning: 90%" in capsys.readouterr().err


def test_the_divergence_of_an_inner_step_is_that_of_the_adapted_policy():
    """Against Gaussians written out, task by task, from a MetaIteration's own batches."""
    iterate = MetaIteration(SETTINGS, CATALOGUE["lvc"], 1)
    state = iterate.start()
    _, iteration = iterate(state, 0)
    found = iterate.objective.step_divergence(state.parameters, iteration.shards)
    policy, expected = iterate.samplers[0].policy, []
    for shard in iteration.shards:
        theta = every_task(state.parameters, shard[0].mask.shape[0])
        after = adapt(policy, theta, shard[0], SETTINGS.inner)
        mean, log_std = policy.outputs(after, shard[0].observations)
        mean_before, log_std_before = shard[0].behaviour
        ratio = np.exp(2 * (log_std_before - log_std))
        distance = (mean - mean_before).numpy() ** 2 * np.exp(-2 * log_std)
        divergence = 0.5 * (ratio + distance - 1) + (log_std - log_std_before).numpy()
        expected.append(divergence.sum(-1).mean())
    assert found == pytest.approx(np.mean(expected), rel=1e-4) and found > 1e-6


def test_the_standard_error_is_that_of_the_mean_over_tasks():
    """The objective's two numbers against the tasks' own gradients, one objective call a task."""
    settings = dataclasses.replace(SETTINGS, tasks=4, estimator="lsf", inner_kl_coefficient=0.0)
    iterate = MetaIteration(settings, CATALOGUE["lsf"], 1)
    state = iterate.start()
    _, iteration = iterate(state, 0)
    single = dataclasses.replace(settings, tasks=1)
    objective = MetaObjective(iterate.samplers[0].policy, CATALOGUE["lsf"], single)
    tasks = [
        [
            tf.nest.map_structure(lambda x, k=k: x[k : k + 1] if np.ndim(x) else x, batch)
            for batch in shard
        ]
        for shard in iteration.shards
        for k in range(2)
    ]
    each = np.array([objective.gradient(state.parameters, [task]).mean for task in tasks])
    norm, error = iteration.measures.gradient_norms[0], iteration.measures.standard_error
    assert float(norm) == pytest.approx(np.linalg.norm(each.mean(axis=0)), rel=1e-4)
    assert error == pytest.approx(np.sqrt(each.var(axis=0, ddof=1).sum() / 4), rel=1e-4)
    assert np.isnan(standard_error(tf.ones(3), tf.constant(3.0), 1))


def test_seeds_of_one_process_are_the_runs_of_their_own(trained, tmp_path):
    """Byte for byte, with the policies along the way; a shorter run's policy is the kept one."""
    seeds = [4, SETTINGS.seed]
    files = [train.RunFiles(tmp_path / f"{s}.parquet", tmp_path / f"{s}.npz") for s in seeds]
    train.train(SETTINGS, files, tmp_path / "checkpoints", seeds, policy_interval=2)
    for suffix in ("parquet", "npz"):
        alone = (trained / f"run.{suffix}").read_bytes()
        assert (tmp_path / f"{SETTINGS.seed}.{suffix}").read_bytes() == alone
        assert (tmp_path / f"4.{suffix}").read_bytes() != alone
    train.train(dataclasses.replace(SETTINGS, iterations=2), *paths(tmp_path))
    kept = tmp_path / f"{SETTINGS.seed}_iteration_2.npz"
    assert kept.read_bytes() == (tmp_path / "run.npz").read_bytes()
    policies = [tmp_path / f"{s}.npz" for s in seeds]
    evaluate(policies, tmp_path / "together.parquet", tasks=4, trajectories=2, inner_steps=1)
    alone = []
    for path in policies:
        evaluate([path], tmp_path / "alone.parquet", tasks=4, trajectories=2, inner_steps=1)
        alone.append(pd.read_parquet(tmp_path / "alone.parquet"))
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "together.parquet"), pd.concat(alone, ignore_index=True)
    )


def test_a_new_seed_is_the_only_one_that_runs(tmp_path, monkeypatch):
    files = [train.RunFiles(tmp_path / f"{s}.parquet", tmp_path / f"{s}.npz") for s in (0, 1)]
    train.train(SETTINGS, files[:1], tmp_path / "checkpoints", [0])
    before, iterated = files[0].output.read_bytes(), []
    iterate = MetaIteration.__call__

    def counting(self, state, number):
        iterated.append((self.settings.seed, number))
        return iterate(self, state, number)

    monkeypatch.setattr(MetaIteration, "__call__", counting)
    train.train(SETTINGS, files, tmp_path / "checkpoints", [0, 1])
    assert iterated == [(1, 0), (1, 1), (1, 2)]
    assert files[0].output.read_bytes() == before


def test_a_run_that_never_moved_or_is_at_a_bound_says_so():
    row = {"step_accepted": 0.0, "inner_kl_coefficient": 0.0}
    trpo = dataclasses.replace(
        SETTINGS, outer_optimizer="trpo", outer_epochs=1, inner_kl_coefficient=0.0
    )
    rejected, accepted = (row | {"step_accepted": x} for x in (0.0, 1.0))
    (warning,) = train.warnings_of(trpo, [rejected, rejected])
    assert "rejected every step" in warning
    assert train.warnings_of(trpo, [rejected, accepted]) == []
    steered = dataclasses.replace(SETTINGS, inner_kl_target=1e-9)
    for coefficient, number in ((0.02, 0), (0.01 * 1024, 1), (0.01 / 1024, 1)):
        rows = [row | {"inner_kl_coefficient": coefficient}]
        assert len(train.warnings_of(steered, rows)) == number
    assert train.warnings_of(SETTINGS, [row]) == []


def test_evaluation_reproduces_the_training_return(trained, tmp_path):
    """At training's own parameters, tasks and stream the held-out code returns training's numbers,
    bit for bit."""
    settings = dataclasses.replace(SETTINGS, iterations=1)
    train.train(settings, *paths(tmp_path))
    parameters, stored = load_policy(tmp_path / "run.npz")
    assert stored == settings
    sampler = make_sampler(stored, threads=2)
    tasks = sampler.environment.sample_tasks(generator(stored.seed, "tasks", 1), stored.tasks)
    _, rollouts = adaptation_chain(
        sampler,
        compiled_adaptation(sampler.policy, CATALOGUE["lvc"], stored),
        stored,
        parameters,
        tasks,
        [stored.inner_learning_rate],
        ("rollout", 1, 0),
    )
    frame = pd.read_parquet(trained / "run.parquet")
    curve = frame[frame["iteration"] == 1]["mean_return"].tolist()
    assert [float(rollout.returns.mean(axis=1).mean()) for rollout in rollouts] == curve


def test_evaluation_table(trained, tmp_path):
    outputs = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    for threads, output in enumerate(outputs, start=1):
        evaluate(
            [trained / "run.npz"], output, tasks=4, trajectories=2, inner_steps=3, threads=threads
        )
    frame = pd.read_parquet(outputs[0])
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert frame["inner_step"].tolist() == [step for step in range(4) for _ in range(4)]
    assert frame["task"].tolist() == list(range(4)) * 4
    assert (frame["mean_return"] < 0).all()


def test_later_inner_steps_take_a_share_of_the_learning_rate(trained, tmp_path):
    """The first inner step is untouched: returns after it are equal, and those after the second are
    not."""
    tables = []
    for scale in (1.0, 0.5):
        output = tmp_path / f"{scale}.parquet"
        evaluate([trained / "run.npz"], output, 4, 2, 2, later_step_scale=scale)
        tables.append(pd.read_parquet(output).groupby("inner_step")["mean_return"].mean())
    assert (tables[0][:2] == tables[1][:2]).all() and tables[0][2] != tables[1][2]
    with pytest.raises(InputError, match="later_step_scale is 0"):
        evaluate([trained / "run.npz"], tmp_path / "new.parquet", 4, 2, 2, later_step_scale=0)
    assert not (tmp_path / "new.parquet").exists()


def test_paths_are_where_the_point_went(trained, tmp_path):
    """A point's reward is minus the distance from its position to its goal: the paths' rewards are
    the returns."""
    evaluate(
        [trained / "run.npz"], tmp_path / "e.parquet", 4, 2, 2, paths=tmp_path / "paths.parquet"
    )
    paths = pd.read_parquet(tmp_path / "paths.parquet")
    assert paths["trajectory"].unique().tolist() == [0, 1]
    rewards = -np.hypot(paths["x"] - paths["task_0"], paths["y"] - paths["task_1"])
    keys = ["inner_step", "task"]
    found = rewards.groupby([paths[key] for key in keys]).sum() / 2
    expected = pd.read_parquet(tmp_path / "e.parquet").set_index(keys)["mean_return"]
    np.testing.assert_allclose(found, expected.sort_index(), rtol=1e-5)


def test_evaluating_something_else_is_one_line(tmp_path):
    with pytest.raises(InputError, match="no file"):
        load_policy(tmp_path / "absent.npz")
    np.savez(tmp_path / "foreign.npz", x=np.zeros(3))
    with pytest.raises(InputError, match="not a readable metarl file"):
        load_policy(tmp_path / "foreign.npz")
