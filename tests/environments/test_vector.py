"""The contract that every task distribution keeps."""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils import env_checker
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.wrappers.vector import NormalizeObservation, RecordEpisodeStatistics

from metarl.environments import NAMES, PhysicsError, frames, make
from metarl.errors import InputError

SIZES = {  # observation, action, task
    "AntDir": (27, 8, 1),
    "AntDir2D": (27, 8, 2),
    "AntGoal": (29, 8, 2),
    "AntVel": (27, 8, 1),
    "HalfCheetahDir": (17, 6, 1),
    "HalfCheetahDir_balanced": (17, 6, 1),
    "HalfCheetahVel": (17, 6, 1),
    "HopperRandParams": (11, 3, 5 + 15 + 6 + 15),
    "HumanoidDir2D": (292, 17, 2),
    "HalfCheetahDir_finn2017": (20, 6, 1),
    "HalfCheetahDir_finn2017_balanced": (20, 6, 1),
    "HalfCheetahVel_finn2017": (20, 6, 1),
    "PointGoal": (2, 2, 2),
    "PointGoal_finn2017": (2, 2, 2),
    "ReacherGoal": (8, 2, 2),
    "SwimmerVel": (8, 2, 1),
    "Walker2DDir": (17, 6, 1),
    "Walker2DRandParams": (17, 6, 8 + 24 + 9 + 24),
    "Walker2DVel": (17, 6, 1),
}
PRESETS = {
    **dict.fromkeys(SIZES, "promp2018"),
    **{name: "finn2017" for name in SIZES if "_finn2017" in name or name == "AntVel"},
    "PointGoal": "metarl",
    "ReacherGoal": "metarl",
}

# an action of 10 is the largest control of promp2018
BOUNDS_OF_PRESETS = {"promp2018": 10.0, "finn2017": 1.0, "metarl": 10.0}
ACTION_BOUNDS = {"PointGoal": 0.1}

every_environment = pytest.mark.parametrize("name", NAMES)


def some_tasks(environment, count):
    return environment.sample_tasks(np.random.default_rng(7), count)


@every_environment
def test_make_vec_builds_it(name):
    environment = gymnasium.make_vec(f"metarl/{name}-v0", num_envs=6, horizon=3, threads=2)
    observation_size, action_size, task_size = SIZES[name]
    assert isinstance(environment, VectorEnv)
    assert environment.num_envs == 6
    assert environment.single_observation_space.shape == (observation_size,)
    assert environment.observation_space.shape == (6, observation_size)
    assert environment.single_action_space.shape == (action_size,)
    assert environment.action_space.shape == (6, action_size)
    assert environment.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    assert environment.task_size == task_size
    assert environment.preset == PRESETS[name]
    assert environment.spec.id == f"metarl/{name}-v0"


@pytest.mark.parametrize(
    ("name", "horizon"),
    [
        ("HalfCheetahDir", 100),
        ("HalfCheetahVel", 200),
        ("PointGoal", 100),
        ("AntVel", 200),
        ("ReacherGoal", 50),
    ],
)
def test_default_horizon_is_the_declared_one(name, horizon):
    assert gymnasium.make_vec(f"metarl/{name}-v0").horizon == horizon


@every_environment
def test_make_counts_environments(name):
    environment = make(name, tasks=2, trajectories=3, horizon=4)
    assert environment.spec.id == f"metarl/{name}-v0"
    assert (environment.num_envs, environment.horizon) == (6, 4)


@every_environment
@pytest.mark.parametrize(
    "check",
    [
        env_checker.check_reset_seed_determinism,
        env_checker.check_reset_options,
        # with one environment, since it asks whether "the" trajectory is over
        env_checker.check_returned_data_not_reused,
    ],
)
@pytest.mark.filterwarnings("error")
def test_gymnasium_checks(name, check):
    check(gymnasium.make_vec(f"metarl/{name}-v0", num_envs=1, horizon=5))


@every_environment
def test_step_returns_new_arrays_in_the_spaces(name):
    environment = make(name, tasks=2, trajectories=2, horizon=3)
    first, infos = environment.reset(seed=0)
    kept = first.copy()
    observations, rewards, terminations, truncations, step_infos = environment.step(
        environment.action_space.sample()
    )
    assert observations in environment.observation_space
    assert rewards.shape == terminations.shape == truncations.shape == (4,)
    assert rewards.dtype == np.float64
    assert terminations.dtype == truncations.dtype == bool
    assert infos == step_infos == {}
    np.testing.assert_array_equal(first, kept)


