"""Meta-training: sample tasks, adapt, sample again, estimate the meta-gradient, step.

Read `train_run` top to bottom.
"""

import contextlib
import dataclasses
import hashlib
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import gymnasium
import numpy as np
import tensorflow as tf

from metarl import checkpoints, environments
from metarl.errors import InputError, RunError, shortened
from metarl.estimators import Estimator, estimator
from metarl.memory import require_training
from metarl.optimizers.promp import LARGEST_CHANGE
from metarl.policy_files import load_policy, save_policy
from metarl.progress import Progress, announce
from metarl.results import columns
from metarl.results.writer import write_table
from metarl.settings import TrainingSettings
from metarl.storage import require_writable
from metarl.training.iteration import Iteration, MetaIteration, RunState

# above either, an initial policy is warned of
MOST_BEYOND_BOUNDS = 0.3  # of mean actions
LARGEST_STEP = 0.3  # KL of an inner step


class RunFiles(NamedTuple):
    """Where a run's results go.

    Attributes:
      output: parquet file of the learning curve.
      policy: .npz with the parameters [P] and the settings.
      tensorboard: folder of TensorBoard scalars, or None.
    """

    output: Path
    policy: Path
    tensorboard: Path | None = None

    def policy_after(self, iterations: int) -> Path:
        """Where the policy after so many iterations goes, beside the last one."""
        return self.policy.with_name(
            f"{self.policy.stem}_iteration_{iterations}{self.policy.suffix}"
        )


def train(
    settings: TrainingSettings,
    files: Sequence[RunFiles],
    checkpoint_folder: Path,
    seeds: Sequence[int] = (),
    policy_interval: int = 0,
    threads: int = 1,
    initial_policy: Path | None = None,
) -> None:
    """Trains runs that differ in their seeds, one after another; they share what is compiled.

    Of each it writes the learning curve (a row an iteration and inner step) and the policy.

    Args:
      settings: of the runs.
      files: one a seed.
      checkpoint_folder: where runs keep their checkpoints; one that was interrupted, or is to be
        longer than before, goes on from it; one that is complete is not run again.
      seeds: of the runs; none: the one of the settings.
      policy_interval: also keep the policy every so many iterations, the policy of a run that is so
        long; 0: only the last.
      threads: of the machine to use; results do not depend on it.
      initial_policy: file of the policy that they start from, in place of a random one.

    Raises:
      InputError: an unknown estimator, a path that cannot be written, sizes beyond the machine, or
        an initial policy of another network.
      PhysicsError: a simulation failed; the last good checkpoint stays.
      NonFiniteGradient: likewise for the meta-gradient.
    """
    entry = estimator(settings.estimator)
    places = [path for of_run in files for path in (of_run.output, of_run.policy)]
    places += [of_run.tensorboard / "events" for of_run in files if of_run.tensorboard]
    along = iterations_along(settings, policy_interval)
    places += [of_run.policy_after(done) for of_run in files for done in along]
    inputs = [initial_policy] if initial_policy else []
    require_writable(*places, checkpoint_folder / "checkpoint.npz", inputs=inputs)
    require_training(settings)
    initial = read_initial(initial_policy, settings) if initial_policy else None
    iterate = MetaIteration(settings, entry, threads)
    for seed, of_run in zip(seeds or [settings.seed], files, strict=True):
        train_run(iterate.of_seed(seed), entry, of_run, checkpoint_folder, policy_interval, initial)


def train_run(
    iterate: MetaIteration,
    entry: Estimator,
    files: RunFiles,
    checkpoint_folder: Path,
    policy_interval: int,
    initial: np.ndarray | None = None,
) -> None:
    """Trains one run, from the parameters `initial` [P] if there are any: see `train`."""
    settings = iterate.settings
    described = dataclasses.asdict(settings)
    state, rows, first = start(iterate, initial), [], 0
    identity, restored = resume(checkpoint_folder, settings, initial)
    checkpoint = checkpoints.checkpoint_path(checkpoint_folder, identity)
    if restored is not None:
        arrays, rows = restored
        state, first = unpack_state(arrays, like=state), int(arrays["iteration"])

    def keep(state: RunState, done: int) -> None:
        """Writes the policy that a run of `done` iterations would end with, where it is asked."""
        if done in iterations_along(settings, policy_interval):
            shorter = described | {"iterations": done}
            save_policy(state.parameters.numpy(), shorter, files.policy_after(done), initial)

    keep(state, first)  # the last one of a shorter run is one along the way of this
    with blamed_on(files.tensorboard):
        writer = files.tensorboard and tf.summary.create_file_writer(str(files.tensorboard))
    costs = [1.0] * settings.iterations
    compiled = iterate.adapt.experimental_get_tracing_count()  # by a run of another seed
    progress = Progress("iteration", costs, first, None if compiled else ["all"] * len(costs))
    for number in range(first, settings.iterations):
        before = state
        state, iteration = iterate(before, number)
        require_finite_gradient(iteration, settings, number)
        if number == 0:
            warn_of_start(
                beyond_bounds(iteration, iterate.samplers[0].environment),
                iterate.objective.step_divergence(before.parameters, iteration.shards),
            )
        effective_sample_size = math.nan
        if entry.name == "leave_one_out" and not settings.left_out:
            effective_sample_size = float(
                iterate.objective.effective_sample_size(before.parameters, iteration.shards)
            )
        latest = curve_rows(settings, number, iteration, effective_sample_size)
        rows += latest
        keep(state, number + 1)
        arrays = pack_state(state) | {"iteration": np.array(number + 1)}
        checkpoints.save(checkpoint, arrays, rows, identity)
        progress.advance(progress_text(settings, latest))
        if writer:
            with blamed_on(files.tensorboard):
                write_scalars(writer, number, latest)

    for warning in warnings_of(settings, rows):
        print(f"warning: {warning}", file=sys.stderr)
    save_policy(state.parameters.numpy(), described, files.policy, initial)
    write_table(columns.TRAINING, rows, files.output)


