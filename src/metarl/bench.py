"""How much of the machine's physics throughput is kept, and what a scale costs.

Kept by the vector environment, and by whole meta-iterations.
"""

import dataclasses
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

import mujoco
import numpy as np
from mujoco.rollout import Rollout

from metarl.configuration import read_configuration, training_runs
from metarl.environments import make
from metarl.environments.mujoco_batch import MujocoVectorEnv
from metarl.environments.vector import positive_integer
from metarl.errors import RunError
from metarl.progress import announce
from metarl.published import machine
from metarl.settings import TrainingSettings

ENVIRONMENT = "HalfCheetahDir"
TASKS, TRAJECTORIES, HORIZON = 20, 20, 100
SEED = 0
REPEATS = 3
SEGMENTS = 10
MANY = 10  # times as many tasks, to see whether the cost is linear
COSTED_TASKS = 4  # of a row of a configuration; the cost is linear in tasks
REFERENCE = "lsf"  # whose actions raw physics and the vector environment repeat
ESTIMATORS = ("maml", REFERENCE, "lvc", "dice", "leave_one_out")
RUNS = {
    **{name: {"estimator": name} for name in ESTIMATORS},
    "trpo": {"estimator": "maml", "outer_optimizer": "trpo", "fisher_stride": 10},
    "full_trpo": {"estimator": "maml", "outer_optimizer": "trpo"},
    "promp": {"estimator": "lvc", "outer_epochs": 5, "inner_kl_coefficient": 5e-4},
}


def bench(threads: int, configuration: Path | None = None) -> dict:
    """Measures raw physics, the vector environment and whole meta-iterations in one run.

    A meta-iteration is what `metarl train` repeats: both rollouts, baselines, adaptation,
    meta-gradient and outer step. Raw physics (mj_step in a loop over each simulation, frame_skip
    calls a step) and the vector environment repeat the actions of the iterations with lsf and one
    Adam step, since the cost of physics depends on them. Everything that is compared takes turns,
    so that whatever else the machine does slows all alike.

    Args:
      threads: of the machine, for all.
      configuration: of the workflow; its training runs are costed on one thread.

    Returns:
      raw_env_steps_per_second, vector_env_steps_per_second, ratio_vector_to_raw.
      iteration_env_steps_per_second, ratio_iteration_to_raw: of lsf with one Adam step.
      trpo_iteration_env_steps_per_second, ratio_trpo_iteration_to_raw: of maml with TRPO whose
        products with the Fisher matrix see one step in ten.
      full_trpo_iteration_env_steps_per_second, ratio_full_trpo_iteration_to_raw: all steps.
      promp_iteration_env_steps_per_second, ratio_promp_iteration_to_raw: of lvc with five Adam
        steps.
      cost_trpo_to_adam: an iteration of maml with TRPO over one with one Adam step.
      cost_to_maml: an iteration of each estimator over one of maml, one Adam step each.
      cost_of_ten_times_the_tasks: an iteration with them over one without.
      first_iteration_seconds: of each run, with its compilation.
      peak_memory_gib: of a process of `metarl train`.
      core_hours: of one run in each environment of the configuration, if one is given, and of its
        algorithms relative to the first.
      settings, machine, versions: what was run, and on what.

    Raises:
      InputError: threads is not a positive integer, or as
        `metarl.configuration.read_configuration`.
      RunError: a run of `metarl train` failed.
    """
    positive_integer("threads", threads)
    runs = training_runs(read_configuration(configuration)) if configuration else {}
    memory = peak_memory(threads)  # first: a child's peak begins with its parent's size
    raw, vector, cost, first = measure(threads)
    steps = 2 * TASKS * TRAJECTORIES * HORIZON
    report = {
        "raw_env_steps_per_second": steps / raw,
        "vector_env_steps_per_second": steps / vector,
        "ratio_vector_to_raw": raw / vector,
    }
    for prefix, name in (
        ("", REFERENCE),
        *((f"{name}_", name) for name in ("trpo", "full_trpo", "promp")),
    ):
        report[f"{prefix}iteration_env_steps_per_second"] = steps / cost[name]
        report[f"ratio_{prefix}iteration_to_raw"] = raw / cost[name]
    report |= {
        "cost_trpo_to_adam": cost["trpo"] / cost["maml"],
        "cost_to_maml": {name: cost[name] / cost["maml"] for name in ESTIMATORS if name != "maml"},
        "cost_of_ten_times_the_tasks": cost["many"] / cost[REFERENCE],
        "first_iteration_seconds": first,
        "peak_memory_gib": memory,
    }
    if runs:
        report["core_hours"] = core_hours(runs)
    return report | {
        "settings": {
            "environment": ENVIRONMENT,
            "tasks": TASKS,
            "trajectories": TRAJECTORIES,
            "horizon": HORIZON,
            "threads": threads,
            "repeats": REPEATS,
        },
        "machine": machine(),
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in ("numpy", "gymnasium", "mujoco", "tensorflow")},
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
    controls = environment.action_scale * actions.transpose(1, 0, 2)
    controls = np.repeat(controls, environment.frame_skip, axis=1)
    data = [mujoco.MjData(environment.model) for _ in range(threads)]

    def run(indices: np.ndarray) -> np.ndarray:
        states, _ = pool.rollout(environment.model, data, starts[indices], controls[indices])
        return states[:, -1]

    return run


def step_through(environment: MujocoVectorEnv, actions: np.ndarray) -> None:
    """Steps every environment through actions [t, num_envs, A]."""
    for action in actions:
        environment.step(action)


