"""HalfCheetah tasks of ProMP (Rothfuss et al. 2019): run in a direction, or at a velocity."""

from abc import abstractmethod

import numpy as np

from metarl.environments import tasks
from metarl.environments.mujoco_batch import MujocoVectorEnv

START_NOISE = 0.1
CONTROL_COST = 0.05


class HalfCheetah(MujocoVectorEnv):
    """The half-cheetah that both task distributions share.

    Follows the repository jonasrothfuss/ProMP (commit 93ae339e), files
    meta_policy_search/envs/mujoco_envs/half_cheetah_rand_direc.py and half_cheetah_rand_vel.py, in
    the wrapper meta_policy_search/envs/normalized_env.py: it divides actions by 10 (its
    normalization_scale) and clips them to the model's controls u in [-1, 1], and the environment
    inside knows nothing else of the action. So a policy of unit standard deviation explores with a
    tenth of the largest torque. Reward: a task's running reward, from the displacement of the root
    over the step, minus 0.05 sum u^2. Observations: qpos[1:] [8] and qvel [9]; cbfinn/maml_rl adds
    the torso's position, so returns of the two are not comparable. Start: the model's pose
    + U[-0.1, 0.1] per coordinate, velocities 0.1 N(0, 1).

    Deviations from the published definition:
      - MuJoCo 4 and the half_cheetah.xml of Gymnasium's v5 environments, for mujoco-py and gym's
        model: those are no longer maintained. Physics differs between MuJoCo versions, so returns
        do too.
      - Start states come from the seed given to reset; ProMP never seeds its environments.
    """

    preset = "promp2018"
    task_size = 1
    model_file = "half_cheetah.xml"
    frame_skip = 5
    action_scale = 0.1
    observation_size = 17

    def _start_states(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        noise = generator.uniform(-START_NOISE, START_NOISE, (self.num_envs, self.model.nq))
        velocities = START_NOISE * generator.standard_normal((self.num_envs, self.model.nv))
        return self.model.qpos0 + noise, velocities

    def _observe(self) -> np.ndarray:
        return np.concatenate([self._qpos[:, 1:], self._qvel], axis=1)

    def _reward(self, previous_qpos: np.ndarray, controls: np.ndarray) -> np.ndarray:
        running = self._running_reward(self._forward_velocities(previous_qpos))
        return running - CONTROL_COST * np.square(controls).sum(axis=1)

    def _forward_velocities(self, previous_qpos: np.ndarray) -> np.ndarray:
        """Of the step from previous_qpos [num_envs, nq]: [num_envs]."""
        return (self._qpos[:, 0] - previous_qpos[:, 0]) / self.seconds_per_step

    def _terminate(self) -> np.ndarray:
        return np.zeros(self.num_envs, bool)

    @abstractmethod
    def _running_reward(self, velocities: np.ndarray) -> np.ndarray:
        """The task's reward [num_envs] for forward velocities [num_envs]."""


class HalfCheetahDir(HalfCheetah):
    """Run forwards (task +1) or backwards (task -1): running reward = task * velocity.

    Attributes:
      balanced_directions: whether an even number of tasks has as many of each; published ones are
        drawn independently.
    """

    balanced_directions = False

    def sample_tasks(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Directions +1 and -1, [count, 1]."""
        return tasks.directions(generator, count, self.balanced_directions)

    def _running_reward(self, velocities: np.ndarray) -> np.ndarray:
        return self._environment_tasks[:, 0] * velocities


class BalancedHalfCheetahDir(HalfCheetahDir):
    """HalfCheetahDir with one more deviation: balanced directions."""

    balanced_directions = True


class HalfCheetahVel(HalfCheetah):
    """Run at a goal velocity, U[0, 3]: running reward = -|velocity - task|."""

    def sample_tasks(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Goal velocities, [count, 1]."""
        return tasks.uniform(generator, count, 0.0, 3.0)

    def _running_reward(self, velocities: np.ndarray) -> np.ndarray:
        return -np.abs(velocities - self._environment_tasks[:, 0])
