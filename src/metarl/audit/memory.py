"""Whether an audit fits into the machine: see `metarl.memory`. Imports no TensorFlow."""

import math

from metarl.audit.settings import (
    ACTIONS,
    HORIZON,
    RESAMPLES,
    SIMULATED,
    STATES,
    ConvergenceSettings,
    ExactSettings,
    MonteCarloSettings,
    MujocoSettings,
)
from metarl.memory import batch_size, policy_size, require_memory
from metarl.settings import TrainingSettings

DOUBLE = 8  # bytes of a float64
DRAWS = 64  # iterations whose draws `metarl.convergence` holds


def replicate_bytes(replicates: int) -> int:
    """Of the intervals of R replicates: how often each draw takes each, [RESAMPLES, R]."""
    return DOUBLE * RESAMPLES * replicates


def mujoco_bytes(settings: MujocoSettings, training: TrainingSettings) -> int:
    """Of an audit in simulation: replicates, gradients [2, R, P] of every estimator, a chunk."""
    gradients = 2 * settings.replicates * policy_size(training) * len(settings.estimators)
    outer, inner = settings.outer_sample_size, max(settings.sample_sizes)
    batches = batch_size(training, outer) + batch_size(training, inner)
    shares = inner * policy_size(training)
    chunk = SIMULATED * settings.tasks * (batches + shares)
    return replicate_bytes(settings.replicates) + DOUBLE * (gradients + chunk)


def monte_carlo_bytes(settings: MonteCarloSettings) -> int:
    """Of a Monte Carlo audit: replicates, gradients [R, P] of every estimator, a batch of N."""
    gradients = settings.replicates * STATES * ACTIONS * len(settings.estimators)
    batch = max(settings.sample_sizes) * (HORIZON * (STATES + ACTIONS + 2) + STATES * ACTIONS)
    return replicate_bytes(settings.replicates) + DOUBLE * (gradients + batch)


def convergence_bytes(settings: ConvergenceSettings) -> int:
    """Of curves at all step sizes: draws [DRAWS, runs, N], and ||grad F||^2 along the way."""
    runs = settings.seeds * len(settings.step_sizes)
    evaluated = 1 + math.ceil(math.log2(settings.iterations))
    return DOUBLE * runs * (DRAWS * max(settings.sample_sizes) + evaluated)


def require_replicates(settings: ExactSettings) -> None:
    """Raises InputError for a black-box audit by random samples beyond the machine."""
    require_memory(replicate_bytes(settings.replicates), settings, ("replicates",))


def require_mujoco(settings: MujocoSettings, training: TrainingSettings) -> None:
    """Raises InputError for an audit in simulation beyond the machine."""
    names = ("replicates", "outer_sample_size", "tasks", "sample_sizes")
    require_memory(mujoco_bytes(settings, training), settings, names)


def require_monte_carlo(settings: MonteCarloSettings) -> None:
    """Raises InputError for a Monte Carlo audit beyond the machine."""
    names = ("replicates", "sample_sizes")
    require_memory(monte_carlo_bytes(settings), settings, names)


def require_convergence(settings: ConvergenceSettings) -> None:
    """Raises InputError for an experiment on convergence beyond the machine."""
    names = ("seeds", "step_sizes", "sample_sizes")
    require_memory(convergence_bytes(settings), settings, names)
