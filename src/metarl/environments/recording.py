"""Where the bodies were, step by step, of every rollout that an environment went through."""

import gymnasium
import numpy as np


class Recorder(gymnasium.vector.VectorWrapper):
    """Keeps a property of the environment after each step: [T, num_envs, n] of every rollout.

    Args:
      environment: of num_envs simulations.
      name: of the property, `positions` or `states`.

    Attributes:
      rollouts: what was kept, a list of steps each.
    """

    def __init__(self, environment: gymnasium.vector.VectorEnv, name: str):
        super().__init__(environment)
        self.name = name
        self.rollouts: list[list[np.ndarray]] = []

    def reset(self, **arguments) -> tuple[np.ndarray, dict]:
        self.rollouts.append([])
        return self.env.reset(**arguments)

    def step(self, actions: np.ndarray) -> tuple:
        result = self.env.step(actions)
        self.rollouts[-1].append(getattr(self.env.unwrapped, self.name))
        return result
