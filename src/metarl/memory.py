"""Whether a run fits into the machine, told from its settings before anything is allocated.

Estimates are lower bounds: what is certainly held at one time. A run takes about three times as
much, and TensorFlow 1 GB besides. Imports no TensorFlow.
"""

import math
import os
from collections.abc import Sequence
from itertools import pairwise

from metarl import environments
from metarl.errors import InputError
from metarl.settings import TrainingSettings

SINGLE = 4  # bytes of a float32
ROW = 128  # bytes of a learning curve's row, of 16 columns
SIZES = ("tasks", "trajectories", "horizon", "hidden_sizes", "inner_steps", "iterations")


def policy_size(training: TrainingSettings) -> int:
    """P, the numbers of a Gaussian policy: kernels, biases, log standard deviations."""
    observation_size, action_size = environments.sizes(training.environment)
    widths = (observation_size, *training.hidden_sizes, action_size)
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(widths)) + action_size


def batch_size(training: TrainingSettings, trajectories: int) -> int:
    """Numbers of a task's rollout and of the batch made of it: [N, T, ...] each."""
    observation_size, action_size = environments.sizes(training.environment)
    rollout = observation_size + 2 * action_size + 2  # actions, means; rewards, mask
    batch = observation_size + 3 * action_size + 4  # deviations too; advantages, score rewards
    return trajectories * training.horizon * (rollout + batch)


def training_bytes(training: TrainingSettings) -> int:
    """Of parameters [K, P], batches of every inner step, a task's hidden layers, and the curve."""
    batches = (training.inner_steps + 1) * batch_size(training, training.trajectories)
    hidden = training.trajectories * training.horizon * sum(training.hidden_sizes)
    curve = ROW * training.iterations * (training.inner_steps + 1)
    return curve + SINGLE * (training.tasks * (policy_size(training) + batches) + hidden)


def require_training(training: TrainingSettings) -> None:
    """Raises InputError for a training run, or an evaluation like it, beyond the machine."""
    require_memory(training_bytes(training), training, SIZES)


def require_memory(needed: int, settings: object, names: Sequence[str]) -> None:
    """Raises InputError where `needed` bytes are more than the machine has.

    Args:
      needed: bytes.
      settings: what they come from.
      names: of its fields that count.
    """
    available = machine_bytes()
    if needed > available:
        values = ", ".join(str(getattr(settings, name)) for name in names)
        raise InputError(
            f"{', '.join(names)} are {values}: at least {in_words(needed)} of memory, where this "
            f"machine has {in_words(available)}; lower one of them"
        )


def machine_bytes() -> int:
    """The machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def in_words(size: int) -> str:
    """1536000000 is 1.5 GB."""
    units = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")
    power = min(int(math.log10(max(size, 1))) // 3, len(units) - 1)
    return f"{size / 1000**power:,.3g} {units[power]}"