@every_environment
def test_start_states_depend_on_the_seed_alone(name):
    environment = make(name, tasks=2, trajectories=2, horizon=3)
    tasks = some_tasks(environment, 2)
    first, _ = environment.reset(seed=3, options={"tasks": tasks})
    other_tasks, _ = environment.reset(seed=3, options={"tasks": tasks[::-1]})
    no_tasks, _ = environment.reset(seed=3)
    environment.step(environment.action_space.sample())
    numpy_seed, _ = environment.reset(seed=np.int64(3))
    another_seed, _ = environment.reset(seed=4)
    for observations in (other_tasks, no_tasks, numpy_seed):
        np.testing.assert_array_equal(observations, first)
    if not name.startswith("PointGoal"):  # whose only start is the origin
        assert not (another_seed == first).all(axis=1).any()
        assert len(np.unique(first, axis=0)) == 4


@every_environment
def test_same_seed_and_actions_give_the_same_bytes(name):
    def run():
        environment = make(name, tasks=2, trajectories=2, horizon=5)
        results = [environment.reset(seed=1)[0]]
        generator = np.random.default_rng(1)
        for _ in range(5):
            results += environment.step(generator.normal(size=environment.action_space.shape))[:2]
        return b"".join(result.tobytes() for result in results)

    assert run() == run()


@every_environment
def test_actions_are_clipped_to_the_action_space(name):
    environment = make(name, tasks=1, trajectories=2, horizon=1)
    tasks = some_tasks(environment, 1)
    results = []
    high = environment.action_space.high
    assert np.unique(high) == ACTION_BOUNDS.get(name, BOUNDS_OF_PRESETS[environment.preset])
    for actions in (7.0 * high, high):
        environment.reset(seed=0, options={"tasks": tasks})
        results.append(environment.step(actions))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


@every_environment
def test_environments_are_ordered_by_task_then_trajectory(name):
    environment = make(name, tasks=3, trajectories=2, horizon=1)
    tasks = some_tasks(environment, 3)
    tasks[1] = -tasks[0]  # directions may agree by chance
    actions = environment.action_space.sample()

    def rewards(tasks):
        environment.reset(seed=0, options={"tasks": tasks})
        return environment.step(actions)[1]

    grouped = rewards(tasks)
    np.testing.assert_array_equal(environment.tasks, tasks)
    np.testing.assert_array_equal(grouped, rewards(tasks[[0, 0, 1, 1, 2, 2]]))
    assert not np.array_equal(grouped, rewards(tasks[[0, 1, 2, 0, 1, 2]]))


@every_environment
def test_reset_without_tasks_samples_one_per_environment(name):
    environment = make(name, tasks=2, trajectories=3, horizon=1)
    environment.reset(seed=0)
    assert environment.tasks.shape == (6, environment.task_size)


@every_environment
def test_truncation_at_the_horizon_and_then_reset_is_needed(name):
    environment = make(name, tasks=1, trajectories=2, horizon=3)
    still = np.zeros(environment.action_space.shape)
    with pytest.raises(ResetNeeded):
        environment.step(still)
    environment.reset(seed=0, options={"tasks": some_tasks(environment, 1)})
    truncations = [environment.step(still)[3] for _ in range(3)]
    np.testing.assert_array_equal(truncations, [[False] * 2, [False] * 2, [True] * 2])
    with pytest.raises(ResetNeeded):
        environment.step(still)
    environment.reset()
    assert not environment.step(still)[3].any()


