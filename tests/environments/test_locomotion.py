"""Each locomotion task against a loop over single simulations, step by step.

The loop is written from the task's published definition.
"""

import mujoco
import numpy as np
import pytest
from gymnasium.envs.mujoco.mujoco_env import expand_model_path

from metarl.environments import make, tasks

HORIZON = 12
SCALES = {"promp2018": 10.0, "finn2017": 1.0}  # the action that is the largest control


class Simulation:
    """One trajectory of one task in plain MuJoCo: state before and after a step, what it implies.

    `scale` is the action that is the largest control, the normalization_scale of ProMP's wrapper.
    """

    def __init__(self, file, qpos, qvel, task, scale=1.0):
        self.model = mujoco.MjModel.from_xml_path(expand_model_path(file))
        self.data = mujoco.MjData(self.model)
        self.data.qpos[:], self.data.qvel[:] = qpos, qvel
        self.task, self.scale = task, scale
        mujoco.mj_forward(self.model, self.data)

    def step(self, action, frame_skip):
        low, high = self.model.actuator_ctrlrange.T
        share = (action + self.scale) / (2 * self.scale)  # of the controls' range
        control = np.clip(low + share * (high - low), low, high)
        self.before, self.center_before = self.data.qpos.copy(), self.center()
        self.data.ctrl[:] = control
        for _ in range(frame_skip):
            mujoco.mj_step(self.model, self.data)
        self.seconds = frame_skip * self.model.opt.timestep
        self.velocity = (self.data.qpos[:2] - self.before[:2]) / self.seconds
        self.cost = sum(u**2 for u in control)

    def center(self):
        masses = self.model.body_mass
        return sum(m * x for m, x in zip(masses, self.data.xipos, strict=True))[:2] / masses.sum()


def upright(s):
    return 0.8 < s.data.qpos[1] < 2.0 and -1.0 < s.data.qpos[2] < 1.0


def ant_observation(s):
    return [*s.data.qpos[2:], *s.data.qvel]


def walker_observation(s):
    return [*s.data.qpos[1:], *np.clip(s.data.qvel, -10, 10)]


def humanoid_observation(s):
    d = s.data
    return [*d.qpos[2:], *d.qvel, *d.cinert.ravel(), *d.cvel.ravel(), *d.qfrc_actuator]


def hopper_alive(s):
    state = np.concatenate([s.data.qpos, s.data.qvel])
    return (
        all(abs(x) < 100 for x in state[2:]) and s.data.qpos[1] > 0.7 and abs(s.data.qpos[2]) < 0.2
    )


def center_of_mass(s):
    """Position and velocity after the step, where Simulation computes neither."""
    now = mujoco.MjData(s.model)
    now.qpos[:], now.qvel[:] = s.data.qpos, s.data.qvel
    mujoco.mj_forward(s.model, now)
    jacobian = np.zeros((3, s.model.nv))
    mujoco.mj_jacSubtreeCom(s.model, now, jacobian, 1)
    masses = s.model.body_mass
    center = sum(m * x for m, x in zip(masses, now.xipos, strict=True)) / masses.sum()
    return center, jacobian @ now.qvel


def finn_observation(s):
    return [*s.data.qpos[1:], *s.data.qvel, *center_of_mass(s)[0]]


