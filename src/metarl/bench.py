"""How much of the machine's physics throughput the environment and a whole meta-iteration keep."""

import os
import platform
import time
from collections.abc import Callable

import gymnasium
import mujoco
import numpy as np
from mujoco.rollout import Rollout

from metarl.environments import make
from metarl.environments.mujoco_batch import MujocoVectorEnv
from metarl.settings import TrainingSettings

ENVIRONMENT = "HalfCheetahDir"
TASKS, TRAJECTORIES, HORIZON = 20, 20, 100
SEED = 0
REPEATS = 3
SEGMENTS = 10


def bench(threads: int) -> dict:
    """Measures raw physics and the vector environment on the same actions, and meta-iterations.

    The first two take turns in short segments, so that whatever else the machine does slows both
    alike. A meta-iteration is what `metarl train` repeats, with lsf and one Adam step.

    Args:
      threads: of both.

    Returns:
      raw_env_steps_per_second: frame_skip mj_step calls are one environment step.
      vector_env_steps_per_second: the same simulations through `step`.
      ratio_vector_to_raw: of the two.
      iteration_env_steps_per_second: both rollouts, baselines, adaptation and meta-gradient.
      ratio_iteration_to_raw: of it to raw physics.
      trpo_iteration_env_steps_per_second, ratio_trpo_iteration_to_raw: the same with TRPO.
      cost_trpo_to_adam: seconds of an iteration with TRPO over one with Adam.
      settings, versions: what was run.

    Raises:
      InputError: threads is not a positive integer.
    """
    environment = make(ENVIRONMENT, TASKS, TRAJECTORIES, HORIZON, threads)
    actions = np.random.default_rng(SEED).uniform(
        -1.0, 1.0, (HORIZON, *environment.action_space.shape)
    )
    raw_segments = np.array_split(np.arange(environment.num_envs), SEGMENTS)
    vector_segments = np.array_split(actions, SEGMENTS)
    raw = vector = 0.0
    for _ in range(REPEATS):
        environment.reset(seed=SEED)
        run_raw = raw_physics(environment, actions, threads)
        for environments, steps in zip(raw_segments, vector_segments, strict=True):
            raw += seconds(run_raw, environments)
            vector += seconds(step_through, environment, steps)
    count = REPEATS * HORIZON * environment.num_envs
    iterations = iteration_throughput(threads)
    return {
        "raw_env_steps_per_second": count / raw,
        "vector_env_steps_per_second": count / vector,
        "ratio_vector_to_raw": raw / vector,
        "iteration_env_steps_per_second": iterations["adam"],
        "ratio_iteration_to_raw": iterations["adam"] * raw / count,
        "trpo_iteration_env_steps_per_second": iterations["trpo"],
        "ratio_trpo_iteration_to_raw": iterations["trpo"] * raw / count,
        "cost_trpo_to_adam": iterations["adam"] / iterations["trpo"],
        "settings": {
            "environment": ENVIRONMENT,
            "tasks": TASKS,
            "trajectories": TRAJECTORIES,
            "horizon": HORIZON,
            "threads": threads,
            "cpus": os.cpu_count(),
            "repeats": REPEATS,
        },
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "gymnasium": gymnasium.__version__,
            "mujoco": mujoco.__version__,
        },
    }


def seconds(function: Callable, *arguments) -> float:
    """The wall-clock time of one call."""
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


def raw_physics(
    environment: MujocoVectorEnv, actions: np.ndarray, threads: int
) -> Callable[[np.ndarray], np.ndarray]:
    """mj_step in a loop over each simulation, on the thread pool of mujoco.rollout.

    Args:
      environment: a newly reset environment; its states are where the simulations start.
      actions: [T, num_envs, A].
      threads: of the pool.

    Returns:
      A function that runs the simulations of some environments, given by index [n], over all T
      steps, and returns their last states (time, qpos, qvel), [n, 1 + nq + nv].
    """
    batch, pool = environment.batch, Rollout(nthread=threads)
    starts = np.column_stack([batch.bind("time"), batch.bind("qpos"), batch.bind("qvel")])
    controls = np.repeat(actions.transpose(1, 0, 2), environment.frame_skip, axis=1)
    data = [mujoco.MjData(environment.model) for _ in range(threads)]

    def run(indices: np.ndarray) -> np.ndarray:
        states, _ = pool.rollout(environment.model, data, starts[indices], controls[indices])
        return states[:, -1]

    return run


def step_through(environment: MujocoVectorEnv, actions: np.ndarray) -> None:
    """Steps every environment through actions [t, num_envs, A]."""
    for action in actions:
        environment.step(action)


def iteration_throughput(threads: int) -> dict[str, float]:
    """Environment steps per second of whole meta-iterations with each outer optimizer, which take turns.

    The first iteration of each, which compiles, is left out.
    """
    from metarl.estimators import (
        estimator,  # TensorFlow takes seconds: not for this module's other half
    )
    from metarl.training import MetaIteration

    runs, states, spent = {}, {}, {}
    for optimizer in ("adam", "trpo"):
        settings = TrainingSettings(
            environment=ENVIRONMENT,
            estimator="lsf",
            algorithm="lsf",
            seed=SEED,
            tasks=TASKS,
            trajectories=TRAJECTORIES,
            horizon=HORIZON,
            outer_optimizer=optimizer,
        )
        runs[optimizer] = MetaIteration(settings, estimator("lsf"), threads)
        states[optimizer], *_ = runs[optimizer](runs[optimizer].start(), 0)
        spent[optimizer] = 0.0
    for number in range(1, REPEATS + 1):
        for optimizer, iterate in runs.items():
            started = time.perf_counter()
            states[optimizer], *_ = iterate(states[optimizer], number)
            states[optimizer].parameters.numpy()  # waits for the result
            spent[optimizer] += time.perf_counter() - started
    steps = REPEATS * 2 * TASKS * TRAJECTORIES * HORIZON
    return {optimizer: steps / seconds for optimizer, seconds in spent.items()}