@every_environment
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_action_that_is_not_finite_is_named(name, value):
    environment = make(name, tasks=2, trajectories=3, horizon=5)
    environment.reset(seed=0, options={"tasks": some_tasks(environment, 2)})
    actions = np.zeros(environment.action_space.shape)
    environment.step(actions)
    actions[5, 1] = value
    with pytest.raises(PhysicsError) as caught:
        environment.step(actions)
    assert (caught.value.task, caught.value.trajectory, caught.value.step) == (1, 2, 1)
    assert str(caught.value) == "task 1, trajectory 2, step 1: the action is not finite"
    with pytest.raises(ResetNeeded):
        environment.step(np.zeros_like(actions))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "HalfCheetah"}, "AntDir, AntDir2D, AntGoal, AntVel, HalfCheetahDir"),
        ({"horizon": 0}, "horizon is 0; it must be a positive integer"),
        ({"horizon": -1}, "horizon is -1; it must be a positive integer"),
        ({"threads": 0}, "threads is 0; it must be a positive integer"),
        ({"threads": 1.5}, "threads is 1.5; it must be a positive integer"),
        ({"name": "PointGoal", "threads": 0}, "threads is 0; it must be a positive integer"),
        ({"tasks": 0}, "tasks is 0; it must be a positive integer"),
        ({"trajectories": -2}, "trajectories is -2; it must be a positive integer"),
    ],
)
def test_make_refuses_bad_input(arguments, message):
    allowed = {"name": "HalfCheetahDir", "tasks": 1, "trajectories": 1, "horizon": 1, "threads": 1}
    with pytest.raises(InputError) as caught:
        make(**(allowed | arguments))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@every_environment
