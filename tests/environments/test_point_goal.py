"""The 2-D point against a naive loop."""

import numpy as np
import pytest

from metarl.environments import make


def naive(goal, actions):
    """One trajectory by the published definition; returns positions, rewards and terminations."""
    x = y = 0.0
    done = False
    positions, rewards, terminations = [], [], []
    for action in actions:
        reward = 0.0
        if not done:
            x += min(max(action[0], -0.1), 0.1)
            y += min(max(action[1], -0.1), 0.1)
            reward = -(((x - goal[0]) ** 2 + (y - goal[1]) ** 2) ** 0.5)
            done = abs(x - goal[0]) < 0.01 and abs(y - goal[1]) < 0.01
        positions.append((x, y))
        rewards.append(reward)
        terminations.append(done)
    return np.array(positions), np.array(rewards), np.array(terminations)


def test_equals_a_naive_loop_and_freezes_at_the_goal():
    environment = make("PointGoal", tasks=3, trajectories=4, horizon=60)
    goals = np.array([[0.3, -0.2], [-0.45, 0.1], [0.005, 0.5]])
    start, _ = environment.reset(seed=0, options={"tasks": goals})
    np.testing.assert_array_equal(start, np.zeros((12, 2)))
    generator = np.random.default_rng(5)
    position, actions, steps = start, [], []
    for _ in range(60):
        # towards the goal, with noise that lets trajectories end at different steps
        action = np.repeat(goals, 4, axis=0) - position + generator.normal(0, 0.02, (12, 2))
        actions.append(action)
        steps.append(environment.step(action)[:3])
        position = steps[-1][0]
    positions, rewards, terminations = (np.array(values) for values in zip(*steps, strict=True))
    ended = np.logical_or.accumulate(terminations)  # each says so once
    assert terminations.sum(axis=0).tolist() == ended[-1].tolist()
    ends = set()
    for index in range(12):
        expected = naive(goals[index // 4], np.array(actions)[:, index])
        np.testing.assert_array_equal(positions[:, index], expected[0])
        np.testing.assert_allclose(rewards[:, index], expected[1], rtol=1e-14)
        np.testing.assert_array_equal(ended[:, index], expected[2])
        ends.add(int(ended[:, index].sum()))
    assert len(ends) > 3  # early ends did happen, at different steps
    assert 0 < min(ends)
    assert (rewards[1:][ended[:-1]] == 0).all()


def test_published_actions_are_ten_times_the_moves():
    goals = np.array([[0.3, -0.2], [-0.45, 0.1]])
    moves, published = (
        make(name, tasks=2, trajectories=3, horizon=8)
        for name in ("PointGoal", "PointGoal_finn2017")
    )
    assert (published.single_action_space.high == 1.0).all()
    for environment in (moves, published):
        environment.reset(seed=0, options={"tasks": goals})
    for action in np.random.default_rng(1).normal(0.0, 1.0, (8, 6, 2)):
        for first, second in zip(
            moves.step(0.1 * action)[:3], published.step(action)[:3], strict=True
        ):
            np.testing.assert_allclose(first, second, rtol=1e-14)


@pytest.mark.parametrize(("offset", "done"), [(0.0099, True), (0.0101, False)])
def test_done_within_a_hundredth_in_both_coordinates(offset, done):
    environment = make("PointGoal", tasks=1, trajectories=1, horizon=2)
    environment.reset(seed=0, options={"tasks": [[0.05 + offset, 0.05 - 0.0099]]})
    _, rewards, terminations, truncations, _ = environment.step([[0.05, 0.05]])
    assert terminations[0] == done
    assert not truncations[0]
    assert rewards[0] == pytest.approx(-np.hypot(offset, 0.0099))


def test_goals_are_uniform_on_the_square():
    """Of 10,000 draws: a mean wrong by 0.04 fails; false failures are beyond 5 sigma."""
    goals = make("PointGoal", 1, 1, 1).sample_tasks(np.random.default_rng(0), 10_000)
    assert goals.shape == (10_000, 2)
    assert -0.5 <= goals.min() < -0.49
    assert 0.49 < goals.max() < 0.5
    np.testing.assert_allclose(goals.mean(axis=0), 0.0, atol=0.02)