def iterations_along(settings: TrainingSettings, policy_interval: int) -> Sequence[int]:
    """After which iterations before the last the policy is kept too."""
    return range(policy_interval, settings.iterations, policy_interval) if policy_interval else ()


def start(iterate: MetaIteration, initial: np.ndarray | None) -> RunState:
    """The state before iteration 0: at `initial` [P], or at random parameters."""
    if initial is None:
        return iterate.start()
    parameters = tf.constant(initial)
    return RunState(parameters, iterate.optimizer.start(parameters, iterate.settings))


def read_initial(path: Path, settings: TrainingSettings) -> np.ndarray:
    """The parameters [P] in a policy's file, for a run of the same network.

    Raises:
      InputError: no policy, or one of other layers, observations or actions.
    """
    parameters, trained = load_policy(path)
    kinds = [
        (*environments.sizes(x.environment), tuple(x.hidden_sizes), x.activation)
        for x in (trained, settings)
    ]
    if kinds[0] != kinds[1]:
        theirs, ours = (
            f"{observations} observations, {actions} actions, hidden_sizes {sizes}, {activation}"
            for observations, actions, sizes, activation in kinds
        )
        raise InputError(
            f"the initial policy {str(path)!r} has {theirs}, the run {ours}; give one of the same"
        )
    return parameters


def resume(
    folder: Path, settings: TrainingSettings, initial: np.ndarray | None
) -> tuple[dict, tuple[dict[str, np.ndarray], list[dict]] | None]:
    """The run's identity, and the checkpoint of an earlier run of it, if there is one.

    A run that is to be shorter than what is there has a checkpoint of its own.
    """
    digest = None if initial is None else hashlib.sha256(initial.tobytes()).hexdigest()
    identity = checkpoints.run_identity(dataclasses.asdict(settings), digest)
    path = checkpoints.checkpoint_path(folder, identity)
    restored = checkpoints.load(path, identity)
    if restored is None or int(restored[0]["iteration"]) <= settings.iterations:
        return identity, restored
    announce(
        f"checkpoint {str(path)!r} is {int(restored[0]['iteration'])} iterations long, this run"
        f" {settings.iterations}: it is run by itself, and the longer one stays"
    )
    identity = identity | {"iterations": settings.iterations}
    return identity, checkpoints.load(checkpoints.checkpoint_path(folder, identity), identity)


class NonFiniteGradient(RunError):
    """The meta-gradient has a NaN or an infinity; the message names estimator and iteration."""


def require_finite_gradient(iteration: Iteration, settings: TrainingSettings, number: int) -> None:
    """Raises NonFiniteGradient unless the meta-gradient of every outer epoch is finite."""
    if not np.isfinite(iteration.measures.gradient_norms).all():
        raise NonFiniteGradient(
            f"{settings.algorithm} on {settings.environment}: the meta-gradient is not finite at"
            f" iteration {number}; lower outer_learning_rate (trust_region with trpo) or"
            " inner_learning_rate"
        )


def curve_rows(
    settings: TrainingSettings, number: int, iteration: Iteration, effective_sample_size: float
) -> list[dict]:
    """The rows of `columns.TRAINING` of iteration `number`, one an inner step."""
    task_returns = [
        np.concatenate([rollout.returns.mean(axis=1) for rollout in step])
        for step in zip(*iteration.rollouts, strict=True)
    ]
    return [
        {
            "algorithm": settings.algorithm,
            "environment": settings.environment,
            "estimator": settings.estimator,
            "seed": settings.seed,
            "sample_size": settings.trajectories,
            "iteration": number,
            "environment_steps": (number + 1) * settings.steps_an_iteration,
            "inner_step": inner_step,
            "mean_return": float(returns.mean()),
            "task_std": float(returns.std()),
            "gradient_norm": float(iteration.measures.gradient_norms[0]),
            "gradient_standard_error": iteration.measures.standard_error,
            "kl": iteration.measures.kl,
            "step_accepted": iteration.measures.accepted,
            "inner_kl_coefficient": iteration.measures.inner_kl_coefficient,
            "effective_sample_size": effective_sample_size,
        }
        for inner_step, returns in enumerate(task_returns)
    ]


