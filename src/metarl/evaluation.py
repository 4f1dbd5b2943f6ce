"""Meta-test: returns on held-out tasks after 0, 1, 2, ... inner steps.

Through the code that training adapts with.
"""

import copy
import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from metarl.environments import TaskVectorEnv
from metarl.environments.recording import Recorder
from metarl.errors import InputError
from metarl.estimators import estimator
from metarl.memory import require_training
from metarl.policy_files import load_policy
from metarl.progress import announce
from metarl.randomness import generator
from metarl.results import columns
from metarl.results.writer import write_table
from metarl.rollouts import Rollout, Sampler, make_sampler
from metarl.settings import Baseline, TrainingSettings, require
from metarl.storage import require_writable
from metarl.training.iteration import adaptation_chain, compiled_adaptation

PATHS = 3  # trajectories of a task whose paths are kept


def path_table(positions: np.ndarray, rollout: Rollout, tasks: np.ndarray) -> pd.DataFrame:
    """The paths of each task's first trajectories, a row a step.

    Columns task, task_0, ..., trajectory, step, x (and y).

    Args:
      positions: [T, K * N, 1 or 2].
      rollout: of the same steps; those after a trajectory's end are left out.
      tasks: [K, D].
    """
    count, rows, horizon = rollout.mask.shape
    by_trajectory = positions.reshape(horizon, count, rows, -1).transpose(1, 2, 0, 3)
    task, trajectory, step = np.nonzero(rollout.mask[:, :PATHS])
    values = {"task": task}
    values |= {f"task_{index}": numbers[task] for index, numbers in enumerate(tasks.T)}
    values |= {"trajectory": trajectory, "step": step + 1}
    points = by_trajectory[task, trajectory, step].astype(np.float32)
    values |= dict(zip(("x", "y"), points.T, strict=False))
    return pd.DataFrame(values)


def evaluate(
    policy: Sequence[Path],
    output: Path,
    tasks: int,
    trajectories: int,
    inner_steps: int,
    later_step_scale: float = 1.0,
    inner_learning_rates: Sequence[float] = (),
    horizon: int | None = None,
    seed: int | None = None,
    baselines: Sequence[Baseline] = (),
    paths: Path | None = None,
    threads: int = 1,
) -> None:
    """Writes the mean return of every held-out task after 0..inner_steps inner steps.

    Held out: the tasks come from a random stream of their own, drawn by the run's seed.

    Args:
      policy: .npz files of `metarl train`, of any runs; those of like settings share what is
        compiled.
      output: parquet file of `columns.EVALUATION`.
      tasks: K.
      trajectories: N, both for adaptation and for the returns.
      inner_steps: the most inner steps.
      later_step_scale: what the second and later inner steps multiply the inner learning rate by;
        0.5 in cbfinn/maml_rl maml_examples/test_maml_cheetah.py.
      inner_learning_rates: eta of each inner step, the last one of those beyond too; none: the
        run's.
      horizon: T; None: the run's.
      seed: of tasks and rollouts; None: the run's. The table states the run's.
      baselines: what does not learn, on the same tasks: see `baseline_returns`. In the table they
        are algorithms without estimator, after 0 iterations and 0 inner steps.
      paths: parquet file of where the bodies went with the last policy, or None: the first
        trajectories of every task, with columns algorithm, environment, estimator, seed, inner_step
        and those of `path_table`.
      threads: of the physics; results do not depend on it.
    """
    require_writable(output, *([paths] if paths else []), inputs=policy)
    policies = [load_policy(path) for path in policy]
    require(inner_steps >= 0, "inner_steps", inner_steps, "an integer >= 0")
    require(later_step_scale > 0, "later_step_scale", later_step_scale, "a positive number")
    for rate in inner_learning_rates:
        require(0 < rate < math.inf, "inner_learning_rates", rate, "positive numbers")
    if inner_learning_rates and later_step_scale != 1.0:
        raise InputError("both later_step_scale and inner_learning_rates given; give one of them")
    evaluated = [
        dataclasses.replace(
            trained,
            tasks=tasks,
            trajectories=trajectories,
            horizon=trained.horizon if horizon is None else horizon,
            seed=trained.seed if seed is None else seed,
        )
        for _, trained in policies
    ]
    for settings in evaluated:
        require_training(
            dataclasses.replace(settings, inner_steps=max(inner_steps, 1), iterations=1)
        )
    made = functools.cache(adapter)
    frames = {}
    for number, ((parameters, trained), settings) in enumerate(
        zip(policies, evaluated, strict=True)
    ):
        sampler, compiled_adapt = made(dataclasses.replace(settings, seed=0, iterations=1), threads)
        drawn = sampler.environment.sample_tasks(generator(settings.seed, "held-out tasks"), tasks)
        for name in baselines:
            key = name, trained.environment, trained.seed
            if key not in frames:
                run = dict(zip(("algorithm", "environment", "seed"), key, strict=True))
                draw = generator(settings.seed, "held-out baseline", name)
                returns = baseline_returns(name, sampler.environment, drawn, draw)
                frames[key] = held_out_rows(
                    {**run, "estimator": "none", "iterations": 0}, [returns]
                )
        if paths and number == len(policies) - 1:
            sampler = copy.copy(sampler)
            sampler.environment = Recorder(sampler.environment, "positions")
        eta = settings.inner_learning_rate
        rates = inner_learning_rates or (eta, later_step_scale * eta)
        _, rollouts = adaptation_chain(
            sampler,
            compiled_adapt,
            settings,
            parameters,
            drawn,
            [rates[min(step, len(rates) - 1)] for step in range(inner_steps)],
            ("held-out rollout",),
        )
        run = {
            name: getattr(trained, name)
            for name in ("algorithm", "environment", "estimator", "seed")
        }
        frames[number] = held_out_rows(
            {**run, "iterations": trained.iterations}, [rollout.returns for rollout in rollouts]
        )
    if paths:
        traces = [
            path_table(np.array(positions), rollout, drawn).assign(**run, inner_step=step)
            for step, (positions, rollout) in enumerate(
                zip(sampler.environment.rollouts, rollouts, strict=True)
            )
        ]
        shape = (drawn.shape[1], sampler.environment.rollouts[0][0].shape[-1])
        write_table(columns.paths(*shape), pd.concat(traces), paths)
    write_table(columns.EVALUATION, pd.concat(frames.values(), ignore_index=True), output)


