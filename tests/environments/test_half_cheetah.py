"""HalfCheetah against Gymnasium's own environment, and against naive loops."""

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.error import ResetNeeded

from metarl.environments import PhysicsError, make, mujoco_batch
from metarl.environments.half_cheetah import HalfCheetahDir

NAMES = ("HalfCheetahDir", "HalfCheetahVel")
SECONDS_PER_STEP = 0.05
SCALE = 10.0  # the action that is the largest control: normalization_scale of ProMP's wrapper


def record(environment, tasks, actions, seed=0):
    """Steps through actions [T, num_envs, 6]; returns qpos, qvel, observations and rewards."""
    observations, rewards = [environment.reset(seed=seed, options={"tasks": tasks})[0]], []
    qpos, qvel = environment.batch.bind("qpos"), environment.batch.bind("qvel")
    positions, velocities = [qpos.copy()], [qvel.copy()]
    for action in actions:
        observation, reward, *_ = environment.step(action)
        observations.append(observation)
        rewards.append(reward)
        positions.append(qpos.copy())
        velocities.append(qvel.copy())
    return tuple(np.array(values) for values in (positions, velocities, observations, rewards))


def random_actions(horizon, num_envs):
    """Actions that are clipped now and then: [T, num_envs, 6]."""
    return np.random.default_rng(11).normal(0.0, 0.7 * SCALE, (horizon, num_envs, 6))


@pytest.fixture(scope="module")
def trajectories():
    """Six environments over 200 steps, and their controls."""
    environment = make("HalfCheetahDir", tasks=2, trajectories=3, horizon=200, threads=2)
    actions = random_actions(200, 6)
    return 0.1 * np.clip(actions, -SCALE, SCALE), record(environment, [[1.0], [-1.0]], actions)


