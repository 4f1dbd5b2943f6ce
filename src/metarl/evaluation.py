"""Meta-test: returns on held-out tasks after 0, 1, 2, ... inner steps, through the code that training adapts with."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from metarl.errors import InputError
from metarl.estimators import estimator
from metarl.randomness import generator
from metarl.settings import TrainingSettings
from metarl.storage import require_writable, unpack_arrays, write_parquet
from metarl.training import adaptation_chain, bound_adapt, make_sampler


def load_policy(path: Path) -> tuple[np.ndarray, TrainingSettings]:
    """The parameters [P] that `metarl train` wrote, and the settings it trained them with.

    Raises:
      InputError: no such file, or a damaged or foreign one.
    """
    arrays, stored = unpack_arrays(path)
    try:
        stored["hidden_sizes"] = tuple(stored["hidden_sizes"])
        return arrays["parameters"], TrainingSettings(**stored)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{str(path)!r} is not a policy of `metarl train`; give one of its .npz"
        ) from error


def evaluate(
    policy: Path,
    output: Path,
    tasks: int,
    trajectories: int,
    inner_steps: int,
    threads: int = 1,
) -> None:
    """Writes the mean return of every held-out task after 0..inner_steps inner steps, as a tidy parquet.

    Held out: the tasks come from a random stream of their own, drawn by the run's seed.

    Args:
      policy: .npz of `metarl train`.
      output: parquet file with columns algorithm, environment, estimator, seed, task, inner_step, mean_return.
      tasks: K.
      trajectories: N, both for adaptation and for the returns.
      inner_steps: the most inner steps.
      threads: of the physics; results do not depend on it.
    """
    require_writable(output)
    parameters, trained = load_policy(policy)
    settings = TrainingSettings(**{**vars(trained), "tasks": tasks, "trajectories": trajectories})
    if inner_steps < 0:
        raise InputError(f"inner_steps is {inner_steps}; give an integer >= 0")
    entry = estimator(settings.estimator)
    sampler = make_sampler(settings, threads)
    drawn = sampler.environment.sample_tasks(generator(settings.seed, "held-out tasks"), tasks)
    _, rollouts = adaptation_chain(
        sampler, bound_adapt(sampler.policy, entry, settings), settings, parameters, drawn, inner_steps,
        "held-out rollout",
    )  # fmt: skip
    rows = [
        {
            "algorithm": settings.algorithm,
            "environment": settings.environment,
            "estimator": settings.estimator,
            "seed": settings.seed,
            "task": task,
            "inner_step": step,
            "mean_return": float(value),
        }
        for step, rollout in enumerate(rollouts)
        for task, value in enumerate(rollout.returns.mean(axis=1))
    ]
    frame = pd.DataFrame(rows)
    means = frame.groupby("inner_step")["mean_return"].mean()
    print(
        f"{settings.environment} {settings.algorithm} seed {settings.seed}: held-out return "
        + " -> ".join(f"{value:.1f}" for value in means),
        file=sys.stderr,
    )
    write_parquet(frame, output)
