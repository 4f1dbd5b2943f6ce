"""Rollouts: K tasks x N trajectories x T steps of one vector environment."""

from typing import NamedTuple

import gymnasium
import numpy as np
import tensorflow as tf

from metarl import environments
from metarl.policies import GaussianMLPPolicy
from metarl.settings import TrainingSettings


class Rollout(NamedTuple):
    """What the environment and the policy did, float32.

    Attributes:
      observations: [K, N, T, O], before each action.
      actions: [K, N, T, A], as drawn (environments clip them).
      rewards: [K, N, T], 0 after an episode's end.
      mask: [K, N, T], 1 where the step happened.
      behaviour: the policy's outputs, each [K, N, T, A].
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    mask: np.ndarray
    behaviour: tuple[np.ndarray, ...]

    @property
    def returns(self) -> np.ndarray:
        """Undiscounted return of every trajectory, [K, N] float64."""
        return self.rewards.sum(axis=-1, dtype=np.float64)


class Sampler:
    """Collects rollouts; owns the environment.

    Args:
      environment: a `metarl` vector environment of K x N simulations.
      policy: the policy.
      tasks: K.
      horizon: T.
    """

    def __init__(
        self,
        environment: gymnasium.vector.VectorEnv,
        policy: GaussianMLPPolicy,
        tasks: int,
        horizon: int,
    ):
        self.environment = environment
        self.policy = policy
        self.shape = (tasks, environment.num_envs // tasks, horizon)

    def collect(
        self, parameters: tf.Tensor, tasks: np.ndarray, generator: np.random.Generator
    ) -> Rollout:
        """One rollout of every trajectory.

        Args:
          parameters: [K, P] float32, one copy per task.
          tasks: [K, D], the tasks.
          generator: all randomness of this rollout; start states first, then action noise.

        Raises:
          PhysicsError: a simulation failed.
        """
        tasks_count, rows, horizon = self.shape
        observation_size, action_size = self.policy.observation_size, self.policy.action_size
        observations = np.empty((*self.shape, observation_size), np.float32)
        actions, means = (np.empty((*self.shape, action_size), np.float32) for _ in range(2))
        rewards, mask = np.zeros(self.shape, np.float32), np.zeros(self.shape, np.float32)
        act, log_std = self.policy.actor(parameters)
        start, _ = self.environment.reset(
            seed=int(generator.integers(2**31)), options={"tasks": tasks}
        )
        noise = generator.standard_normal((horizon, tasks_count, rows, action_size), np.float32)
        observation = np.asarray(start, np.float32).reshape(tasks_count, rows, observation_size)
        alive = np.ones((tasks_count, rows), bool)
        for t in range(horizon):
            observations[:, :, t] = observation
            action, mean = act(observation, noise[t])
            actions[:, :, t], means[:, :, t] = action, mean
            after, reward, terminated, _, _ = self.environment.step(action.reshape(-1, action_size))
            mask[:, :, t] = alive
            rewards[:, :, t] = alive * reward.reshape(tasks_count, rows)
            alive &= ~terminated.reshape(tasks_count, rows)
            observation = after.astype(np.float32).reshape(tasks_count, rows, observation_size)
        log_stds = np.broadcast_to(log_std[:, None, None], means.shape)
        return Rollout(observations, actions, rewards, mask, (means, log_stds))


def make_sampler(settings: TrainingSettings, threads: int) -> Sampler:
    """The environment of K x N simulations and its policy, in a sampler."""
    environment = environments.make(
        settings.environment,
        tasks=settings.tasks,
        trajectories=settings.trajectories,
        horizon=settings.horizon,
        threads=threads,
    )
    policy = GaussianMLPPolicy(
        environment.single_observation_space.shape[0],
        environment.single_action_space.shape[0],
        settings.hidden_sizes,
        settings.activation,
    )
    return Sampler(environment, policy, settings.tasks, settings.horizon)