@pytest.mark.parametrize("index", range(6))
def test_physics_is_gymnasiums_to_the_last_bit(trajectories, index, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where Gymnasium's environment lets MuJoCo write its log
    controls, (qpos, qvel, _, _) = trajectories
    reference = gymnasium.make("HalfCheetah-v5").unwrapped
    mujoco.mj_resetData(reference.model, reference.data)
    reference.set_state(qpos[0, index], qvel[0, index])
    for step in range(200):
        reference.step(controls[step, index])
        np.testing.assert_array_equal(qpos[step + 1, index], reference.data.qpos)
        np.testing.assert_array_equal(qvel[step + 1, index], reference.data.qvel)


def test_observations_are_qpos_without_the_root_position_and_qvel(trajectories):
    _, (qpos, qvel, observations, _) = trajectories
    model = make("HalfCheetahDir", 1, 1, 1).model
    data = mujoco.MjData(model)
    for step in range(0, 201, 20):
        for index in range(6):
            data.qpos, data.qvel = qpos[step, index], qvel[step, index]
            mujoco.mj_forward(model, data)
            expected = [*data.qpos[1:], *data.qvel]
            np.testing.assert_array_equal(observations[step, index], expected)


@pytest.mark.parametrize("name", NAMES)
def test_rewards_equal_a_naive_loop(name):
    environment = make(name, tasks=2, trajectories=2, horizon=30)
    tasks = environment.sample_tasks(np.random.default_rng(2), 2)
    actions = random_actions(30, 4)
    qpos, _, _, rewards = record(environment, tasks, actions)
    for step in range(30):
        for index in range(4):
            task = float(tasks[index // 2, 0])
            velocity = (qpos[step + 1, index, 0] - qpos[step, index, 0]) / SECONDS_PER_STEP
            cost = 0.05 * sum(min(max(a / SCALE, -1.0), 1.0) ** 2 for a in actions[step, index])
            running = task * velocity if name == "HalfCheetahDir" else -abs(velocity - task)
            assert rewards[step, index] == pytest.approx(running - cost, rel=1e-13, abs=1e-13)


def test_results_do_not_depend_on_threads(trajectories):
    _, two_threads = trajectories
    environment = make("HalfCheetahDir", tasks=2, trajectories=3, horizon=200, threads=1)
    one_thread = record(environment, [[1.0], [-1.0]], random_actions(200, 6))
    for one, two in zip(one_thread, two_threads, strict=True):
        np.testing.assert_array_equal(one, two)


def test_start_noise_is_the_published_one():
    """Of 2,000 x 9 draws: a scale wrong by 5% fails; false failures are beyond 5 sigma."""
    environment = make("HalfCheetahVel", tasks=1, trajectories=2000, horizon=1)
    environment.reset(seed=0)
    noise = environment.batch.bind("qpos") - environment.model.qpos0
    velocities = environment.batch.bind("qvel")
    assert np.abs(noise).max() <= 0.1
    assert noise.std() == pytest.approx(0.1 / np.sqrt(3), rel=0.02)
    assert velocities.std() == pytest.approx(0.1, rel=0.03)
    assert abs(velocities.mean()) < 0.1 * 5 / np.sqrt(velocities.size)


@pytest.mark.parametrize("name", ["HalfCheetahDir", "HalfCheetahDir_finn2017"])
def test_directions_are_independent(name):
    """Of 4,000 draws of 2: a probability wrong by 0.05 fails; false failures are beyond 5 sigma.

    Balanced pairs would never agree, independent ones agree half of the time.
    """
    environment = make(name, 1, 1, 1)
    generator = np.random.default_rng(0)
    pairs = np.array([environment.sample_tasks(generator, 2) for _ in range(4000)])
    assert pairs.shape == (4000, 2, 1) and set(pairs.ravel()) == {-1.0, 1.0}
    assert np.mean(pairs == 1.0) == pytest.approx(0.5, abs=5 * 0.5 / 8000**0.5)
    assert np.mean(pairs[:, 0] == pairs[:, 1]) == pytest.approx(0.5, abs=5 * 0.5 / 4000**0.5)


@pytest.mark.parametrize("name", ["HalfCheetahDir_balanced", "HalfCheetahDir_finn2017_balanced"])
@pytest.mark.parametrize("count", [2, 40])
def test_directions_are_balanced(name, count):
    environment = make(name, 1, 1, 1)
    tasks = environment.sample_tasks(np.random.default_rng(0), count)
    assert tasks.shape == (count, 1)
    assert sorted(tasks[:, 0]) == [-1.0] * (count // 2) + [1.0] * (count // 2)


def test_balanced_directions_come_in_random_order_and_an_odd_one_is_fair():
    environment = make("HalfCheetahDir_balanced", 1, 1, 1)
    generator = np.random.default_rng(0)
    firsts = {environment.sample_tasks(generator, 4)[0, 0] for _ in range(40)}
    surpluses = {environment.sample_tasks(generator, 3).sum() for _ in range(40)}
    assert firsts == surpluses == {-1.0, 1.0}  # either misses one of the two once in 2^39 seeds


def test_goal_velocities_are_uniform_on_0_to_3():
    """Of 10,000 draws: a mean wrong by 0.1 fails; false failures are beyond 5 sigma."""
    tasks = make("HalfCheetahVel", 1, 1, 1).sample_tasks(np.random.default_rng(0), 10_000)
    assert tasks.shape == (10_000, 1)
    assert tasks.dtype == np.float64
    assert 0 <= tasks.min() < 0.01
    assert 2.99 < tasks.max() < 3
    assert tasks.mean() == pytest.approx(1.5, abs=0.05)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("qpos", np.nan, "QPOS"),
        ("qvel", np.inf, "QVEL"),
        ("qvel", 1e12, "QVEL"),
        ("qvel", 1e7, "QACC"),
    ],
)
def test_a_simulation_that_mujoco_resets_is_named(
    field, value, reason, tmp_path, capfd, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    environment = make("HalfCheetahDir", tasks=2, trajectories=3, horizon=5, threads=2)
    environment.reset(seed=0, options={"tasks": [[1.0], [-1.0]]})
    actions = np.zeros((6, 6))
    environment.step(actions)
    environment.step(actions)
    environment.batch.bind(field)[4, 2] = value
    with pytest.raises(PhysicsError) as caught:
        environment.step(actions)
    assert (caught.value.task, caught.value.trajectory, caught.value.step) == (1, 1, 2)
    assert str(caught.value).startswith("task 1, trajectory 1, step 2: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ResetNeeded):
        environment.step(actions)
    environment.reset(seed=0)
    assert np.isfinite(environment.step(actions)[0]).all()
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []  # no MUJOCO_LOG.TXT


def test_the_log_comes_back_when_the_last_thread_leaves():
    """Two shards, of which the first to enter is the first to leave."""

    def to_file() -> bool:
        return mujoco.MjLogConfig.get().logto_file

    first, second = (mujoco_batch._without_mujoco_log() for _ in range(2))
    assert to_file()
    for manager in (first, second):
        manager.__enter__()
    first.__exit__(None, None, None)
    assert not to_file()
    second.__exit__(None, None, None)
    assert to_file()


def test_a_simulation_error_is_named():
    environment = make("HalfCheetahDir", tasks=2, trajectories=3, horizon=5, threads=2)
    environment.reset(seed=0, options={"tasks": [[1.0], [-1.0]]})
    environment.batch.expand("opt.integrator")[[2, 3]] = 99
    with pytest.raises(PhysicsError, match="^task 0, trajectory 2, step 0: .*integrator$"):
        environment.step(np.zeros((6, 6)))


def test_mujocos_log_settings_are_restored():
    before = mujoco.MjLogConfig.get()
    environment = make("HalfCheetahDir", 1, 1, 1)
    environment.reset(seed=0)
    environment.step(np.zeros((1, 6)))
    after = mujoco.MjLogConfig.get()
    assert (after.logto_console, after.logto_file) == (before.logto_console, before.logto_file)
    assert after.logfile == before.logfile


class StopsEarly(HalfCheetahDir):
    """Ends as soon as the cheetah is lower than it may start."""

    def _terminate(self):
        return self._qpos[:, 1] < -0.11


def test_a_terminated_simulation_is_frozen():
    environment = StopsEarly(num_envs=8, horizon=40)
    actions = random_actions(40, 8)
    observations, rewards, ends = [environment.reset(seed=0)[0]], [], []
    for action in actions:
        observation, reward, terminations, *_ = environment.step(action)
        observations.append(observation)
        rewards.append(reward)
        ends.append(terminations)
    observations, rewards, ends = np.array(observations), np.array(rewards), np.array(ends)
    last = ends.argmax(axis=0)
    assert len(set(last)) > 2  # at different steps
    for index in np.flatnonzero(ends.any(axis=0)):
        end = last[index]
        assert ends[:, index].sum() == 1  # said once
        assert rewards[end, index] != 0
        assert (rewards[end + 1 :, index] == 0).all()
        assert (observations[end + 1 :, index] == observations[end + 1, index]).all()
        assert observations[end + 1, index, 0] < -0.11 <= observations[end, index, 0]
