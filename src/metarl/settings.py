"""What a training run depends on. Imports no TensorFlow: the command line starts at once."""

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args, get_origin, get_type_hints

from metarl import environments
from metarl.errors import InputError

Averaging = Literal["steps", "trajectories"]
OuterOptimizer = Literal["adam", "trpo"]
Activation = Literal["tanh", "relu"]
StateWeighting = Literal["discounted", "uniform"]
Baseline = Literal["random", "oracle"]


class InnerSettings(NamedTuple):
    """How a task adapts.

    Attributes:
      learning_rate: eta, the inner learning rate.
      averaging: "steps" (mean over all steps, as published code) or "trajectories" (sum over
        steps, as papers).
    """

    learning_rate: float
    averaging: Averaging


class AdvantageSettings(NamedTuple):
    """How advantages are estimated.

    Attributes:
      discount: gamma, in (0, 1].
      gae_lambda: lambda of Schulman et al. 2016, in [0, 1].
      state_weighting: "discounted", step t counts gamma^t as in the gradient of the discounted
        objective; or "uniform", every step counts alike, as in published code (Thomas 2014, "Bias
        in natural actor-critic algorithms").
    """

    discount: float
    gae_lambda: float
    state_weighting: StateWeighting = "discounted"


@dataclass(frozen=True)
class TrainingSettings:
    """One run: everything that its result depends on. Letters: K tasks, N trajectories, T steps."""

    environment: str
    """Environment, a name of `metarl.environments.NAMES`, or package.module:Class."""
    estimator: str
    """Estimator of the meta-gradient, a name of `metarl estimators`."""
    algorithm: str
    """Name of estimator plus outer optimizer plus settings, for tables and figures."""
    seed: int = 0
    """Seed of every random stream of the run."""
    iterations: int = 100
    """Meta-iterations; each takes (inner steps + 1 + left out) x K x N x T environment steps."""
    tasks: int = 20
    """K, tasks an iteration."""
    trajectories: int = 20
    """N, trajectories a task and inner step: the inner sample size."""
    horizon: int = 100
    """T, steps a trajectory."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Widths of the policy's hidden layers."""
    activation: Activation = "tanh"
    """Of the hidden layers: tanh (ProMP), or relu (Finn et al. 2017)."""
    inner_steps: int = 1
    """S, policy-gradient steps of adaptation."""
    inner_learning_rate: float = 0.1
    """eta, on the gradient averaged as below."""
    averaging: Averaging = "steps"
    """Mean over all steps (published code), or over trajectories of sums over steps (papers)."""
    discount: float = 0.99
    """gamma."""
    gae_lambda: float = 1.0
    """lambda of generalized advantage estimation."""
    state_weighting: StateWeighting = "discounted"
    """discounted: the advantage of step t counts gamma^t, as in the objective's gradient. uniform:
    it counts 1 (published code); for advantage-based estimators, since the rewards of dice and
    leave_one_out keep their gamma^t."""
    outer_optimizer: OuterOptimizer = "adam"
    """adam (VPG with one epoch, PPO with several), or trpo."""
    outer_learning_rate: float = 1e-3
    """Adam's step size."""
    outer_epochs: int = 1
    """Adam steps on each iteration's data; from the second on, off policy. 1 with trpo."""
    clip: float = 0.3
    """PPO's clipping of the post-update likelihood ratios, which Adam's later epochs need."""
    inner_kl_coefficient: float = 0.0
    """Weight of the KL divergence from the policy that acted, mean over inner steps (ProMP). 0 with
    trpo."""
    inner_kl_target: float = 0.0
    """Inner KL divergence that ProMP's rule steers the coefficient to; 0 leaves it fixed."""
    trust_region: float = 0.01
    """TRPO's largest mean KL divergence of a step."""
    fisher_stride: int = 1
    """TRPO's products with the Fisher matrix see one step of so many: 1, all (Finn et al. 2017); 5
    in openai/baselines, trpo_mpi.py; a tenth of the data in Schulman's thesis (EECS-2016-217).
    The line search sees all."""
    left_out: int = 0
    """Of leave_one_out: trajectories of an inner sample without which the outer batch is simulated
    again. 0: importance weights stand for that."""

    def __post_init__(self):
        require_types(self)
        environments.entry_point(self.environment)  # there is such an environment
        for name in (
            "iterations",
            "tasks",
            "trajectories",
            "horizon",
            "inner_steps",
            "outer_epochs",
        ):
            require(getattr(self, name) >= 1, name, getattr(self, name), "an integer >= 1")
        require_seed(self.seed)
        require(
            all(width >= 1 for width in self.hidden_sizes),
            "hidden_sizes",
            self.hidden_sizes,
            "integers >= 1",
        )
        for name in ("inner_learning_rate", "outer_learning_rate", "clip", "trust_region"):
            value = getattr(self, name)
            require(math.isfinite(value) and value > 0, name, value, "a positive number")
        require(0 < self.discount <= 1, "discount", self.discount, "a number in (0, 1]")
        require(0 <= self.gae_lambda <= 1, "gae_lambda", self.gae_lambda, "a number in [0, 1]")
        for name in ("inner_kl_coefficient", "inner_kl_target"):
            value = getattr(self, name)
            require(math.isfinite(value) and value >= 0, name, value, "a number >= 0")
        if self.outer_optimizer == "trpo":
            given = (self.outer_epochs, self.inner_kl_coefficient)
            allowed = "1 and 0: trpo takes one step and has a trust region of its own"
            require(given == (1, 0), "outer_epochs, inner_kl_coefficient", given, allowed)
        if self.inner_kl_target > 0:
            value = self.inner_kl_coefficient
            require(
                value > 0,
                "inner_kl_coefficient",
                value,
                "a number > 0 to start inner_kl_target from",
            )

        allowed = f"an integer from 1 to horizon, {self.horizon}"
        require(
            1 <= self.fisher_stride <= self.horizon, "fisher_stride", self.fisher_stride, allowed
        )
        allowed = f"an integer from 0 to trajectories, {self.trajectories}"
        require(0 <= self.left_out <= self.trajectories, "left_out", self.left_out, allowed)
        if self.left_out > 0:
            given, allowed = self.outer_epochs, "1: what is simulated holds for the first one"
            require(given == 1, "outer_epochs, with left_out,", given, allowed)

    @property
    def rollouts_an_iteration(self) -> int:
        """Of K x N trajectories each."""
        return self.inner_steps + 1 + self.left_out

    @property
    def steps_an_iteration(self) -> int:
        """Environment steps of a meta-iteration."""
        return self.rollouts_an_iteration * self.tasks * self.trajectories * self.horizon

    @property
    def inner(self) -> InnerSettings:
        return InnerSettings(self.inner_learning_rate, self.averaging)

    @property
    def advantage(self) -> AdvantageSettings:
        return AdvantageSettings(self.discount, self.gae_lambda, self.state_weighting)