DEFINITIONS = {  # file, frame skip, observation, reward, whether it goes on
    "AntDir": (
        "ant.xml",
        5,
        ant_observation,
        lambda s: s.task[0] * s.velocity[0] - 0.5 * s.cost + 1.0,
        lambda s: 0.0 <= s.data.qpos[2] <= 1.0,
    ),
    "AntDir2D": (
        "ant.xml",
        5,
        ant_observation,
        lambda s: s.task @ s.velocity - 0.5 * s.cost + 1.0,
        lambda s: 0.0 <= s.data.qpos[2] <= 1.0,
    ),
    "AntGoal": (
        "ant.xml",
        5,
        lambda s: [*s.data.qpos, *s.data.qvel],
        lambda s: -sum(abs(s.data.qpos[:2] - s.task)) - 0.1 * s.cost,
        lambda s: True,
    ),
    "AntVel": (
        "ant.xml",
        5,
        ant_observation,
        lambda s: -abs(s.velocity[0] - s.task[0]) + 1.0 - 0.005 * s.cost + 0.05,
        lambda s: 0.2 <= s.data.qpos[2] <= 1.0,
    ),
    "HalfCheetahDir_finn2017": (
        "half_cheetah.xml",
        1,
        finn_observation,
        lambda s: s.task[0] * center_of_mass(s)[1][0] - 0.05 * s.cost,
        lambda s: True,
    ),
    "HalfCheetahVel_finn2017": (
        "half_cheetah.xml",
        1,
        finn_observation,
        lambda s: -abs(center_of_mass(s)[1][0] - s.task[0]) - 0.05 * s.cost,
        lambda s: True,
    ),
    "HumanoidDir2D": (
        "humanoid.xml",
        5,
        humanoid_observation,
        lambda s: (
            0.25 * (s.task @ (s.center() - s.center_before)) / s.model.opt.timestep
            - 0.1 * s.cost
            + 5.0
        ),
        lambda s: 1.0 <= s.data.qpos[2] <= 2.0,
    ),
    "SwimmerVel": (
        "swimmer.xml",
        4,
        lambda s: [*s.data.qpos[2:], *s.data.qvel],
        lambda s: -abs(s.velocity[0] - s.task[0]) - 1e-4 * s.cost,
        lambda s: True,
    ),
    "Walker2DDir": (
        "walker2d.xml",
        8,
        walker_observation,
        lambda s: s.task[0] * s.velocity[0] + 1.0 - 1e-3 * s.cost,
        upright,
    ),
    "Walker2DVel": (
        "walker2d.xml",
        8,
        walker_observation,
        lambda s: -abs(s.velocity[0] - s.task[0]) + 15.0 - 1e-3 * s.cost,
        upright,
    ),
    "HopperRandParams": (
        "hopper.xml",
        4,
        walker_observation,
        lambda s: s.velocity[0] + 1.0 - 1e-3 * s.cost,
        hopper_alive,
    ),
    "Walker2DRandParams": (
        "walker2d.xml",
        5,
        walker_observation,
        lambda s: s.velocity[0] + 1.0 - 1e-3 * s.cost,
        upright,
    ),
}


def set_parameters(simulation):
    """The task's model, field by field; the state stays."""
    model, begin = simulation.model, 0
    for name, base in (
        ("body_mass", 1.5),
        ("body_inertia", 1.5),
        ("dof_damping", 1.3),
        ("geom_friction", 1.5),
    ):
        field = getattr(model, name)
        for index in np.ndindex(field.shape):
            field[index] *= base ** simulation.task[begin]
            begin += 1
    qpos, qvel = simulation.data.qpos.copy(), simulation.data.qvel.copy()
    mujoco.mj_setConst(model, simulation.data)
    simulation.data.qpos[:], simulation.data.qvel[:] = qpos, qvel


