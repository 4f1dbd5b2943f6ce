"""Rollouts of a policy that walks the point goal straight, against a plain loop."""

import numpy as np
import pytest
import tensorflow as tf

from metarl.environments import PhysicsError, make
from metarl.policies import GaussianMLPPolicy
from metarl.rollouts import Sampler

TASKS, ROWS, HORIZON = 3, 4, 6
GOALS = np.array([[0.08, 0.0], [0.0, -0.12], [0.5, 0.5]])
# No hidden layers: kernel [2, 2], bias [2], log_std [2].
# A bias of goal / 2 or goal / 3 gets there in 2 or 3 steps.
PARAMETERS = np.array(
    [
        [0.0, 0.0, 0.0, 0.0, 0.04, 0.0, -6.0, -5.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, -0.04, -5.5, -5.0],
        [0.3, -0.2, 0.1, 0.4, -0.05, 0.02, -1.0, 0.5],
    ]
)


def point_goal_sampler(threads: int = 1, rows: int = ROWS, horizon: int = HORIZON) -> Sampler:
    environment = make("PointGoal", TASKS, rows, horizon, threads)
    return Sampler(environment, GaussianMLPPolicy(2, 2, ()), TASKS, horizon)


def collect(sampler: Sampler, seed: int = 0):
    parameters = tf.constant(PARAMETERS, tf.float32)
    return sampler.collect(parameters, GOALS, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def rollout():
    return collect(point_goal_sampler())


def naive_walk(goal: np.ndarray, actions: np.ndarray):
    """Observations before each action, rewards and mask of one trajectory of actions [T, 2]."""
    position, alive = np.zeros(2), True
    observations, rewards, mask = [], [], []
    for action in actions.astype(np.float64):
        observations.append(position.copy())
        mask.append(float(alive))
        reward = 0.0
        if alive:
            position += [min(max(move, -0.1), 0.1) for move in action]
            reward = -np.hypot(*(position - goal))
            alive = not all(abs(position - goal) < 0.01)
        rewards.append(reward)
    return np.array(observations), np.array(rewards), np.array(mask)


def test_against_a_plain_loop(rollout):
    lengths = set()
    for k, i in np.ndindex(TASKS, ROWS):
        observations, rewards, mask = naive_walk(GOALS[k], rollout.actions[k, i])
        np.testing.assert_allclose(rollout.observations[k, i], observations, rtol=1e-6)
        np.testing.assert_allclose(rollout.rewards[k, i], rewards, rtol=1e-6)
        np.testing.assert_array_equal(rollout.mask[k, i], mask)
        lengths.add(int(mask.sum()))
    assert {2, 3, HORIZON} <= lengths  # some arrived, after different numbers of steps


def test_nothing_happens_after_the_end(rollout):
    absent = rollout.mask == 0
    assert absent.any()
    np.testing.assert_array_equal(rollout.rewards[absent], 0.0)
    assert (np.diff(rollout.mask, axis=-1) <= 0).all()  # once ended, never again
    np.testing.assert_array_equal(rollout.mask[..., 0], 1.0)


def test_rewards_after_the_end_do_not_count_where_an_environment_gives_them(rollout, monkeypatch):
    sampler = point_goal_sampler()
    step = sampler.environment.step

    def generous_step(actions):
        observations, rewards, *rest = step(actions)
        return observations, rewards - 1.0, *rest

    monkeypatch.setattr(sampler.environment, "step", generous_step)
    generous = collect(sampler)
    np.testing.assert_array_equal(generous.mask, rollout.mask)
    np.testing.assert_allclose(generous.rewards, rollout.rewards - rollout.mask, rtol=1e-6)


def test_shapes_and_float32(rollout):
    assert rollout.observations.shape == rollout.actions.shape == (TASKS, ROWS, HORIZON, 2)
    assert rollout.rewards.shape == rollout.mask.shape == (TASKS, ROWS, HORIZON)
    assert {x.shape for x in rollout.behaviour} == {(TASKS, ROWS, HORIZON, 2)}
    arrays = (*rollout[:4], *rollout.behaviour)
    assert {x.dtype for x in arrays} == {np.dtype(np.float32)}


def test_behaviour_is_the_policy_on_the_stored_observations(rollout):
    policy = GaussianMLPPolicy(2, 2, ())
    outputs = policy.outputs(tf.constant(PARAMETERS, tf.float32), tf.constant(rollout.observations))
    for stored, expected in zip(rollout.behaviour, outputs, strict=True):
        np.testing.assert_allclose(stored, expected, rtol=1e-6, atol=1e-7)


def test_actions_are_the_policys_gaussian():
    """Of the n = 3 x 200 x 6 x 2 = 7,200 standardized actions: a moment wrong by 0.12 fails.

    The bounds are 5 standard errors, 1 / sqrt(n) and 1 / sqrt(2 n): false-fail rate 1.2e-6.
    """
    drawn = collect(point_goal_sampler(rows=200))
    mean, log_std = (x.astype(np.float64) for x in drawn.behaviour)
    noise = ((drawn.actions - mean) / np.exp(log_std)).ravel()
    assert abs(noise.mean()) < 5.0 / np.sqrt(noise.size)
    assert abs(noise.std() - 1.0) < 5.0 / np.sqrt(2 * noise.size)
    assert len(np.unique(np.round(noise, 4))) > 0.8 * noise.size  # no trajectory repeats another


def test_returns_are_float64_sums_of_rewards(rollout):
    assert rollout.returns.dtype == np.float64
    for k, i in np.ndindex(TASKS, ROWS):
        expected = sum(float(reward) for reward in rollout.rewards[k, i])
        np.testing.assert_allclose(rollout.returns[k, i], expected, rtol=1e-15)


def as_bytes(rollout) -> list[bytes]:
    return [x.tobytes() for x in (*rollout[:4], *rollout.behaviour)]


def test_the_same_stream_gives_the_same_bytes(rollout):
    sampler = point_goal_sampler(threads=2)
    assert as_bytes(collect(sampler)) == as_bytes(rollout)
    other = collect(sampler, seed=1)  # and leaves nothing behind in the sampler
    assert as_bytes(collect(sampler)) == as_bytes(rollout)
    assert not np.array_equal(other.actions, rollout.actions)


def test_physics_gives_the_same_bytes_on_any_number_of_threads():
    collected = []
    for threads in (1, 2, 2):
        environment = make("HalfCheetahDir", tasks=2, trajectories=3, horizon=5, threads=threads)
        policy = GaussianMLPPolicy(
            environment.single_observation_space.shape[0],
            environment.single_action_space.shape[0],
            (4,),
        )
        initial = policy.initial_parameters(np.random.default_rng(0))
        parameters = tf.constant(np.stack([initial, 0.5 * initial]), tf.float32)
        sampler = Sampler(environment, policy, tasks=2, horizon=5)
        collected.append(
            sampler.collect(parameters, np.array([[1.0], [-1.0]]), np.random.default_rng(0))
        )
    assert as_bytes(collected[0]) == as_bytes(collected[1]) == as_bytes(collected[2])
    assert collected[0].mask.all()
    assert np.abs(collected[0].rewards).min() > 0


def test_a_policy_that_is_not_finite():
    sampler = point_goal_sampler()
    parameters = PARAMETERS.copy()
    parameters[1, 4] = np.nan
    with pytest.raises(PhysicsError, match="task 1, trajectory 0, step 0") as error:
        sampler.collect(tf.constant(parameters, tf.float32), GOALS, np.random.default_rng(0))
    assert "\n" not in str(error.value)
