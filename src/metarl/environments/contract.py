"""The contract of a `TaskVectorEnv`, checked by use.

A class of anyone's own is tried out on a few environments before it is trusted with a run, since
no type checker sees what training relies on: shapes, dtypes, seeds, and arrays that stay as they
were. A violation is an InputError of one line that says which part of the contract breaks.
"""

import contextlib
import functools
import inspect
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from gymnasium.spaces import Box

from metarl.environments.vector import TaskVectorEnv
from metarl.errors import InputError
from metarl.plug_ins import line

TASKS, TRAJECTORIES, HORIZON = 2, 2, 5
MANY = 100  # tasks, few of which agree by chance
NUM_ENVS = TASKS * TRAJECTORIES
SEED = 0


@functools.cache  # once a class: a run makes several environments of it
def check_contract(name: str, environment_class: type[TaskVectorEnv]) -> None:
    """Tries the class out.

    Args:
      name: of the environment, for the error.
      environment_class: a subclass of TaskVectorEnv.

    Raises:
      InputError: the class breaks the contract.
    """
    try:
        environment = _construct(environment_class, threads=1)
        _check_attributes(environment)
        tasks = _check_tasks(environment)
        _check_arrays(environment, tasks)
        _check_trajectories(environment, _construct(environment_class, threads=2), tasks)
    except _Violation as violation:
        cause = violation.__cause__
        place = cause and line(cause, Path(inspect.getfile(environment_class)).parent)
        raise InputError(
            f"environment {name!r} breaks the contract of TaskVectorEnv: {violation}"
            f"{f', {place}' if place else ''}"
        ) from cause


class _Violation(Exception):
    """What breaks, and how it should be."""


def _require(holds: bool, violation: str) -> None:
    if not holds:
        raise _Violation(violation)


@contextlib.contextmanager
def _running(part: str) -> Iterator[None]:
    """Names the part of the class whose code raises."""
    try:
        yield
    except (Exception, SystemExit) as error:  # code of anyone's may raise anything
        raise _Violation(f"{part} raises {type(error).__name__} ({error})") from error


def _require_array(
    values: object, part: str, shape: tuple[int, ...], dtype: type = np.float64
) -> None:
    """Requires a finite array of that shape and dtype."""
    allowed = f"it must be {np.dtype(dtype).name} {list(shape)}"
    _require(isinstance(values, np.ndarray), f"{part} is a {type(values).__name__}; {allowed}")
    given = f"{values.dtype.name} {list(values.shape)}"
    _require(values.dtype == dtype and values.shape == shape, f"{part} is {given}; {allowed}")
    _require(bool(np.isfinite(values).all()), f"{part} is not finite")


def _construct(environment_class: type[TaskVectorEnv], threads: int) -> TaskVectorEnv:
    """A small environment, by the arguments that every environment takes."""
    missing = ", ".join(sorted(environment_class.__abstractmethods__))
    _require(not missing, f"{missing} must be implemented")
    sizes = {"num_envs": NUM_ENVS, "horizon": HORIZON}
    with _running("its constructor, given num_envs, horizon and threads by name,"):
        environment = environment_class(**sizes, threads=threads)
    for name, value in sizes.items():
        _require(
            getattr(environment, name, None) == value,
            f"{name} is not the constructor's; pass it on to TaskVectorEnv.__init__",
        )
    return environment


def _check_attributes(environment: TaskVectorEnv) -> None:
    """Requires preset, task_size and actions along one axis."""
    preset = getattr(environment, "preset", None)
    _require(
        isinstance(preset, str) and preset != "",
        f"preset is {preset!r}; it must be a word for where the definition comes from",
    )
    size = getattr(environment, "task_size", None)
    _require(
        isinstance(size, int) and size > 0, f"task_size is {size!r}; it must be a positive integer"
    )
    space = environment.single_action_space
    _require(
        isinstance(space, Box) and len(space.shape) == 1,
        f"the space of an action is {space}; it must be a Box of shape [A]",
    )