@pytest.mark.parametrize("name", DEFINITIONS)
def test_every_step_equals_a_single_simulation(name):
    file, frame_skip, observe, reward_of, goes_on = DEFINITIONS[name]
    environment = make(name, tasks=2, trajectories=2, horizon=HORIZON, threads=2)
    drawn = environment.sample_tasks(np.random.default_rng(3), 2)
    first, _ = environment.reset(seed=4, options={"tasks": drawn})
    qpos, qvel = (environment.batch.bind(field).copy() for field in ("qpos", "qvel"))
    scale = SCALES[environment.preset]
    singles = [Simulation(file, qpos[i], qvel[i], drawn[i // 2], scale) for i in range(4)]
    for single, observation in zip(singles, first, strict=True):
        np.testing.assert_allclose(observation, observe(single), rtol=1e-12, atol=1e-12)
        if name.endswith("RandParams"):
            set_parameters(single)
    alive = [True] * 4
    shape = (HORIZON, *environment.action_space.shape)
    actions = np.random.default_rng(5).normal(0.0, 0.8 * scale, shape)  # some are clipped
    for action in actions:
        observations, rewards, terminations, *_ = environment.step(action)
        for i, single in enumerate(singles):
            if not alive[i]:
                assert rewards[i] == 0.0 and not terminations[i]  # said once
                continue
            single.step(action[i], frame_skip)
            np.testing.assert_allclose(observations[i], observe(single), rtol=1e-9, atol=1e-9)
            assert rewards[i] == pytest.approx(reward_of(single), rel=1e-9, abs=1e-9)
            alive[i] = goes_on(single)
            assert terminations[i] == (not alive[i])


@pytest.mark.parametrize(
    ("name", "index", "value", "ends"),
    [
        ("AntDir", 2, 1.01, True),
        ("AntDir", 2, -0.01, True),
        ("AntDir", 2, 0.1, False),
        ("AntVel", 2, 0.19, True),
        ("AntGoal", 2, 1.5, False),
        ("HumanoidDir2D", 2, 0.99, True),
        ("HumanoidDir2D", 2, 2.01, True),
        ("Walker2DDir", 1, 0.79, True),
        ("Walker2DVel", 1, 2.01, True),
        ("Walker2DVel", 2, -1.01, True),
        ("HopperRandParams", 1, 0.69, True),
        ("HopperRandParams", 2, 0.21, True),
        ("HopperRandParams", 4, 100.1, True),
        ("Walker2DRandParams", 2, 1.01, True),
        ("SwimmerVel", 1, 50.0, False),
    ],
)
def test_ends(name, index, value, ends):
    environment = make(name, tasks=1, trajectories=2, horizon=2)
    environment.reset(seed=0)
    assert not environment._terminate().any()
    environment.batch.bind("qpos")[1, index] = value
    np.testing.assert_array_equal(environment._terminate(), [False, ends])


@pytest.mark.parametrize("name", ["HopperRandParams", "Walker2DRandParams"])
def test_dynamics_change_with_the_task(name):
    """The same start and actions under three tasks: the zero task is the model itself."""
    environment = make(name, tasks=3, trajectories=1, horizon=5)
    drawn = environment.sample_tasks(np.random.default_rng(0), 3)
    assert np.abs(drawn).max() <= 3.0 and drawn.std() == pytest.approx(3**0.5, rel=0.2)
    drawn[0] = 0.0
    environment.reset(seed=0, options={"tasks": drawn})
    environment.batch.bind("qpos")[:] = environment.batch.bind("qpos")[0]
    environment.batch.bind("qvel")[:] = environment.batch.bind("qvel")[0]
    for _ in range(5):
        observations, *_ = environment.step(0.5 * np.ones(environment.action_space.shape))
    assert np.abs(observations[1:] - observations[0]).max(axis=1).min() > 1e-3
    plain = Simulation(
        environment.model_file, *(environment.batch.bind(f)[0] for f in ("qpos", "qvel")), None
    )
    np.testing.assert_allclose(environment.batch.expand("body_mass")[0], plain.model.body_mass)
    ratios = environment.batch.expand("dof_damping")[1:] / plain.model.dof_damping
    assert (ratios[np.isfinite(ratios)] <= 1.3**3 + 1e-9).all()
    # a new reset with the zero task brings the model back
    environment.reset(seed=0, options={"tasks": np.zeros_like(drawn)})
    np.testing.assert_allclose(environment.batch.expand("body_mass")[1], plain.model.body_mass)


def test_task_distributions():
    """Of 4,000 draws; bounds are beyond 5 standard errors, and a scale wrong by a tenth fails."""
    draw = np.random.default_rng(0)
    vectors = tasks.unit_vectors(draw, 4000)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0)
    assert np.abs(vectors.mean(axis=0)).max() < 0.06
    points = tasks.in_disc(draw, 4000, 3.0)
    radii = np.linalg.norm(points, axis=1)
    assert radii.max() <= 3.0 and np.mean(radii**2) == pytest.approx(4.5, rel=0.05)
    assert np.abs(points.mean(axis=0)).max() < 0.15
    numbers = tasks.uniform(draw, 4000, 2.0, 6.0)
    assert numbers.shape == (4000, 1) and 2.0 <= numbers.min() and numbers.max() < 6.0
    assert numbers.mean() == pytest.approx(4.0, abs=0.1)


def test_starts_of_finn2017():
    """0.01 N(0, 1) around the model's pose, 0.1 N(0, 1) in velocity.

    4,000 draws a coordinate, within 5 standard errors.
    """
    environment = make("HalfCheetahVel_finn2017", tasks=1, trajectories=4000, horizon=1)
    environment.reset(seed=0)
    for field, scale in (("qpos", 0.01), ("qvel", 0.1)):
        offsets = environment.batch.bind(field) - (
            environment.model.qpos0 if field == "qpos" else 0.0
        )
        np.testing.assert_allclose(offsets.mean(axis=0), 0.0, atol=5 * scale / 4000**0.5)
        np.testing.assert_allclose(offsets.std(axis=0), scale, rtol=5 / 8000**0.5)
    goals = environment.sample_tasks(np.random.default_rng(0), 4000)
    assert 0.0 <= goals.min() < 0.01 and 1.99 < goals.max() < 2.0
