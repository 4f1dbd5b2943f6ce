"""Other policies than the one that a bundle describes: activation, log pi and std."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from metarl.identify.bundle import Bundle
from metarl.identify.variants import Family, Variant
from metarl.policies import GaussianMLPPolicy, HeldStdGaussianMLPPolicy, SoftmaxMLPPolicy


def activation_variants(bundle: Bundle) -> Iterator[Variant]:
    """ReLU where the bundle says tanh, and the other way round."""
    policy = bundle.policy
    if policy.hidden_sizes:
        other = "relu" if policy.activation == "tanh" else "tanh"
        data = bundle._replace(policy=replace(policy, activation=other))
        yield Variant(("activation",), f"{other} hidden layers", data, bundle.gradient)


def action_mean_variants(bundle: Bundle) -> Iterator[Variant]:
    """log pi averaged over action dimensions, as a mean over [N, T, A] does it."""
    policy = bundle.policy
    if policy.action_size > 1 and not isinstance(policy, SoftmaxMLPPolicy):
        yield Variant(
            ("action_mean",),
            f"log pi averaged over {policy.action_size} action dimensions",
            bundle._replace(policy=ActionMeanPolicy(policy)),
            bundle.gradient,
        )


class Mean(NamedTuple):
    """A distribution whose log-probabilities are divided by the number of action dimensions."""

    distribution: Any
    size: int

    def log_prob(self, actions: Any) -> Any:
        return self.distribution.log_prob(actions) / self.size

    def kl_divergence(self, other: "Mean") -> Any:
        return self.distribution.kl_divergence(other.distribution)

    def entropy(self) -> Any:
        return self.distribution.entropy()


@dataclass(frozen=True)
class ActionMeanPolicy:
    """A policy whose log pi is the mean, not the sum, over action dimensions."""

    policy: Any

    def outputs(self, *arguments: Any) -> Any:
        return self.policy.outputs(*arguments)

    def directional(self, *arguments: Any) -> Any:
        return self.policy.directional(*arguments)

    def log_prob_change(self, *arguments: Any) -> Any:
        return self.policy.log_prob_change(*arguments) / self.policy.action_size

    def distribution(self, outputs: Any) -> Mean:
        return Mean(self.policy.distribution(outputs), self.policy.action_size)


def std_variants(bundle: Bundle) -> Iterator[Variant]:
    """Log stds that a clamp keeps from their parameter, whose gradient is 0 then."""
    policy = bundle.policy
    if type(policy) is not GaussianMLPPolicy:
        return
    held = bundle.gradient[-policy.action_size :] == 0
    if not held.any():
        return
    fixed = HeldStdGaussianMLPPolicy(
        policy.observation_size,
        policy.action_size,
        policy.hidden_sizes,
        policy.activation,
        tuple(bool(one) for one in held),
    )
    own = bundle._replace(policy=fixed)
    yield Variant(("std_clamped",), "log std held at its own value", own, bundle.gradient)
    at = partial(with_held_log_std, own)
    for value in np.arange(-3.0, 2.01, 0.5):
        family = Family("log std", at, "log std clamped to {:.6g}".format, value)
        yield Variant(("std_clamped",), family.detail(value), at(value), bundle.gradient, family)


def with_held_log_std(bundle: Bundle, value: float) -> Bundle:
    """The bundle with its policy's held log stds at `value`."""
    policy = bundle.policy

    def at(parameters: np.ndarray) -> np.ndarray:
        log_std = np.where(policy.held, value, parameters[-policy.action_size :])
        return np.concatenate([parameters[: -policy.action_size], log_std])

    return bundle._replace(
        parameters=at(bundle.parameters), evaluation_parameters=at(bundle.evaluation_parameters)
    )