def beyond_bounds(iteration: Iteration, environment: gymnasium.vector.VectorEnv) -> float:
    """The share of the acting policy's mean actions, before adaptation, that are clipped."""
    space = environment.single_action_space
    means = np.concatenate([rollouts[0].behaviour[0] for rollouts in iteration.rollouts])
    return float(np.mean((means < space.low) | (means > space.high)))


def warn_of_start(share: float, divergence: float) -> None:
    """Tells how an initial policy starts; warns of one that clipping or too long a step spoils."""
    print(
        f"initial policy: {share:.0%} of mean actions beyond the bounds, an inner step has a KL"
        f" divergence of {divergence:.2g}",
        file=sys.stderr,
    )
    if share > MOST_BEYOND_BOUNDS:
        print(
            f"warning: {share:.0%} of the initial policy's mean actions lie beyond the bounds of"
            " the environment, where its noise changes nothing and its gradient says little; runs"
            " that start so learned late or never: try another seed",
            file=sys.stderr,
        )
    if divergence > LARGEST_STEP:
        print(
            f"warning: an inner step of the initial policy has a KL divergence of {divergence:.2g},"
            f" above {LARGEST_STEP:g}: it throws the policy far from where its data were sampled;"
            " lower inner_learning_rate, or try another seed",
            file=sys.stderr,
        )


def warnings_of(settings: TrainingSettings, rows: list[dict]) -> list[str]:
    """What whoever reads the curve must know of the whole run."""
    warnings = []
    if settings.outer_optimizer == "trpo" and not any(row["step_accepted"] for row in rows):
        warnings.append(
            "the line search rejected every step, theta has not moved: the surrogate never rose"
            " within the trust region; raise tasks or trajectories, or change trust_region"
        )
    coefficient = rows[-1]["inner_kl_coefficient"]
    factor = coefficient / (settings.inner_kl_coefficient or math.inf)
    if settings.inner_kl_target > 0 and not 1 / LARGEST_CHANGE < factor < LARGEST_CHANGE:
        warnings.append(
            f"inner_kl_coefficient went to its bound, {coefficient:g}: the inner"
            f" steps cannot reach inner_kl_target {settings.inner_kl_target:g}; change"
            " inner_learning_rate or the target"
        )
    return warnings


def progress_text(settings: TrainingSettings, latest: list[dict]) -> str:
    """The run, and the returns before and after adaptation."""
    arrows = " -> ".join(f"{row['mean_return']:.1f}" for row in latest)
    run = f"{settings.environment} {settings.algorithm} seed {settings.seed}"
    return f"{run}, return {arrows}"


@contextlib.contextmanager
def blamed_on(folder: Path | None) -> Iterator[None]:
    """Turns what TensorFlow says of a folder that takes no more into one line."""
    try:
        yield
    except tf.errors.OpError as error:
        raise RunError(
            f"cannot write TensorBoard's scalars below {str(folder)!r}"
            f" ({shortened(error.message)}); make room, or leave --tensorboard out"
        ) from error


def write_scalars(writer: tf.summary.SummaryWriter, number: int, latest: list[dict]) -> None:
    """The iteration's returns and gradient norm, for TensorBoard."""
    with writer.as_default(step=number):
        for row in latest:
            tf.summary.scalar(f"return/inner_step_{row['inner_step']}", row["mean_return"])
        tf.summary.scalar("meta_gradient/norm", latest[0]["gradient_norm"])
    writer.flush()


def pack_state(state: RunState) -> dict[str, np.ndarray]:
    """The state as a checkpoint's arrays: theta, and the memory's tensors by number."""
    arrays = {f"memory_{i}": x.numpy() for i, x in enumerate(tf.nest.flatten(state.memory))}
    return {"parameters": state.parameters.numpy()} | arrays


def unpack_state(arrays: dict[str, np.ndarray], like: RunState) -> RunState:
    """The state that `pack_state` packed, in the structure of another one of the same run."""
    count = len(tf.nest.flatten(like.memory))
    tensors = [tf.constant(arrays[f"memory_{i}"]) for i in range(count)]
    return RunState(
        tf.constant(arrays["parameters"]), tf.nest.pack_sequence_as(like.memory, tensors)
    )
