"""What each audit depends on: the flags of its command. Checked here, before TensorFlow is loaded.

Convergence's stand here too: they share fields, and its own module loads TensorFlow.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from metarl.errors import InputError
from metarl.results.columns import CONFIDENCE, MINIMUM_SEEDS
from metarl.settings import require, require_list, require_seed

POINTS = ("initial", "trained")
MINIMUM_REPLICATES = 3
BIASED = ("maml", "lvc")  # whose bias, which the paper's practical algorithms keep, is measured
STATES, ACTIONS, HORIZON = 20, 5, 20  # of random MDPs: see metarl.audit.monte_carlo
RESAMPLES = 1000  # of replicates, for intervals
LARGEST = 1e100  # number of anyone's: squares of far larger ones overflow
SIMULATED = 8  # replicates that metarl.audit.mujoco simulates at a time


SHAPES = {  # of the finite problems: distinct trajectories M of a step, and inner steps
    "bandit": (3, 1),
    "chain": (4, 1),
    "long_chain": (64, 1),
    "windy": (6, 1),
    "stopping": (4, 1),
    "two_steps": (3, 2),
}
MOST_ENUMERATED = 5_000_000  # samples: minutes on one core; beyond, enumeration is not the tool
MOST_ALONG = 20_000  # samples: each is evaluated for every run at every evaluated iteration


def distinct_samples(problem: str, sample_size: int) -> int:
    """How many samples of N trajectories there are, but for their order, on a finite problem."""
    trajectories, inner_steps = SHAPES[problem.partition("-")[0]]
    return math.comb(sample_size + trajectories - 1, trajectories - 1) ** inner_steps


def require_confidence(confidence: float) -> None:
    """Raises InputError for what is no probability content of an interval."""
    require(0 < confidence < 1, "confidence", confidence, "a number in (0, 1)")


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """What every audit depends on."""

    estimators: tuple[str, ...]
    """Names of `metarl estimators`."""
    sample_sizes: tuple[int, ...]
    """The inner sample sizes N."""

    def __post_init__(self):
        require_list("estimator", self.estimators)
        require_list("sample size", self.sample_sizes, least=1)


@dataclass(frozen=True, kw_only=True)
class ExactSettings:
    """What an exact audit depends on, of catalogue entries or of anyone's gradient functions."""

    problem: tuple[str, ...]
    """Finite problems, such as bandit or chain; or random instances of one, such as chain-3."""
    sample_sizes: tuple[int, ...]
    """The inner sample sizes N."""
    estimators: tuple[str, ...] = ()
    """Names of `metarl estimators`."""
    gradient: tuple[str, ...] = ()
    """In place of estimators: anyone's functions package.module:function, in any framework, called
    as gradient(parameters [S * A], inner, outer, inner_learning_rate) -> [S * A] with dicts of
    NumPy arrays observations [N, T, S], actions [N, T, A], rewards and mask [N, T]; see
    examples/."""
    replicates: int | None = None
    """With --gradient: this many random inner samples at each N, instead of all; a problem may then
    also be random_mdp_1, random_mdp_2, ... The parquet file has intervals."""
    seed: int = 0
    """Seed of these samples."""
    confidence: float = CONFIDENCE
    """Probability content of their intervals."""

    def __post_init__(self):
        if self.gradient and self.estimators:
            raise InputError("both --estimators and --gradient given; give one of them")
        if not self.gradient and not self.estimators:
            raise InputError("no estimator given; give at least one, or a --gradient of your own")
        require_list("gradient" if self.gradient else "estimator", self.gradient or self.estimators)
        require_list("problem", self.problem)
        if self.gradient:
            number = len(self.problem)
            require(number == 1, "the number of problems", number, "one with --gradient")
        require_confidence(self.confidence)
        require_list("sample size", self.sample_sizes, least=1)
        require_seed(self.seed)
        if self.replicates is None:
            return
        if not self.gradient:
            raise InputError(
                "--replicates given without --gradient; see metarl audit monte-carlo for estimators"
            )
        allowed = f"an integer >= {MINIMUM_REPLICATES}"
        require(self.replicates >= MINIMUM_REPLICATES, "replicates", self.replicates, allowed)


@dataclass(frozen=True, kw_only=True)
class LimitSettings:
    """What an audit of the limit of large N depends on."""

    problem: tuple[str, ...]
    """Finite problems: those of `metarl audit exact`, also long_chain."""
    estimators: tuple[str, ...]
    """Names of `metarl estimators`."""

    def __post_init__(self):
        require_list("problem", self.problem)
        require_list("estimator", self.estimators)


