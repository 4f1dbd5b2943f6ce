"""Walker2D tasks of ProMP (Rothfuss et al. 2019): walk in a direction, or at a velocity."""

from abc import abstractmethod

import numpy as np

from metarl.environments import tasks
from metarl.environments.planar import PlanarBody

CONTROL_COST = 0.001


def fallen(qpos: np.ndarray) -> np.ndarray:
    """Whether the torso is not between 0.8 and 2.0 high, or leans by 1 or more.

    bool [n] of qpos [n, 9].
    """
    height, angle = qpos[:, 1], qpos[:, 2]
    return ~((0.8 < height) & (height < 2.0) & (np.abs(angle) < 1.0))


class Walker2D(PlanarBody):
    """The walker that both task distributions share.

    Follows the repository jonasrothfuss/ProMP, files walker2d_rand_direc.py and
    walker2d_rand_vel.py of meta_policy_search/envs/mujoco_envs, in its wrapper, which divides
    actions by 10 and clips them to the model's controls u in [-1, 1] (see HalfCheetah). Reward: the
    task's, from the displacement of the root over the step, minus 0.001 sum u^2. Observations:
    qpos[1:] [8] and qvel [9] clipped to [-10, 10]. A trajectory ends unless the torso is between
    0.8 and 2.0 high and leans by less than 1. Start: the model's pose and rest, + U[-0.005, 0.005]
    per coordinate.

    Deviations from the published definition: MuJoCo 4 and Gymnasium's walker2d.xml; start states
    come from the seed.
    """

    preset = "promp2018"
    task_size = 1
    model_file = "walker2d.xml"
    frame_skip = 8
    action_scale = 0.1
    observation_size = 17

    def _reward(self, previous_qpos: np.ndarray, controls: np.ndarray) -> np.ndarray:
        velocities = (self._qpos[:, 0] - previous_qpos[:, 0]) / self.seconds_per_step
        return self._walking_reward(velocities) - CONTROL_COST * np.square(controls).sum(axis=1)

    def _terminate(self) -> np.ndarray:
        return fallen(self._qpos)

    @abstractmethod
    def _walking_reward(self, velocities: np.ndarray) -> np.ndarray:
        """The task's reward [num_envs] for forward velocities [num_envs]."""


class Walker2DDir(Walker2D):
    """Walk forwards (task +1) or backwards (task -1): task * velocity + 1 for being upright.

    Attributes:
      balanced_directions: as of HalfCheetahDir.
    """

    balanced_directions = False

    def sample_tasks(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Directions, [count, 1]."""
        return tasks.directions(generator, count, self.balanced_directions)

    def _walking_reward(self, velocities: np.ndarray) -> np.ndarray:
        return self._environment_tasks[:, 0] * velocities + 1.0


class Walker2DVel(Walker2D):
    """Walk at a goal velocity, U[0, 10]: -|velocity - task| + 15 for being upright."""

    def sample_tasks(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Goal velocities, [count, 1]."""
        return tasks.uniform(generator, count, 0.0, 10.0)

    def _walking_reward(self, velocities: np.ndarray) -> np.ndarray:
        return -np.abs(velocities - self._environment_tasks[:, 0]) + 15.0
