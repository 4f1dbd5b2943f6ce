"""Films: the states are those of the rollouts, and every picture stands where it says."""

import dataclasses
import io
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from metarl import film
from metarl.adaptation import adapt
from metarl.advantages import trajectories
from metarl.errors import InputError
from metarl.film import SIDE, animation, panels, states_around
from metarl.policy_files import save_policy
from metarl.randomness import generator
from metarl.rollouts import make_sampler
from metarl.settings import TrainingSettings

SETTINGS = TrainingSettings(
    environment="PointGoal",
    estimator="maml",
    algorithm="maml",
    tasks=2,
    trajectories=3,
    horizon=8,
    hidden_sizes=(4,),
    inner_learning_rate=0.5,
)
PARAMETERS = 2 * 4 + 4 + 4 * 2 + 2 + 2


@pytest.fixture
def policy(tmp_path):
    parameters = np.random.default_rng(0).normal(scale=0.1, size=PARAMETERS).astype(np.float32)
    save_policy(parameters, dataclasses.asdict(SETTINGS), tmp_path / "run.npz")
    return tmp_path / "run.npz"


def test_states_are_those_before_and_after_an_inner_step():
    parameters = np.full(PARAMETERS, 0.1, np.float32)
    states, tasks = states_around(parameters, SETTINGS)
    assert states.shape == (2, 8, 2, 2)
    sampler = make_sampler(SETTINGS, threads=1)
    copies = tf.constant(np.tile(parameters, (2, 1)))
    before = sampler.collect(copies, tasks, generator(0, "film", 0))
    # the state after a step is what the next one observes
    np.testing.assert_allclose(
        states[0, :-1].transpose(1, 0, 2), before.observations[:, 0, 1:], atol=1e-6
    )
    batch = trajectories(before, SETTINGS.advantage)
    adapted = adapt(sampler.policy, copies, batch, SETTINGS.inner)
    after = sampler.collect(adapted, tasks, generator(0, "film", 1))
    np.testing.assert_allclose(
        states[1, :-1].transpose(1, 0, 2), after.observations[:, 0, 1:], atol=1e-3
    )


def test_a_picture_each_task_and_side():
    """Where the point is, the picture is blue, and nowhere else."""
    states = np.zeros((2, 3, 2, 2))
    states[1, :, 1] = 0.5  # after adaptation, of the second task
    frames = panels("PointGoal", states, np.array([[-0.5, -0.5], [-0.4, -0.5]]))
    assert frames.shape == (3, 2 * SIDE, 2 * SIDE, 3)
    blue = (frames[0] == (0, 114, 178)).all(axis=-1)
    for row in range(2):
        for column in range(2):
            x, y = (0.5, 0.5) if (row, column) == (1, 1) else (0.0, 0.0)
            part = blue[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
            center = np.argwhere(part).mean(axis=0) / (SIDE - 1) * 2 - 1
            np.testing.assert_allclose(center, [-y, x], atol=0.03)


def test_the_animation_holds_every_frame():
    frames = np.zeros((3, 4, 4, 3), np.uint8)
    frames[1], frames[2] = 100, 200
    with Image.open(io.BytesIO(animation(frames))) as picture:
        assert picture.n_frames == 3 and picture.info["loop"] == 0


@pytest.mark.parametrize("environment", ["PointGoal", "ReacherGoal"])
def test_the_command(environment, policy, tmp_path):
    """Frames are drawn in another process than that which adapts."""
    if environment != "PointGoal":
        settings = dataclasses.replace(SETTINGS, environment=environment)
        size = 8 * 4 + 4 + 4 * 2 + 2 + 2
        save_policy(np.zeros(size, np.float32), dataclasses.asdict(settings), policy)
    output = tmp_path / "film.webp"
    command = [sys.executable, "-m", "metarl", "film", "--policy", policy, "--output", output]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if "nothing draws frames offscreen here" in finished.stderr:
        pytest.skip("no offscreen renderer")
    assert finished.returncode == 0, finished.stderr
    with Image.open(output) as picture:
        assert picture.size == (2 * SIDE, 2 * SIDE) and picture.n_frames > 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": 0}, "tasks is 0; give an integer >= 1"),
        ({"seed": -1}, "seed is -1; give an integer >= 0"),
        ({"output": "film.gif"}, "film.gif; give a file that ends in .webp"),
        ({"policy": "none.npz"}, "none.npz"),
    ],
)
def test_bad_input_is_one_line(changes, message, policy, tmp_path):
    given = {"policy": policy, "output": tmp_path / "film.webp"}
    given |= {k: tmp_path / v if isinstance(v, str) else v for k, v in changes.items()}
    with pytest.raises(InputError, match=message):
        film.film(**given)
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]
