"""Hopper and Walker2D with random dynamics: run forwards, whatever the body is like.

The RandParams tasks of ProMP (Rothfuss et al. 2019).
"""

import numpy as np

from metarl.environments.planar import PlanarBody
from metarl.environments.walker2d import fallen

CONTROL_COST = 0.001
LARGEST_EXPONENT = 3.0
BASES = {"body_mass": 1.5, "body_inertia": 1.5, "dof_damping": 1.3, "geom_friction": 1.5}


class RandomParameters(PlanarBody):
    """Velocity + 1 for being upright - 0.001 sum u^2, on a model of the task's own.

    A task multiplies every number of the model's fields in BASES by base^x, x ~ U[-3, 3] each: it
    is the vector of all x, in the order of BASES. Follows the repository dennisl88/rand_param_envs
    (commit 4bffebdf), files rand_param_envs/base.py and hopper_rand_params.py, in the wrapper that
    jonasrothfuss/ProMP runs them in (experiments/all_envs_eval of its branch full_code), which
    divides actions by 10 and clips them to the model's controls u in [-1, 1] (see HalfCheetah).
    Observations: qpos[1:] and qvel clipped to [-10, 10]. Start: the model's pose and rest,
    + U[-0.005, 0.005] per coordinate.

    Deviations from the published definition: constants that MuJoCo derives from masses and inertias
    follow (mj_setConst), which mujoco-py leaves as they were; MuJoCo 4 and Gymnasium's models;
    start states come from the seed.
    """

    preset = "promp2018"
    action_scale = 0.1

    def __init__(self, num_envs: int, horizon: int, threads: int = 1, **modes):
        super().__init__(num_envs, horizon, threads, **modes)
        self._fields = {name: self.batch.expand(name) for name in BASES}
        self._published = {name: getattr(self.model, name).copy() for name in BASES}
        self.task_size = sum(x.size for x in self._published.values())

    def sample_tasks(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Exponents x, [count, D]."""
        return generator.uniform(-LARGEST_EXPONENT, LARGEST_EXPONENT, (count, self.task_size))

    def _assign(self, tasks: np.ndarray, mask: np.ndarray) -> None:
        """As `TaskVectorEnv._assign`, and gives the simulations of the mask their task's model."""
        super()._assign(tasks, mask)
        position, velocity = self._qpos.copy(), self._qvel.copy()
        begin = 0
        for name, published in self._published.items():
            exponents = self._environment_tasks[mask, begin : begin + published.size]
            multipliers = BASES[name] ** exponents.reshape(-1, *published.shape)
            self._fields[name][mask] = published * multipliers
            begin += published.size
        self.batch.set_const(ids=mask)
        self._qpos[:], self._qvel[:] = position, velocity

    def _reward(self, previous_qpos: np.ndarray, controls: np.ndarray) -> np.ndarray:
        velocities = (self._qpos[:, 0] - previous_qpos[:, 0]) / self.seconds_per_step
        return velocities + 1.0 - CONTROL_COST * np.square(controls).sum(axis=1)


class HopperRandParams(RandomParameters):
    """A trajectory ends unless the torso is above 0.7 and leans by less than 0.2.

    Nor may any coordinate beyond the torso's position reach 100.
    """

    model_file = "hopper.xml"
    frame_skip = 4
    observation_size = 11

    def _terminate(self) -> np.ndarray:
        coordinates = np.concatenate([self._qpos, self._qvel], axis=1)[:, 2:]
        near = (np.abs(coordinates) < 100.0).all(axis=1)
        return ~(near & (self._qpos[:, 1] > 0.7) & (np.abs(self._qpos[:, 2]) < 0.2))


class Walker2DRandParams(RandomParameters):
    """A trajectory ends unless the torso is between 0.8 and 2.0 high and leans by less than 1.

    Its published file was not readable; reward and frame skip are taken from its family, the end
    from ProMP's walker.
    """

    model_file = "walker2d.xml"
    frame_skip = 5
    observation_size = 17

    def _terminate(self) -> np.ndarray:
        return fallen(self._qpos)