def settings_of(name: str, tasks: int) -> TrainingSettings:
    """A run of RUNS."""
    return TrainingSettings(
        environment=ENVIRONMENT,
        algorithm=name,
        seed=SEED,
        tasks=tasks,
        trajectories=TRAJECTORIES,
        horizon=HORIZON,
        **RUNS[name],
    )


class Timed:
    """A run's meta-iterations, with the time each takes.

    Attributes:
      first: seconds of the first iteration, which compiles.
      spent: seconds of each later one.
    """

    def __init__(self, settings: TrainingSettings, threads: int):
        from metarl.estimators import estimator  # TensorFlow takes seconds: not for bad input
        from metarl.training.iteration import MetaIteration

        started = time.perf_counter()
        announce(f"bench: compiling {settings.algorithm} on {settings.environment} ...")
        self._iterate = MetaIteration(settings, estimator(settings.estimator), threads)
        self._state, self._number = self._iterate.start(), 0
        self.spent: list[float] = []
        self.iterate()
        self.first, self.spent = time.perf_counter() - started, []

    def iterate(self) -> list[np.ndarray]:
        """One iteration; returns the actions of its rollouts, [T, K * N, A] each."""
        started = time.perf_counter()
        self._state, iteration = self._iterate(self._state, self._number)
        self._state.parameters.numpy()  # waits for the result
        self.spent.append(time.perf_counter() - started)
        self._number += 1
        actions = [
            np.concatenate([rollout.actions for rollout in step])
            for step in zip(*iteration.rollouts, strict=True)
        ]
        return [x.reshape(-1, *x.shape[2:]).transpose(1, 0, 2) for x in actions]


def measure(threads: int) -> tuple[float, float, dict[str, float], dict[str, float]]:
    """Seconds an iteration, and of the first one.

    Of raw physics, of the vector environment, of each run of RUNS and of `many` tasks.
    """
    timed = {name: Timed(settings_of(name, TASKS), threads) for name in RUNS}
    timed["many"] = Timed(settings_of(REFERENCE, MANY * TASKS), threads)
    environment = make(ENVIRONMENT, TASKS, TRAJECTORIES, HORIZON, threads)
    raw = vector = 0.0
    for repeat in range(REPEATS):
        announce(f"bench: round {repeat + 1}/{REPEATS} of physics and iterations ...")
        recorded = {name: run.iterate() for name, run in timed.items()}[REFERENCE]
        for actions in recorded:
            seconds_raw, seconds_vector = replay(environment, actions, threads)
            raw, vector = raw + seconds_raw, vector + seconds_vector
    cost = {name: float(np.mean(run.spent)) for name, run in timed.items()}
    return raw / REPEATS, vector / REPEATS, cost, {name: run.first for name, run in timed.items()}


def replay(environment: MujocoVectorEnv, actions: np.ndarray, threads: int) -> tuple[float, float]:
    """Seconds of raw physics and of the vector environment for recorded actions [T, K * N, A]."""
    environment.reset(seed=SEED)
    actions = actions.clip(environment.action_space.low, environment.action_space.high)
    run_raw = raw_physics(environment, actions, threads)
    parts = (np.arange(environment.num_envs), np.arange(HORIZON))
    raw = vector = 0.0
    for indices, steps in zip(*(np.array_split(x, SEGMENTS) for x in parts), strict=True):
        raw += seconds(run_raw, indices)
        vector += seconds(step_through, environment, actions[steps])
    return raw, vector


def peak_memory(threads: int) -> float:
    """GiB that two iterations of `metarl train` with REFERENCE take, in a process of their own."""
    announce("bench: the memory of a run ...")
    with tempfile.TemporaryDirectory() as folder:
        flags = {
            "environment": ENVIRONMENT,
            "estimator": REFERENCE,
            "algorithm": REFERENCE,
            "iterations": 2,
            "tasks": TASKS,
            "trajectories": TRAJECTORIES,
            "horizon": HORIZON,
            "threads": threads,
            "output": f"{folder}/run.parquet",
            "policy": f"{folder}/run.npz",
            "checkpoints": folder,
        }
        words = [str(word) for key, value in flags.items() for word in (f"--{key}", value)]
        command = [sys.executable, "-m", "metarl", "train", *words]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RunError("metarl train failed; run it by itself to see why")
    return usage.ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def core_hours(runs: Mapping[tuple[str, str], TrainingSettings]) -> dict:
    """Core-hours of one run: every environment with the first algorithm, and every algorithm to it.

    Each is measured on one thread and COSTED_TASKS tasks; the relative costs in one environment
    alone, ENVIRONMENT if it is among them: where physics costs nothing, algorithms differ more.

    Args:
      runs: settings by (environment, algorithm), as `metarl.configuration.training_runs`.
    """

    def hours(settings: TrainingSettings) -> float:
        run = Timed(dataclasses.replace(settings, tasks=COSTED_TASKS), threads=1)
        run.iterate()
        return run.spent[0] * settings.tasks / COSTED_TASKS * settings.iterations / 3600.0

    environments = list(dict.fromkeys(environment for environment, _ in runs))
    compared = ENVIRONMENT if ENVIRONMENT in environments else environments[0]
    algorithms = {
        algorithm: hours(settings)
        for (environment, algorithm), settings in runs.items()
        if environment == compared
    }
    reference, cost = next(iter(algorithms.items()))
    return {
        "environments": {
            environment: cost if environment == compared else hours(runs[environment, reference])
            for environment in environments
        },
        "of_algorithm": reference,
        "relative": {algorithm: spent / cost for algorithm, spent in algorithms.items()},
        "of_environment": compared,
    }
