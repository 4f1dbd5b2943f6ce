"""Vector environments over tasks: what every task distribution shares.

A batch holds K tasks x N trajectories at once. Environment i runs trajectory i % N of task i // N,
so that an array [num_envs, ...] reshapes to [K, N, ...]. Trajectories last at most T steps; one
that terminates early stays frozen until the next reset, unless autoreset is asked for.
"""

import operator
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box
from gymnasium.utils import seeding
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


def _is_next_step(mode: AutoresetMode | str) -> bool:
    """Whether the mode, or its name, is NEXT_STEP; InputError where it is neither that nor off."""
    given = mode.name if isinstance(mode, AutoresetMode) else str(mode).upper()
    if given not in ("DISABLED", "NEXT_STEP"):
        raise InputError(f"autoreset_mode is {mode!r}; give 'disabled' or 'next_step'")
    return given == "NEXT_STEP"


class TaskVectorEnv(VectorEnv, ABC):
    """A distribution of tasks as one gymnasium VectorEnv.

    A subclass names `preset` and `task_size`, takes num_envs, horizon and threads, and implements
    `sample_tasks`, `positions`, `_start` and `_advance`; `_restart` too if some of its environments
    may be reset while the others go on. The arrays that `reset` and `step` return belong to the
    caller: none is written to again. `metarl.environments.contract` checks all this.

    Attributes:
      preset: where the definition comes from; numbers are comparable within one preset only.
      task_size: D, the numbers that describe a task.
      tasks: [K, D] float64, the tasks of the last reset; one an environment where it was of some.
      _environment_tasks: [num_envs, D] float64, of every environment, for `_advance`.
      _terminations: [num_envs] bool, which trajectories are over, likewise.
    """

    preset: str
    task_size: int

    def __init__(
        self,
        num_envs: int,
        horizon: int,
        observation_size: int,
        action_space: Box,
        autoreset_mode: AutoresetMode | str = AutoresetMode.DISABLED,
        render_mode: str | None = None,
    ):
        """Makes the spaces.

        Args:
          num_envs: K * N.
          horizon: T, the most steps of a trajectory.
          observation_size: O.
          action_space: the space of one action [A]; actions beyond its bounds are clipped to them.
          autoreset_mode: disabled; or next_step, where a trajectory that is over starts anew, on
            the same task, in the step after its last one.
          render_mode: None, or one of the metadata's render_modes.

        Raises:
          InputError: num_envs or horizon is not a positive integer, or a mode is not one of those.
        """
        self.num_envs = positive_integer("num_envs", num_envs)
        self.horizon = positive_integer("horizon", horizon)
        self.single_observation_space = Box(-np.inf, np.inf, (observation_size,), np.float64)
        self.single_action_space = action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._autoreset = _is_next_step(autoreset_mode)
        mode = AutoresetMode.NEXT_STEP if self._autoreset else AutoresetMode.DISABLED
        self.metadata = {**type(self).metadata, "autoreset_mode": mode}
        self.render_mode = render_mode
        modes = self.metadata.get("render_modes", [])
        if render_mode is not None and render_mode not in modes:
            allowed = " or ".join(map(repr, [None, *modes]))
            raise InputError(f"render_mode is {render_mode!r}; give {allowed}")
        # no trajectory is under way before the first reset
        self._elapsed = np.full(self.num_envs, self.horizon)
        self._terminations = np.zeros(self.num_envs, bool)
        self._over = np.zeros(self.num_envs, bool)  # ended in the last step

    @abstractmethod
    def sample_tasks(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Draws tasks from the distribution: float64 [count, D], by the generator alone."""

    @property
    def states(self) -> np.ndarray:
        """What `frame` draws of every environment: [num_envs, n], in a new array."""
        return self.positions

    def frame(self, state: np.ndarray, task: np.ndarray) -> np.ndarray:
        """The picture of a state [n] under a task [D], uint8 [height, width, 3].

        Environments with the render mode rgb_array have it.
        """
        raise NotImplementedError

    def render(self) -> tuple[np.ndarray, ...]:
        """A frame of every environment, uint8 [HEIGHT, WIDTH, 3].

        Raises:
          InputError: render_mode is None.
        """
        if self.render_mode is None:
            raise InputError("render_mode is None; make the environment with 'rgb_array'")
        return tuple(map(self.frame, self.states, self._environment_tasks))

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

    def _restart(self, mask: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Moves the environments of `mask` [num_envs] to the states in which `_start` puts them.

        The others stay as they are.

        Returns:
          Observations of all, float64 [num_envs, O], in a new array.
        """
        if not mask.all():
            raise InputError(
                f"{type(self).__name__} resets all of its environments at once; reset all, or"
                " implement _restart"
            )
        return self._start(generator)

    @abstractmethod
    def _advance(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Applies clipped actions [num_envs, A] to every environment that has not terminated.

        Returns:
          Observations [num_envs, O] and rewards [num_envs] (float64), terminations [num_envs]
          (bool), in new arrays.
        """

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict | None = None,
    ) -> tuple[np.ndarray, dict]:
        """Starts a trajectory in every environment, or in those of a mask.

        Args:
          seed: decides the start states, whatever the tasks are; None goes on with the last seed's
            stream. A list has one for each environment, which starts as it does where all of them
            have that seed.
          options: {"tasks": [K, D]}, with K a divisor of num_envs; without them, every environment
            that is reset gets a task of its own, drawn after the start states. {"reset_mask":
            [num_envs] bool}, the environments to reset; the others go on.

        Returns:
          Observations [num_envs, O], and no infos.

        Raises:
          InputError: an unknown option, or tasks, a mask or seeds of another shape.
          ResetNeeded: some are to be reset before all were.
        """
        options = options or {}
        tasks, mask = self._tasks_option(options), self._mask_option(options)
        if not (mask.all() or hasattr(self, "tasks")):
            raise ResetNeeded("no trajectory is under way: reset all before some")
        if not isinstance(seed, int | np.integer | Sequence | np.ndarray | None):
            raise InputError(
                f"seed is {seed!r}; give an integer >= 0, one of each environment, or None"
            )
        if seed is None or isinstance(seed, int | np.integer):
            super().reset(seed=None if seed is None else int(seed))
            observations = self._restart(mask, self.np_random)
            drawn = self.sample_tasks(self.np_random, self.num_envs) if tasks is None else tasks
        else:
            observations, drawn = self._reset_by_seeds(seed, mask, tasks)
        self._assign(drawn, mask)
        self._elapsed[mask] = 0
        self._terminations, self._over = self._terminations & ~mask, self._over & ~mask
        return observations, {}

    def _reset_by_seeds(
        self, seeds: Sequence[int | None], mask: np.ndarray, tasks: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Starts each environment of the mask by its own seed: observations, and tasks [K, D]."""
        if len(seeds) != self.num_envs:
            raise InputError(f"{len(seeds)} seeds given; give one of each of {self.num_envs}")
        for seed in seeds:
            if not (seed is None or isinstance(seed, int | np.integer) and seed >= 0):
                raise InputError(f"a seed is {seed!r}; give integers >= 0, or None")
        stated = [int(seed) for seed in seeds if seed is not None]
        if stated:
            self.np_random = np.random.default_rng(stated)
        drawn = np.empty((self.num_envs, self.task_size))
        for index in np.flatnonzero(mask):
            one = np.arange(self.num_envs) == index
            seed = seeds[index]
            draw = self.np_random if seed is None else seeding.np_random(int(seed))[0]
            observations = self._restart(one, draw)
            if tasks is None:
                drawn[index] = self.sample_tasks(draw, self.num_envs)[index]
        return observations, drawn if tasks is None else tasks

    def _assign(self, tasks: np.ndarray, mask: np.ndarray) -> None:
        """Gives the environments of the mask their tasks, of [K, D]."""
        repeated = np.repeat(tasks, self.num_envs // len(tasks), axis=0)
        if not mask.all():
            repeated = np.where(mask[:, None], repeated, self._environment_tasks)
            tasks = repeated
        self.tasks, self._environment_tasks = tasks, repeated

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict]:
        """Advances every trajectory by one step.

        A trajectory that ends says so once. Without autoreset it stays where it ended, with rewards
        of 0, until it is reset; with it, the next step starts it anew.

        Args:
          actions: [num_envs, A]; clipped to the bounds of the action space.

        Returns:
          Observations [num_envs, O], rewards [num_envs] (float64), terminations [num_envs],
          truncations [num_envs] (bool; true at the horizon), and no infos.

        Raises:
          InputError: actions of another shape.
          PhysicsError: an action is not finite, or a trajectory cannot be simulated further.
          ResetNeeded: trajectories are over, failed, or have not been started.
        """
        restarted = self._over if self._autoreset else np.zeros(self.num_envs, bool)
        if (self._elapsed[~restarted] == self.horizon).any():
            raise ResetNeeded("a trajectory is not under way: call reset before step")
        actions = np.asarray(actions, np.float64)
        if actions.shape != self.action_space.shape:
            raise InputError(
                f"actions have shape {actions.shape}; they must be {self.action_space.shape}"
            )
        frozen = self._terminations = self._terminations | restarted
        try:
            self._check_finite(actions, "the action")
            space = self.single_action_space
            observations, rewards, terminations = self._advance(
                np.clip(actions, space.low, space.high)
            )
            self._check_finite(observations, "the observation")
        except PhysicsError:
            self._elapsed[:], self._over = self.horizon, np.zeros(self.num_envs, bool)
            raise
        rewards[frozen] = 0.0
        self._elapsed += 1
        self._terminations = frozen | terminations
        terminations = terminations & ~frozen
        truncations = (self._elapsed == self.horizon) & ~frozen
        self._over = terminations | truncations
        if restarted.any():
            observations = self._restart(restarted, self.np_random)
            self._elapsed[restarted] = 0
            self._terminations = self._terminations & ~restarted
        return observations, rewards, terminations, truncations, {}

    def _tasks_option(self, options: dict) -> np.ndarray | None:
        """The tasks among reset's options as float64 [K, D], or None."""
        unknown = sorted(set(options) - {"tasks", "reset_mask"})
        if unknown:
            raise InputError(
                f"reset options {unknown} are unknown; the options are 'tasks' and 'reset_mask'"
            )
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

    def _mask_option(self, options: dict) -> np.ndarray:
        """The environments to reset among reset's options, all if it states none: [num_envs]."""
        mask = options.get("reset_mask")
        if mask is None:
            return np.ones(self.num_envs, bool)
        is_mask = isinstance(mask, np.ndarray) and mask.dtype == bool
        if not is_mask or mask.shape != (self.num_envs,) or not mask.any():
            raise InputError(
                f"reset_mask is {mask!r}; it must be a bool array of shape ({self.num_envs},) with"
                " at least one True"
            )
        return mask

    def _check_finite(self, values: np.ndarray, what: str) -> None:
        """Raises PhysicsError for the first row of [num_envs, ...] with a NaN or an infinity."""
        finite = np.isfinite(values)
        if not finite.all():
            raise self._failure(int(np.argwhere(~finite)[0, 0]), f"{what} is not finite")

    def _failure(self, environment: int, reason: str) -> PhysicsError:
        """The error of one environment at the current step."""
        task, trajectory = divmod(environment, self.num_envs // len(self.tasks))
        return PhysicsError(task, trajectory, int(self._elapsed[environment]), reason)
