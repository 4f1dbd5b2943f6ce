"""Vector environments over tasks: what every task distribution shares.

A batch holds K tasks x N trajectories at once. Environment i runs trajectory i % N of task i // N,
so that an array [num_envs, ...] reshapes to [K, N, ...]. All trajectories start together and last
at most T steps; one that terminates early stays frozen until the next reset.
"""

import operator
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from metarl.errors import InputError, RunError


class PhysicsError(RunError):
    """A trajectory that can no longer be simulated. The message is one line.

    Attributes:
      task: the task's index, in [0, K).
      trajectory: the trajectory's index within the task, in [0, N).
      step: the step that failed, in [0, T).
      reason: what failed.
    """

    def __init__(self, task: int, trajectory: int, step: int, reason: str):
        super().__init__(f"task {task}, trajectory {trajectory}, step {step}: {reason}")
        self.task = task
        self.trajectory = trajectory
        self.step = step
        self.reason = reason


def positive_integer(name: str, value: int) -> int:
    """The value as an int; InputError where it is not a positive integer."""
    try:
        if operator.index(value) > 0:
            return operator.index(value)
    except TypeError:
        pass
    raise InputError(f"{name} is {value!r}; it must be a positive integer")


class TaskVectorEnv(VectorEnv, ABC):
    """A distribution of tasks as one gymnasium VectorEnv, without autoreset.

    A subclass names `preset` and `task_size`, takes num_envs, horizon and threads, and implements
    `sample_tasks`, `positions`, `_start` and `_advance`. The arrays that `reset` and `step` return
    belong to the caller: none is written to again. `metarl.environments.contract` checks all this.

    Attributes:
      preset: where the definition comes from; numbers are comparable within one preset only.
      task_size: D, the numbers that describe a task.
      tasks: [K, D] float64, the tasks of the last reset.
      _environment_tasks: [num_envs, D] float64, of every environment, for `_advance`.
      _terminations: [num_envs] bool, which trajectories are over, likewise.
    """

    metadata: ClassVar[dict] = {"autoreset_mode": AutoresetMode.DISABLED}
    preset: str
    task_size: int

    def __init__(self, num_envs: int, horizon: int, observation_size: int, action_space: Box):
        """Makes the spaces.

        Args:
          num_envs: K * N.
          horizon: T, the most steps of a trajectory.
          observation_size: O.
          action_space: the space of one action [A]; actions beyond its bounds are clipped to them.

        Raises:
          InputError: num_envs or horizon is not a positive integer.
        """
        self.num_envs = positive_integer("num_envs", num_envs)
        self.horizon = positive_integer("horizon", horizon)
        self.single_observation_space = Box(-np.inf, np.inf, (observation_size,), np.float64)
        self.single_action_space = action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._elapsed = self.horizon  # no trajectory is under way before the first reset
        self._terminations = np.zeros(self.num_envs, bool)

    @abstractmethod
    def sample_tasks(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Draws tasks from the distribution: float64 [count, D], by the generator alone."""

    @property
    @abstractmethod
    def positions(self) -> np.ndarray:
        """Where every body is in the world, along its path or in the plane.

        float64 [num_envs, 1 or 2], in a new array.
        """

    def oracle_actions(self) -> np.ndarray:
        """The actions [num_envs, A] of who knows the tasks, from where every environment is.

        Raises:
          InputError: nobody has written them down for this environment.
        """
        raise InputError(
            f"{type(self).__name__} has no oracle; leave it out, PointGoal and those that implement"
            " oracle_actions have one"
        )

    @abstractmethod
    def _start(self, generator: np.random.Generator) -> np.ndarray:
        """Moves every environment to a start state, drawn by the generator, whatever the tasks.

        Returns:
          Observations, float64 [num_envs, O], in a new array.
        """

    @abstractmethod
    def _advance(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Applies clipped actions [num_envs, A] to every environment that has not terminated.

        Returns:
          Observations [num_envs, O] and rewards [num_envs] (float64), terminations [num_envs]
          (bool), in new arrays.
        """

    def reset(
        self, *, seed: int | None = None, options: dict | None = None
    ) -> tuple[np.ndarray, dict]:
        """Starts a trajectory in every environment.

        Args:
          seed: decides the start states, whatever the tasks are; None goes on with the last seed's
            stream.
          options: {"tasks": [K, D]}, with K a divisor of num_envs. Without them, every environment
            gets a task of its own, drawn after the start states.

        Returns:
          Observations [num_envs, O], and no infos.

        Raises:
          InputError: an unknown option, or tasks of another shape.
        """
        tasks = self._tasks_option(options or {})
        super().reset(seed=None if seed is None else int(seed))
        observations = self._start(self.np_random)
        self.tasks = self.sample_tasks(self.np_random, self.num_envs) if tasks is None else tasks
        self._environment_tasks = np.repeat(self.tasks, self.num_envs // len(self.tasks), axis=0)
        self._elapsed = 0
        self._terminations = np.zeros(self.num_envs, bool)
        return observations, {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict]:
        """Advances every trajectory by one step.

        A terminated trajectory keeps its observation and termination, and its reward is 0.

        Args:
          actions: [num_envs, A]; clipped to the bounds of the action space.

        Returns:
          Observations [num_envs, O], rewards [num_envs] (float64), terminations [num_envs],
          truncations [num_envs] (bool; all true at the horizon), and no infos.

        Raises:
          InputError: actions of another shape.
          PhysicsError: an action is not finite, or a trajectory cannot be simulated further.
          ResetNeeded: the trajectories are over, failed, or have not been started.
        """
        if self._elapsed == self.horizon:
            raise ResetNeeded("no trajectory is under way: call reset before step")
        actions = np.asarray(actions, np.float64)
        if actions.shape != self.action_space.shape:
            raise InputError(
                f"actions have shape {actions.shape}; they must be {self.action_space.shape}"
            )
        try:
            self._check_finite(actions, "the action")
            space = self.single_action_space
            observations, rewards, terminations = self._advance(
                np.clip(actions, space.low, space.high)
            )
            self._check_finite(observations, "the observation")
        except PhysicsError:
            self._elapsed = self.horizon
            raise
        rewards[self._terminations] = 0.0
        self._terminations = self._terminations | terminations
        self._elapsed += 1
        truncations = np.full(self.num_envs, self._elapsed == self.horizon)
        return observations, rewards, self._terminations.copy(), truncations, {}

    def _tasks_option(self, options: dict) -> np.ndarray | None:
        """The tasks among reset's options as float64 [K, D], or None."""
        unknown = sorted(set(options) - {"tasks"})
        if unknown:
            raise InputError(f"reset options {unknown} are unknown; the only option is 'tasks'")
        if options.get("tasks") is None:
            return None
        tasks = np.array(options["tasks"], np.float64)
        if tasks.ndim != 2 or len(tasks) == 0 or tasks.shape[1] != self.task_size:
            raise InputError(f"tasks have shape {tasks.shape}; they must be [K, {self.task_size}]")
        if self.num_envs % len(tasks):
            raise InputError(
                f"num_envs is {self.num_envs}, which {len(tasks)} tasks do not divide; "
                "num_envs must be tasks x trajectories"
            )
        if not np.isfinite(tasks).all():
            raise InputError("tasks hold a number that is not finite; every task must be finite")
        return tasks

    def _check_finite(self, values: np.ndarray, what: str) -> None:
        """Raises PhysicsError for the first row of [num_envs, ...] with a NaN or an infinity."""
        finite = np.isfinite(values)
        if not finite.all():
            raise self._failure(int(np.argwhere(~finite)[0, 0]), f"{what} is not finite")

    def _failure(self, environment: int, reason: str) -> PhysicsError:
        """The error of one environment at the current step."""
        task, trajectory = divmod(environment, self.num_envs // len(self.tasks))
        return PhysicsError(task, trajectory, self._elapsed, reason)