@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (np.zeros(6), "must be [K, D]"),
        (np.zeros((2, 3)), "must be [K, D]"),
        (np.zeros((0, 1)), "must be [K, D]"),
        ("four", "num_envs is 6, which 4 tasks do not divide"),
        ("nan", "every task must be finite"),
    ],
)
def test_reset_refuses_bad_tasks(name, tasks, message):
    environment = make(name, tasks=2, trajectories=3, horizon=1)
    if isinstance(tasks, str):
        tasks = np.full((4 if tasks == "four" else 2, environment.task_size), float("nan"))
    with pytest.raises(InputError) as caught:
        environment.reset(seed=0, options={"tasks": tasks})
    assert message.replace("D", str(environment.task_size)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_reset_refuses_unknown_options():
    with pytest.raises(InputError, match="'task'.* the options are 'tasks' and 'reset_mask'"):
        make("PointGoal", 1, 1, 1).reset(options={"task": [[0.0, 0.0]]})


@every_environment
def test_step_refuses_actions_of_another_shape(name):
    environment = make(name, tasks=2, trajectories=2, horizon=1)
    environment.reset(seed=0)
    with pytest.raises(InputError, match=r"shape \(2, 2\); they must be \(4, \d+\)"):
        environment.step(np.zeros((2, 2)))


@every_environment
def test_positions_are_the_bodys_and_belong_to_the_caller(name):
    """Where qpos's first numbers, or the point, are; a body that moves for a step changes them."""
    environment = make(name, tasks=2, trajectories=1, horizon=3)
    environment.reset(seed=0, options={"tasks": some_tasks(environment, 2)})
    before = environment.positions
    kept = before.copy()
    environment.step(environment.action_space.high)
    after = environment.positions
    in_plane = name.startswith(("Ant", "Point", "Humanoid", "Swimmer", "Reacher"))
    assert before.shape == after.shape == (2, 2 if in_plane else 1)
    np.testing.assert_array_equal(before, kept)
    assert (after != before).any(axis=1).all()
    if hasattr(environment, "batch") and name != "ReacherGoal":  # whose fingertip has its own test
        qpos = environment.batch.bind("qpos")
        np.testing.assert_array_equal(after, qpos[:, : after.shape[1]])


# --- gymnasium's conventions -------------------------------------------------------------------

ENDING = {"HopperRandParams": 60, "PointGoal": 8, "HumanoidDir2D": 60}  # early, and the horizon


def ended_at_once(environment, tasks):
    """Large moves: the point passes its goal; others fall."""
    environment.reset(seed=5, options={"tasks": tasks})
    return environment.action_space.high


@every_environment
def test_a_mask_resets_some_and_leaves_the_others(name):
    """Those that are reset start as they would by that seed; the others' next step is theirs."""
    environment, whole = (make(name, tasks=2, trajectories=2, horizon=6) for _ in range(2))
    tasks, mask = some_tasks(environment, 2), np.array([False, True, True, False])
    generator = np.random.default_rng(2)
    actions = [0.1 * generator.normal(size=environment.action_space.shape) for _ in range(3)]
    starts, _ = whole.reset(seed=9, options={"tasks": tasks})
    for one in (environment, whole):
        one.reset(seed=3, options={"tasks": tasks})
        for action in actions[:2]:
            before = one.step(action)[0]
    options = {"tasks": tasks, "reset_mask": mask}
    observations, _ = environment.reset(seed=9, options=options)
    assert set(options) == {"tasks", "reset_mask"}  # the caller's, and a wrapper's to read
    np.testing.assert_array_equal(observations[mask], starts[mask])
    np.testing.assert_array_equal(observations[~mask], before[~mask])
    results, expected = environment.step(actions[2]), whole.step(actions[2])
    for ours, theirs in zip(results[:3], expected[:3], strict=True):
        np.testing.assert_array_equal(ours[~mask], theirs[~mask])


def test_masked_trajectories_have_a_horizon_of_their_own():
    environment = make("PointGoal", tasks=1, trajectories=3, horizon=3)
    still, mask = np.zeros((3, 2)), np.array([True, False, False])
    environment.reset(seed=0, options={"tasks": [[0.4, 0.4]]})
    environment.step(still)
    environment.reset(options={"tasks": [[0.4, 0.4]], "reset_mask": mask})
    truncations = [environment.step(still)[3].tolist() for _ in range(2)]
    assert truncations == [[False] * 3, [False, True, True]]
    with pytest.raises(ResetNeeded):
        environment.step(still)
    environment.reset(options={"reset_mask": ~mask})
    np.testing.assert_array_equal(environment.tasks[0], [0.4, 0.4])
    assert len(np.unique(environment.tasks, axis=0)) == 3  # drawn for those that were reset
    assert environment.step(still)[3].tolist() == [True, False, False]


@every_environment
def test_each_of_a_list_of_seeds_starts_as_it_does_alone(name):
    environment = make(name, tasks=2, trajectories=2, horizon=3)
    of_all = {}
    for seed in (7, 8):
        of_all[seed] = environment.reset(seed=seed)[0], environment.tasks.copy()
    seeds = [7, 8, 8, 7]
    observations, _ = environment.reset(seed=seeds)
    for index, seed in enumerate(seeds):
        np.testing.assert_array_equal(observations[index], of_all[seed][0][index])
        np.testing.assert_array_equal(environment.tasks[index], of_all[seed][1][index])
    environment.reset(seed=[1, None, None, 2])  # None goes on with a stream that the others decide
    environment.step(environment.action_space.sample())


@pytest.mark.parametrize("name", ENDING)
def test_next_step_autoreset(name):
    """A step after its last one a trajectory starts anew, on its task, whatever the action."""
    environment = gymnasium.make_vec(
        f"metarl/{name}-v0", num_envs=6, horizon=ENDING[name], autoreset_mode="next_step"
    )
    assert environment.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    tasks = some_tasks(environment, 6)
    if name == "PointGoal":
        tasks[:2] = 0.1, 0.1  # which the largest move meets
    actions, lengths = ended_at_once(environment, tasks), np.zeros(6, int)
    over = ended = cut = np.zeros(6, bool)
    for _ in range(150):
        _, rewards, terminations, truncations, _ = environment.step(actions)
        assert (rewards[over] == 0).all()
        assert not (terminations | truncations)[over].any()
        lengths = np.where(over, 0, lengths + 1)
        assert (truncations == (lengths == ENDING[name])).all()
        over = terminations | truncations
        ended, cut = ended | terminations, cut | truncations
    assert ended.any() and (cut.any() or name != "PointGoal")
    np.testing.assert_array_equal(environment.tasks, tasks)


@pytest.mark.parametrize("mode", ["disabled", "next_step"])
@pytest.mark.parametrize("name", ENDING)
def test_every_episode_is_counted_once(name, mode):
    """Whether those that end are reset, or stay where they ended until all are over."""
    environment = RecordEpisodeStatistics(
        gymnasium.make_vec(f"metarl/{name}-v0", num_envs=4, horizon=60, autoreset_mode=mode)
    )
    actions = ended_at_once(environment, some_tasks(environment.unwrapped, 4))
    returns, ended = np.zeros(4), 0
    for _ in range(60):
        _, rewards, terminations, truncations, _ = environment.step(actions)
        returns = returns + rewards
        ended += (terminations | truncations).sum()
    assert environment.episode_count == ended
    if mode == "disabled":
        assert ended == 4
        np.testing.assert_allclose(sorted(environment.return_queue), sorted(returns))


def test_episodes_reset_by_mask_are_counted_once():
    environment = RecordEpisodeStatistics(gymnasium.make_vec("metarl/PointGoal-v0", num_envs=3))
    environment.reset(seed=0, options={"tasks": [[0.1, 0.1], [0.3, 0.3], [0.5, 0.5]]})
    ended = np.zeros(3, int)
    for _ in range(12):
        over = np.logical_or(*environment.step(np.full((3, 2), 0.1))[2:4])
        ended += over
        if over.any():
            tasks = environment.unwrapped.tasks
            environment.reset(options={"tasks": tasks, "reset_mask": over})
    assert ended.tolist() == [12, 4, 2] and environment.episode_count == 18
    assert set(environment.length_queue) == {1, 3, 5}


def test_observations_are_normalized():
    environment = NormalizeObservation(
        gymnasium.make_vec("metarl/HalfCheetahDir-v0", num_envs=4, autoreset_mode="next_step")
    )
    environment.reset(seed=0)
    observations = [environment.step(environment.action_space.sample())[0] for _ in range(150)]
    assert abs(np.mean(observations)) < 1 and 0.1 < np.std(observations) < 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reset_mask": np.zeros(2, bool)}, "at least one True"),
        ({"reset_mask": np.ones(3, bool)}, r"of shape \(2,\)"),
        ({"reset_mask": np.ones(2)}, "it must be a bool array"),
        ({"reset_mask": [True, True]}, "it must be a bool array"),
    ],
)
def test_reset_refuses_bad_masks(options, message):
    environment = make("PointGoal", 1, 2, 3)
    with pytest.raises(InputError, match=message):
        environment.reset(options=options)
    with pytest.raises(ResetNeeded, match="reset all before some"):
        environment.reset(options={"reset_mask": np.array([True, False])})