@dataclass(frozen=True, kw_only=True)
class SampledSettings(AuditSettings):
    """What an audit with sampled inner batches depends on."""

    replicates: int
    """R, independent samples at each N."""
    seed: int = 0
    """Seed of all random streams; a random MDP is its number, whatever the seed."""
    confidence: float = CONFIDENCE
    """Probability content of the intervals."""

    def __post_init__(self):
        super().__post_init__()
        allowed = f"an integer >= {MINIMUM_REPLICATES}"
        require(self.replicates >= MINIMUM_REPLICATES, "replicates", self.replicates, allowed)
        require_seed(self.seed)
        require_confidence(self.confidence)


@dataclass(frozen=True, kw_only=True)
class MonteCarloSettings(SampledSettings):
    """What a Monte Carlo audit depends on."""

    instances: tuple[int, ...]
    """Numbers of the random MDPs."""
    replicates: int = 1024
    practical_replicates: int = 64
    """At most so many of them also measure the variance with an outer batch of N trajectories."""

    def __post_init__(self):
        super().__post_init__()
        require_list("instance", self.instances, least=0)
        count, allowed = self.practical_replicates, f"an integer >= {MINIMUM_REPLICATES}"
        require(count >= MINIMUM_REPLICATES, "practical_replicates", count, allowed)


@dataclass(frozen=True, kw_only=True)
class MujocoSettings(SampledSettings):
    """What an audit at a policy of a training run depends on."""

    policy: Path
    """File (.npz) that `metarl train` wrote; it tells environment, horizon and inner loop."""
    point: str = "trained"
    """initial, the policy that the run started from, or trained, the one it ended with."""
    horizon: int | None = None
    """Steps of an episode, in place of the run's."""
    inner_learning_rate: float | None = None
    """eta, in place of the run's."""
    replicates: int = 32
    """R, independent samples at each N; with a pilot, the most."""
    pilot: int = 0
    """Replicates of a pilot, not used again, that tells how many each N takes; 0: no pilot."""
    precision: float = 0.15
    """With a pilot: standard errors to reach, as a share of each estimator's inner variance and of
    the squared biases of maml and lvc."""
    outer_sample_size: int = 20
    """Trajectories of each outer batch and task, the same for every N."""
    tasks: int = 2
    """Tasks whose mean gradient is audited, drawn like held-out ones."""
    left_out: int = 4
    """Trajectories left out and re-simulated for the reference, of each inner sample; all N where
    there are fewer. 0: no reference, so variances alone."""

    def __post_init__(self):
        super().__post_init__()
        if self.point not in POINTS:
            raise InputError(f"point is {self.point!r}; choose one of {', '.join(POINTS)}")
        for name, least in (("outer_sample_size", 1), ("tasks", 1), ("left_out", 0)):
            value = getattr(self, name)
            require(value >= least, name, value, f"an integer >= {least}")
        if self.left_out == 0 and "leave_one_out" in self.estimators:
            raise InputError("leave_one_out needs left_out of at least 1; got 0")
        if self.horizon is not None:
            require(self.horizon >= 1, "horizon", self.horizon, "an integer >= 1")
        if (eta := self.inner_learning_rate) is not None:
            require(0 < eta < math.inf, "inner_learning_rate", eta, "a positive number")
        allowed = f"0, or an integer from {MINIMUM_REPLICATES} to replicates, {self.replicates}"
        valid = self.pilot == 0 or MINIMUM_REPLICATES <= self.pilot <= self.replicates
        require(valid, "pilot", self.pilot, allowed)
        require(0 < self.precision < math.inf, "precision", self.precision, "a positive number")


@dataclass(frozen=True, kw_only=True)
class ConvergenceSettings(AuditSettings):
    """What SGD on a finite problem depends on."""

    problem: str
    """bandit, chain or windy; or a random instance of one, such as chain-3."""
    step_sizes: tuple[float, ...]
    """The grid from which each estimator, N and epsilon gets the fastest, on seeds of their own."""
    epsilons: tuple[float, ...] = (0.05,)
    """Levels to reach, as fractions of the squared gradient norm at the start."""
    seeds: int = 32
    """Reported runs; as many others choose the step sizes."""
    iterations: int = 2048
    """Of every run."""
    ridge: float = 0.1
    """F(theta) = J_N(theta) - ridge ||theta||^2 / 2 is what ascends."""
    seed: int = 0
    """Of all random streams."""

    def __post_init__(self):
        super().__post_init__()
        for name, values in (("step size", self.step_sizes), ("epsilon", self.epsilons)):
            require_list(name, values)
            for value in values:
                require(0 < value < math.inf, name, value, "a positive number")
        for epsilon in self.epsilons:  # where every run starts
            require(epsilon < 1, "epsilon", epsilon, "a number below 1")
        require(self.seeds >= MINIMUM_SEEDS, "seeds", self.seeds, f"an integer >= {MINIMUM_SEEDS}")
        allowed = "an integer >= 1 and < 2^31"
        require(1 <= self.iterations < 2**31, "iterations", self.iterations, allowed)
        require(0 <= self.ridge < math.inf, "ridge", self.ridge, "a number >= 0")
        require_seed(self.seed)
