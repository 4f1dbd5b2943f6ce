"""Humanoid tasks of ProMP (Rothfuss et al. 2019): run in a direction of the plane."""

import numpy as np

from metarl.environments import tasks
from metarl.environments.mujoco_batch import MujocoVectorEnv

START_NOISE = 0.01
CONTROL_COST = 0.1
FORWARD_WEIGHT = 0.25
ALIVE = 5.0


class HumanoidDir2D(MujocoVectorEnv):
    """Run in a direction, a unit vector: 0.25 task . displacement / timestep + 5 - 0.1 sum u^2.

    The displacement is that of the center of mass over a step of 5 timesteps. Follows the
    repository jonasrothfuss/ProMP, file humanoid_rand_direc_2d.py of
    meta_policy_search/envs/mujoco_envs, in its wrapper, for which an action of 10 is the largest
    control u, 0.4 (see HalfCheetah). Observations: qpos[2:] [22], qvel [23], cinert [140],
    cvel [84] and qfrc_actuator [23]; as there, the last three and the center of mass are those
    before the last timestep. A trajectory ends unless the torso is between 1 and 2 high. Start: the
    model's pose and rest, + U[-0.01, 0.01] per coordinate.

    Deviations from the published definition:
      - No contact forces: neither observed (84 numbers) nor in the reward (min(0.5e-6 times the sum
        of their squares, 10)). MuJoCo computes them on request alone since version 2, and their
        values differ between versions.
      - MuJoCo 4 and Gymnasium's humanoid.xml; start states come from the seed.
    """

    preset = "promp2018"
    task_size = 2
    model_file = "humanoid.xml"
    frame_skip = 5
    action_scale = 0.04
    position_size = 2
    observation_size = 292

    def __init__(self, num_envs: int, horizon: int, threads: int = 1, **modes):
        super().__init__(num_envs, horizon, threads, **modes)
        derived = ("cinert", "cvel", "qfrc_actuator")
        self._derived = [self.batch.bind(name) for name in derived]
        self._bodies = self.batch.bind("xipos")
        self._center = np.zeros((self.num_envs, 2))

    def sample_tasks(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Unit vectors, [count, 2]."""
        return tasks.unit_vectors(generator, count)

    def _start_states(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        noise = generator.uniform(-START_NOISE, START_NOISE, (self.num_envs, self.model.nq))
        velocities = generator.uniform(-START_NOISE, START_NOISE, (self.num_envs, self.model.nv))
        return self.model.qpos0 + noise, velocities

    def _restart(self, mask: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        super()._restart(mask, generator)
        self.batch.forward(ids=mask)
        self._center = np.where(mask[:, None], self._center_of_mass(), self._center)
        return self._observe()

    def _center_of_mass(self) -> np.ndarray:
        """In the plane, [num_envs, 2]."""
        masses = self.model.body_mass
        return np.einsum("b,nbx->nx", masses / masses.sum(), self._bodies[:, :, :2])

    def _observe(self) -> np.ndarray:
        derived = [x.reshape(self.num_envs, -1) for x in self._derived]
        return np.concatenate([self._qpos[:, 2:], self._qvel, *derived], axis=1)

    def _reward(self, previous_qpos: np.ndarray, controls: np.ndarray) -> np.ndarray:
        before, self._center = self._center, self._center_of_mass()
        along = np.sum(self._environment_tasks * (self._center - before), axis=1)
        running = FORWARD_WEIGHT * along / self.model.opt.timestep
        return running + ALIVE - CONTROL_COST * np.square(controls).sum(axis=1)

    def _terminate(self) -> np.ndarray:
        return (self._qpos[:, 2] < 1.0) | (self._qpos[:, 2] > 2.0)
