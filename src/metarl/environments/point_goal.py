"""The 2-D point of Finn et al. 2017: move to a goal that is not observed.

In two scales of actions.
"""

from typing import ClassVar

import numpy as np
from gymnasium.spaces import Box

from metarl.environments.vector import TaskVectorEnv, positive_integer

LARGEST_MOVE = 0.1
GOAL_TOLERANCE = 0.01
SIDE = 480  # pixels of a frame


class PointGoal(TaskVectorEnv):
    """A point that moves by its action; reward = -distance to the goal after the move.

    Goals U[-0.5, 0.5]^2; start at the origin; a trajectory ends within 0.01 of the goal in both
    coordinates. Follows the repository cbfinn/maml_rl, file maml_examples/point_env_randgoal.py.

    Deviation from the published definition: actions are moves, clipped to [-0.1, 0.1], so that a
    policy of unit standard deviation explores with the largest moves. See `FinnPointGoal`.

    Attributes:
      action_scale: the move of an action of 1.
    """

    metadata: ClassVar[dict] = {"render_modes": ["rgb_array"], "render_fps": 20}
    preset = "metarl"  # no published one
    task_size = 2
    action_scale = 1.0

    def __init__(self, num_envs: int, horizon: int, threads: int = 1, **modes):
        """Puts the points at the origin.

        Args:
          num_envs: K * N.
          horizon: T, the most steps of a trajectory.
          threads: as the other environments have it; moving points takes no threads.
          **modes: autoreset_mode and render_mode, of TaskVectorEnv.

        Raises:
          InputError: an argument is not a positive integer.
        """
        positive_integer("threads", threads)
        largest = LARGEST_MOVE / self.action_scale
        actions = Box(-largest, largest, (2,), np.float64)
        super().__init__(num_envs, horizon, observation_size=2, action_space=actions, **modes)
        self._positions = np.zeros((self.num_envs, 2))

    def sample_tasks(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Goals, [count, 2]."""
        return generator.uniform(-0.5, 0.5, (count, self.task_size))

    @property
    def positions(self) -> np.ndarray:
        return self._positions.copy()

    def frame(self, state: np.ndarray, task: np.ndarray) -> np.ndarray:
        """The point, a disc, and its goal, a ring, in the plane [-1, 1]^2: [SIDE, SIDE, 3]."""
        axis = np.linspace(-1.0, 1.0, SIDE)
        x, y = np.meshgrid(axis, -axis)
        picture = np.full((SIDE, SIDE, 3), 255, np.uint8)
        picture[np.abs(np.hypot(x - task[0], y - task[1]) - 0.06) < 0.015] = (213, 94, 0)
        picture[np.hypot(x - state[0], y - state[1]) < 0.04] = (0, 114, 178)
        return picture

    def oracle_actions(self) -> np.ndarray:
        """Towards the goal, in each coordinate as far as one move goes."""
        offsets = (self._environment_tasks - self._positions) / self.action_scale
        return np.clip(offsets, self.single_action_space.low, self.single_action_space.high)

    def _start(self, generator: np.random.Generator) -> np.ndarray:
        return self._restart(np.ones(self.num_envs, bool), generator)

    def _restart(self, mask: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        self._positions[mask] = 0.0
        return self._positions.copy()

    def _advance(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self._positions[~self._terminations] += self.action_scale * actions[~self._terminations]
        offsets = self._positions - self._environment_tasks
        rewards = -np.sqrt(np.square(offsets).sum(axis=1))
        terminations = (np.abs(offsets) < GOAL_TOLERANCE).all(axis=1)
        return self._positions.copy(), rewards, terminations


class FinnPointGoal(PointGoal):
    """The point as published: actions in [-1, 1], of which 1 is the largest move, 0.1.

    maml_rl scales and clips them in a wrapper (rllab/envs/normalized_env.py).
    """

    preset = "finn2017"
    action_scale = LARGEST_MOVE