def held_out_rows(run: Mapping, returns: Sequence[np.ndarray]) -> pd.DataFrame:
    """Rows of `columns.EVALUATION` of one run's returns [K, N] after each inner step; tells them.

    Args:
      run: algorithm, environment, estimator, seed, iterations.
      returns: after 0, 1, 2, ... inner steps.
    """
    means = [of_tasks.mean(axis=1) for of_tasks in returns]
    announce(
        f"{run['environment']} {run['algorithm']} seed {run['seed']}: after"
        f" {run['iterations']} iterations, held-out return "
        + " -> ".join(f"{of_tasks.mean():.1f}" for of_tasks in means)
    )
    return pd.DataFrame(
        [
            {**run, "task": task, "inner_step": step, "mean_return": float(value)}
            for step, of_tasks in enumerate(means)
            for task, value in enumerate(of_tasks)
        ]
    )


def baseline_returns(
    name: Baseline, environment: TaskVectorEnv, tasks: np.ndarray, draw: np.random.Generator
) -> np.ndarray:
    """Returns [K, N] of what does not learn, on tasks [K, D].

    Args:
      name: "random", actions drawn evenly within their bounds; or "oracle", those of who knows the
        task.
      environment: of K x N simulations.
      tasks: [K, D].
      draw: start states, then random actions.

    Raises:
      InputError: an oracle where the environment has none.
    """
    space, returns = environment.action_space, np.zeros(environment.num_envs)
    environment.reset(seed=int(draw.integers(2**31)), options={"tasks": tasks})
    for _ in range(environment.horizon):
        if name == "oracle":
            actions = environment.oracle_actions()
        else:
            actions = draw.uniform(space.low, space.high)
        _, rewards, _, _, _ = environment.step(actions)  # 0 after a trajectory's end
        returns += rewards
    return returns.reshape(len(tasks), -1)


def adapter(settings: TrainingSettings, threads: int) -> tuple[Sampler, Callable]:
    """What rolls out and adapts with these settings, whatever seed and length of the run."""
    sampler = make_sampler(settings, threads)
    announce(f"compiling the adaptation of {settings.algorithm} on {settings.environment} ...")
    entry = estimator(settings.estimator)
    return sampler, compiled_adaptation(sampler.policy, entry, settings)
