"""What the hopper and the walkers share: where they start and what they observe."""

import numpy as np

from metarl.environments.mujoco_batch import MujocoVectorEnv

START_NOISE = 0.005
LARGEST_VELOCITY = 10.0  # that is observed


class PlanarBody(MujocoVectorEnv):
    """Starts at the model's pose and rest, + U[-0.005, 0.005] per coordinate.

    Observes qpos[1:] and qvel clipped to [-10, 10].
    """

    def _start_states(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        noise = generator.uniform(-START_NOISE, START_NOISE, (self.num_envs, self.model.nq))
        velocities = generator.uniform(-START_NOISE, START_NOISE, (self.num_envs, self.model.nv))
        return self.model.qpos0 + noise, velocities

    def _observe(self) -> np.ndarray:
        velocities = np.clip(self._qvel, -LARGEST_VELOCITY, LARGEST_VELOCITY)
        return np.concatenate([self._qpos[:, 1:], velocities], axis=1)