def _check_tasks(environment: TaskVectorEnv) -> np.ndarray:
    """Requires tasks that are a function of the generator alone; returns some, [TASKS, D]."""

    def sample(count: int) -> np.ndarray:
        with _running("sample_tasks"):
            tasks = environment.sample_tasks(np.random.default_rng(SEED), count)
        shape = (count, environment.task_size)
        _require_array(tasks, f"what sample_tasks draws for count {count}", shape)
        return tasks.copy()

    _require(
        np.array_equal(sample(MANY), sample(MANY)),
        "sample_tasks draws other tasks with the same seed; they must depend on the generator"
        " alone",
    )
    return sample(TASKS)


def _check_arrays(environment: TaskVectorEnv, tasks: np.ndarray) -> None:
    """Requires starts, and the shapes and dtypes of a step before `step` broadcasts them."""
    of_observations = environment.observation_space.shape
    starts = []
    for order in (1, -1, 1):  # of the tasks, which are not set yet when _start runs
        with _running("_start"):
            start, _ = environment.reset(seed=SEED, options={"tasks": tasks[::order]})
        _require_array(start, "what _start returns", of_observations)
        starts.append(start.copy())
    _require(
        all(np.array_equal(start, starts[0]) for start in starts),
        "_start draws other states with the same seed; they must depend on the generator alone",
    )
    with _running("_advance"):
        results = environment._advance(_actions(environment)[0])
    _require(
        isinstance(results, tuple) and len(results) == 3,
        "_advance must return three arrays: observations, rewards and terminations",
    )
    observations, rewards, terminations = results
    _require_array(observations, "the first that _advance returns", of_observations)
    _require_array(rewards, "the second that _advance returns", (NUM_ENVS,))
    _require_array(terminations, "the third that _advance returns", (NUM_ENVS,), np.bool_)
    with _running("positions"):
        positions = environment.positions
    axes = 2 if np.shape(positions)[1:] == (2,) else 1
    _require_array(positions, "positions", (NUM_ENVS, axes))


def _check_trajectories(
    environment: TaskVectorEnv, other: TaskVectorEnv, tasks: np.ndarray
) -> None:
    """Requires arrays that stay as they were returned, and the same ones from the same seed.

    Args:
      environment: runs the same trajectories twice.
      other: another instance, on other threads, runs them once.
      tasks: [TASKS, D].
    """
    first, again = (_trajectories(environment, tasks) for _ in range(2))
    for part, returned, copy in first:
        _require(
            np.array_equal(returned, copy),
            f"{part} change after they were returned; return new arrays",
        )
    for where, repeated in (
        ("a second time", again),
        ("in another instance, with 2 threads", _trajectories(other, tasks)),
    ):
        for (part, _, copy), (_, _, repeated_copy) in zip(first, repeated, strict=True):
            _require(
                np.array_equal(copy, repeated_copy),
                f"{part} differ {where}; the same seed, tasks and actions must give the same",
            )


def _trajectories(
    environment: TaskVectorEnv, tasks: np.ndarray
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """All arrays that a rollout is given: what they are, they themselves, and as they were then."""
    arrays = []

    def keep(part: str, array: np.ndarray) -> None:
        arrays.append((part, array, array.copy()))

    with _running("reset"):
        observations, _ = environment.reset(seed=SEED, options={"tasks": tasks})
    keep("the observations of the start", observations)
    for number, actions in enumerate(_actions(environment)):
        with _running(f"step {number}"):
            observations, rewards, terminations, *_ = environment.step(actions)
        _require_array(rewards, f"the reward of step {number}", (NUM_ENVS,))
        keep(f"the observations of step {number}", observations)
        keep(f"the rewards of step {number}", rewards)
        keep(f"the terminations of step {number}", terminations)
        keep(f"the positions after step {number}", environment.positions)
    return arrays


def _actions(environment: TaskVectorEnv) -> list[np.ndarray]:
    """The same actions every time, within their bounds: HORIZON arrays [num_envs, A]."""
    environment.action_space.seed(SEED)
    return [environment.action_space.sample().astype(np.float64) for _ in range(HORIZON)]
