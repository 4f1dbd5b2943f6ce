"""Swimmer tasks of ProMP (Rothfuss et al. 2019): swim at a velocity."""

import numpy as np

from metarl.environments import tasks
from metarl.environments.mujoco_batch import MujocoVectorEnv

START_NOISE = 0.1
CONTROL_COST = 0.0001


class SwimmerVel(MujocoVectorEnv):
    """Swim at a goal velocity, U[0.1, 0.2]: -|velocity - task| - 0.0001 sum u^2.

    Follows the repository jonasrothfuss/ProMP, file swimmer_rand_vel.py of
    meta_policy_search/envs/mujoco_envs, in its wrapper, which divides actions by 10 and clips them
    to the model's controls u in [-1, 1] (see HalfCheetah). Observations: qpos[2:] [3] and qvel [5].
    Start: the model's pose and rest, + U[-0.1, 0.1] per coordinate.

    Deviations from the published definition:
      - The published reward is +|velocity - goal| (its line `reward_fwd = ...`), which pays for
        missing the goal. The sign here is that of its other velocity tasks; returns are not
        comparable.
      - MuJoCo 4 and Gymnasium's swimmer.xml; start states come from the seed.
    """

    preset = "promp2018"
    task_size = 1
    model_file = "swimmer.xml"
    frame_skip = 4
    action_scale = 0.1
    position_size = 2
    observation_size = 8

    def sample_tasks(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Goal velocities, [count, 1]."""
        return tasks.uniform(generator, count, 0.1, 0.2)

    def _start_states(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        noise = generator.uniform(-START_NOISE, START_NOISE, (self.num_envs, self.model.nq))
        velocities = generator.uniform(-START_NOISE, START_NOISE, (self.num_envs, self.model.nv))
        return self.model.qpos0 + noise, velocities

    def _observe(self) -> np.ndarray:
        return np.concatenate([self._qpos[:, 2:], self._qvel], axis=1)

    def _reward(self, previous_qpos: np.ndarray, controls: np.ndarray) -> np.ndarray:
        velocities = (self._qpos[:, 0] - previous_qpos[:, 0]) / self.seconds_per_step
        cost = CONTROL_COST * np.square(controls).sum(axis=1)
        return -np.abs(velocities - self._environment_tasks[:, 0]) - cost

    def _terminate(self) -> np.ndarray:
        return np.zeros(self.num_envs, bool)