def test_refused_seeds_and_modes():
    for seed in (1.5, [1, -4], ["a", 1], [1.0, 2]):
        with pytest.raises(InputError, match=r"seed is .*; give"):
            make("PointGoal", 1, 2, 3).reset(seed=seed)
    with pytest.raises(InputError, match="3 seeds given; give one of each of 2"):
        make("PointGoal", 1, 2, 3).reset(seed=[1, 2, 3])
    with pytest.raises(InputError, match="autoreset_mode is 'same_step'; give 'disabled' or"):
        gymnasium.make_vec("metarl/PointGoal-v0", autoreset_mode="same_step")
    with pytest.raises(InputError, match="render_mode is 'human'; give None or 'rgb_array'"):
        gymnasium.make_vec("metarl/AntDir-v0", render_mode="human")
    with pytest.raises(InputError, match="render_mode is None; make the environment with 'rgb_"):
        gymnasium.make_vec("metarl/AntDir-v0").unwrapped.render()


FRAMES = """
import gymnasium, numpy as np, sys
import metarl.environments
environment = gymnasium.make_vec(f"metarl/{sys.argv[1]}-v0", num_envs=2, render_mode="rgb_array")
environment.reset(seed=0)
frames = [environment.render()]
high = environment.single_action_space.high
for _ in range(8):
    environment.step(np.stack([high, 0 * high]))
frames.append(environment.render())
environment.close()
assert all(isinstance(x, tuple) and len(x) == 2 for x in frames)
for frame in (*frames[0], *frames[1]):
    assert frame.shape == (480, 480, 3) and frame.dtype == np.uint8 and frame.std() > 5
assert (frames[0][0] != frames[1][0]).any() and (frames[1][0] != frames[1][1]).any()
"""


@pytest.mark.parametrize("name", ["HalfCheetahDir", "ReacherGoal", "HopperRandParams"])
def test_frames_show_every_environment(name):
    """In a process of its own: see `metarl.environments.frames`."""
    command = [sys.executable, "-c", FRAMES, name]
    finished = subprocess.run(command, check=False, capture_output=True, text=True)
    if "nothing draws frames offscreen here" in finished.stderr:
        pytest.skip("no offscreen renderer")
    assert finished.returncode == 0, finished.stderr


def test_no_renderer_is_one_line(monkeypatch):
    monkeypatch.setattr(frames, "BACKENDS", ("nosuch",))
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    for loaded, message in (
        ({}, "nothing draws frames offscreen here .nosuch: No module"),
        ({"tensorflow": None}, "frames are drawn in a process that has not loaded TensorFlow"),
    ):
        others = {key: module for key, module in sys.modules.items() if key != "tensorflow"}
        monkeypatch.setattr(sys, "modules", others | loaded)
        with pytest.raises(InputError, match=message):
            gymnasium.make_vec("metarl/HalfCheetahDir-v0", render_mode="rgb_array")
