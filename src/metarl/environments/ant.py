"""Ant tasks: run in a direction, in any direction of the plane or to a goal; or at a velocity.

The first three are ProMP's (Rothfuss et al. 2019), the last is of Finn et al. 2017.
"""

from abc import abstractmethod

import numpy as np

from metarl.environments import tasks
from metarl.environments.mujoco_batch import MujocoVectorEnv

START_NOISE = 0.1


class Ant(MujocoVectorEnv):
    """The ant that all task distributions share.

    Follows the repository jonasrothfuss/ProMP, files ant_rand_direc.py, ant_rand_direc_2d.py and
    ant_rand_goal.py of meta_policy_search/envs/mujoco_envs, in its wrapper, which divides actions
    by 10 and clips them to the model's controls u in [-1, 1] (see HalfCheetah). Reward: the task's,
    minus control_cost sum u^2. Observations: qpos[2:] [13] and qvel [14]. A trajectory ends unless
    the torso's height is within `heights`. Start: the model's pose + U[-0.1, 0.1] per coordinate,
    velocities 0.1 N(0, 1).

    Deviations from the published definition:
      - No contact forces: neither observed (84 numbers, clipped to [-1, 1]) nor in the reward
        (0.0005 times the sum of their squares). MuJoCo computes them on request alone since version
        2, and their values differ between versions.
      - The torso's position is that of its free joint, after the step; the published one is the
        body's, which MuJoCo computes before its last substep.
      - MuJoCo 4 and Gymnasium's ant.xml; start states come from the seed.

    Attributes:
      control_cost: of sum u^2.
      heights: lowest and highest of the torso, or None where a trajectory never ends early.
    """

    preset = "promp2018"
    model_file = "ant.xml"
    frame_skip = 5
    action_scale = 0.1
    position_size = 2
    observation_size = 27
    control_cost = 0.5
    heights: tuple[float, float] | None = (0.0, 1.0)

    def _start_states(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        noise = generator.uniform(-START_NOISE, START_NOISE, (self.num_envs, self.model.nq))
        velocities = START_NOISE * generator.standard_normal((self.num_envs, self.model.nv))
        return self.model.qpos0 + noise, velocities

    def _observe(self) -> np.ndarray:
        return np.concatenate([self._qpos[:, 2:], self._qvel], axis=1)

    def _reward(self, previous_qpos: np.ndarray, controls: np.ndarray) -> np.ndarray:
        velocities = (self._qpos[:, :2] - previous_qpos[:, :2]) / self.seconds_per_step
        cost = self.control_cost * np.square(controls).sum(axis=1)
        return self._running_reward(velocities) - cost

    def _terminate(self) -> np.ndarray:
        if self.heights is None:
            return np.zeros(self.num_envs, bool)
        low, high = self.heights
        return ~((low <= self._qpos[:, 2]) & (self._qpos[:, 2] <= high))

    @abstractmethod
    def _running_reward(self, velocities: np.ndarray) -> np.ndarray:
        """The task's reward [num_envs] for velocities in the plane [num_envs, 2]."""


class AntDir(Ant):
    """Run forwards (task +1) or backwards (task -1): task * velocity + 1.

    Attributes:
      balanced_directions: as of HalfCheetahDir.
    """

    task_size = 1
    balanced_directions = False

    def sample_tasks(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Directions, [count, 1]."""
        return tasks.directions(generator, count, self.balanced_directions)

    def _running_reward(self, velocities: np.ndarray) -> np.ndarray:
        return self._environment_tasks[:, 0] * velocities[:, 0] + 1.0


class AntDir2D(Ant):
    """Run in a direction of the plane, a unit vector: task . velocity + 1."""

    task_size = 2

    def sample_tasks(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Unit vectors, [count, 2]."""
        return tasks.unit_vectors(generator, count)

    def _running_reward(self, velocities: np.ndarray) -> np.ndarray:
        return np.sum(self._environment_tasks * velocities, axis=1) + 1.0


class AntGoal(Ant):
    """Run to a goal, uniform on a disc of radius 3: -(|x - goal_x| + |y - goal_y|).

    The position is observed, and no trajectory ends early.
    """

    task_size = 2
    observation_size = 29
    control_cost = 0.1
    heights = None

    def sample_tasks(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Goals, [count, 2]."""
        return tasks.in_disc(generator, count, 3.0)

    def _observe(self) -> np.ndarray:
        return np.concatenate([self._qpos, self._qvel], axis=1)

    def _running_reward(self, velocities: np.ndarray) -> np.ndarray:
        return -np.abs(self._qpos[:, :2] - self._environment_tasks).sum(axis=1)


class AntVel(Ant):
    """Run at a goal velocity, U[0, 3]: -|velocity - task| + 1 + 0.05.

    Follows the repository cbfinn/maml_rl, file rllab/envs/mujoco/ant_env_rand.py, whose wrapper
    clips actions as they are. More deviations: rllab's ant.xml is another model with other time
    steps; it also observes the position, the torso's orientation matrix and its center, and takes
    the torso's velocity at the last substep, not the mean over the step.
    """

    preset = "finn2017"
    task_size = 1
    action_scale = 1.0
    control_cost = 0.005
    heights = (0.2, 1.0)

    def sample_tasks(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Goal velocities, [count, 1]."""
        return tasks.uniform(generator, count, 0.0, 3.0)

    def _running_reward(self, velocities: np.ndarray) -> np.ndarray:
        return -np.abs(velocities[:, 0] - self._environment_tasks[:, 0]) + 1.0 + 0.05
