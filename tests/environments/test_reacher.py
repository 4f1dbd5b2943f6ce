"""ReacherGoal against single simulations in plain MuJoCo, step by step."""

import math

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.envs.mujoco.mujoco_env import expand_model_path

from metarl.environments import make

HORIZON = 50


@pytest.fixture
def environment():
    return make("ReacherGoal", tasks=2, trajectories=2, horizon=HORIZON, threads=2)


def fingertip(model, qpos):
    """Its position in the plane, by MuJoCo's kinematics."""
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_kinematics(model, data)
    return data.body("fingertip").xpos[:2].copy()


def observation(model, data):
    angles, velocities = data.qpos[:2], data.qvel[:2]
    cosines, sines = ([f(angle) for angle in angles] for f in (math.cos, math.sin))
    return [*cosines, *sines, *velocities, *fingertip(model, data.qpos)]


def test_every_step_equals_a_single_simulation(environment):
    goals = environment.sample_tasks(np.random.default_rng(1), 2)
    observations, _ = environment.reset(seed=2, options={"tasks": goals})
    model = mujoco.MjModel.from_xml_path(expand_model_path("reacher.xml"))
    singles = [mujoco.MjData(model) for _ in range(4)]
    for index, single in enumerate(singles):
        single.qpos[:] = environment.batch.bind("qpos")[index]
        single.qvel[:] = environment.batch.bind("qvel")[index]
        np.testing.assert_allclose(observations[index], observation(model, single), atol=1e-12)
    moved = np.zeros(4)
    for actions in np.random.default_rng(3).normal(0.0, 7.0, (HORIZON, 4, 2)):
        observations, rewards, terminations, *_ = environment.step(actions)
        assert not terminations.any()
        for index, single in enumerate(singles):
            controls = [min(max(0.1 * action, -1.0), 1.0) for action in actions[index]]
            single.ctrl[:] = controls
            mujoco.mj_step(model, single, 2)
            np.testing.assert_allclose(observations[index], observation(model, single), atol=1e-9)
            x, y = fingertip(model, single.qpos)
            np.testing.assert_allclose(environment.positions[index], [x, y], atol=1e-12)
            distance = math.hypot(x - goals[index // 2, 0], y - goals[index // 2, 1])
            cost = 0.1 * sum(control**2 for control in controls)
            assert rewards[index] == pytest.approx(-distance - cost, rel=1e-9)
            moved[index] = max(moved[index], abs(single.qpos[0]))
    assert (moved > 1.0).all()


def test_physics_is_gymnasiums(environment):
    """With the same start and controls, and its target out of the way."""
    environment.reset(seed=0)
    reference = gymnasium.make("Reacher-v5").unwrapped
    reference.reset(seed=0)
    qpos, qvel = (environment.batch.bind(field) for field in ("qpos", "qvel"))
    reference.set_state(qpos[3], qvel[3])
    for actions in np.random.default_rng(0).normal(0.0, 7.0, (10, 4, 2)):
        environment.step(actions)
        reference.step(np.clip(0.1 * actions[3], -1.0, 1.0))
        np.testing.assert_array_equal(qpos[3], reference.data.qpos)
    assert environment.seconds_per_step == reference.dt


def test_the_goal_is_not_observed(environment):
    goals = np.array([[0.1, 0.1], [-0.2, 0.0]])
    actions = np.ones((4, 2))
    steps = []
    for tasks in (goals, goals[::-1]):
        start, _ = environment.reset(seed=0, options={"tasks": tasks})
        steps.append((start, *environment.step(actions)[:2]))
    (start, after, rewards), (other_start, other_after, other_rewards) = steps
    np.testing.assert_array_equal(start, other_start)
    np.testing.assert_array_equal(after, other_after)
    assert (rewards != other_rewards).all()


def test_starts_and_goals_are_as_declared():
    """Of 4,000 draws: a scale wrong by a twentieth fails; false failures are beyond 5 sigma."""
    environment = make("ReacherGoal", tasks=1, trajectories=4000, horizon=1)
    environment.reset(seed=0)
    for field, largest in (("qpos", 0.1), ("qvel", 0.005)):
        noise = environment.batch.bind(field)[:, :2]
        assert 0.99 * largest < np.abs(noise).max() <= largest
        assert noise.std() == pytest.approx(largest / 3**0.5, rel=0.05)
        assert abs(noise.mean()) < 5 * largest / 3**0.5 / noise.size**0.5
    np.testing.assert_array_equal(environment.batch.bind("qpos")[:, 2:], [[0.1, -0.1]] * 4000)
    goals = environment.sample_tasks(np.random.default_rng(0), 4000)
    radii = np.linalg.norm(goals, axis=1)
    assert 0.199 < radii.max() <= 0.2
    assert np.mean(radii**2) == pytest.approx(0.02, rel=0.05)