def require_types(settings: object) -> None:
    """Raises InputError for a field of a dataclass that is not of its declared type.

    Configurations and stored settings hold whatever YAML and JSON can say; a whole number stands
    for a float, a list for a tuple.
    """
    for name, kind in get_type_hints(type(settings)).items():
        value = getattr(settings, name)
        if get_origin(kind) is Literal:
            if value not in get_args(kind):
                choices = " or ".join(map(repr, get_args(kind)))
                raise InputError(f"{name} is {value!r}; choose {choices}")
        elif get_origin(kind) is tuple:
            item, _ = get_args(kind)
            holds = isinstance(value, tuple | list) and all(_is_of(x, item) for x in value)
            require(holds, name, repr(value), f"a list, every entry {_TYPES[item][1]}")
        else:
            require(_is_of(value, kind), name, repr(value), _TYPES[kind][1])


_TYPES = {
    int: (numbers.Integral, "an integer"),
    float: (numbers.Real, "a number"),
    str: (str, "a name"),
}


def _is_of(value: object, kind: type) -> bool:
    return isinstance(value, _TYPES[kind][0]) and not isinstance(value, bool)


def require(holds: bool, name: str, value: object, allowed: str) -> None:
    """Raises InputError, naming the setting, what it is and what is allowed, unless `holds`."""
    if not holds:
        raise InputError(f"{name} is {value}; give {allowed}")


def require_seed(seed: int) -> None:
    """Raises InputError for a seed that tables and tensors, of 64-bit integers, cannot hold."""
    require(0 <= seed < 2**63, "seed", seed, "an integer >= 0 and < 2^63")


def require_list(given: str, values: Sequence, least: int | None = None) -> None:
    """Raises InputError for an empty list, a repeated entry or a number below `least`."""
    if not values:
        raise InputError(f"no {given} given; give at least one")
    if len(set(values)) < len(values):
        raise InputError(
            f"a {given} is given twice among {' '.join(map(str, values))}; give it once"
        )
    if least is not None:
        require(min(values) >= least, given, min(values), f"an integer >= {least}")
