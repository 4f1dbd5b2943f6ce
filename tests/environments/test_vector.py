"""The contract that every task distribution keeps."""

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils import env_checker
from gymnasium.vector import AutoresetMode, VectorEnv

from metarl.environments import NAMES, PhysicsError, make
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
    with pytest.raises(InputError, match="'task'.* the only option is 'tasks'"):
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
