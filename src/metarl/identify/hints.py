"""What is wrong with a gradient that no entry matches: changes under which one would.

A change is a scale of the gradient, or another bundle: the same data in another layout, with other
weights of its steps, or of another policy. References are compared up to scale, so a change and a
scale (a descent that was called an ascent, a sum that was called a mean) are seen together.
"""

import itertools
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from metarl.estimators import CATALOGUE, Estimator
from metarl.identify.bundle import Bundle
from metarl.identify.fit import best_scale, fit_numbers, residual
from metarl.identify.references import ALONE, gradients_of_all
from metarl.identify.scores import LinearPolicy
from metarl.policies import (
    GaussianMLPPolicy,
    HeldStdGaussianMLPPolicy,
    SoftmaxMLPPolicy,
)

NEAR = 3
"""How many changes that do not fit are named, nearest first, where none fits."""

BATCHES = {
    "the inner batches": (True, False),
    "the outer batch": (False, True),
    "both": (True,) * 2,
}
"""Whether inner and outer batches are changed."""


class Hint(NamedTuple):
    """A change of the bundle, and how near its nearest entry is then.

    Attributes:
      change: sign, scale, sum_over_tasks, sum_over_trajectories, transposed_kernels, log_std_first,
        inner_learning_rate, action_mean, padding, activation, advantages_normalized, std_clamped.
      entry: the nearest entry after the change.
      residual: |g - s reference| / |g| after it, at the best scale s.
      detail: the change in words.
    """

    change: str
    entry: str
    residual: float
    detail: str


class Variant(NamedTuple):
    """A changed bundle.

    Attributes:
      changes: one or several names of `Hint.change`.
      detail: in words.
      bundle: the data; those of one kind differ in numbers alone and are computed together.
      gradient: [P], what to compare with it.
      number: the one that was tried, where any might be it.
    """

    changes: tuple[str, ...]
    detail: str
    bundle: Bundle
    gradient: np.ndarray
    number: float | None = None


class Outcome(NamedTuple):
    """A variant with the entry that comes nearest under it."""

    variant: Variant
    entry: str
    residual: float
    scale: float


def find_hints(
    bundle: Bundle,
    residuals: Mapping[str, float],
    scales: Mapping[str, float],
    tolerance: float,
) -> list[Hint]:
    """Changes under which an entry fits, best first; where none does, the nearest ones.

    Args:
      bundle: of which no entry matches.
      residuals: by entry, nearest first, as given.
      scales: by entry, as given.
      tolerance: the largest residual of a fit.
    """
    nearest = next(iter(residuals))
    if residuals[nearest] <= tolerance:
        return scale_hints(bundle, nearest, residuals[nearest], scales[nearest], tolerance)
    print(
        "metarl: nothing matches as given; trying layouts, averages, learning rates and policies",
        file=sys.stderr,
        flush=True,
    )
    outcomes = tried(bundle, tolerance)
    fits = [outcome for outcome in outcomes if outcome.residual <= tolerance]
    if not fits:
        nearer = [outcome for outcome in outcomes if outcome.residual < residuals[nearest]]
        nearer.sort(key=lambda outcome: outcome.residual)
        return _first_of_each([hint for outcome in nearer for hint in _as_hints(outcome)])[:NEAR]
    # the fewest changes first; among those, one that leaves no scale to explain
    fits.sort(key=lambda one: (len(one.variant.changes), not _is_one(abs(one.scale), tolerance)))
    best = fits[0]
    hints = [hint for outcome in fits for hint in _as_hints(outcome)]
    hints += scale_hints(bundle, best.entry, best.residual, best.scale, tolerance)
    return _first_of_each(hints)


def tried(bundle: Bundle, tolerance: float) -> list[Outcome]:
    """Variants kind by kind, up to one that fits and leaves no scale but a sign."""
    entries = [entry for name, entry in CATALOGUE.items() if name not in ALONE]
    outcomes = []
    if isinstance(bundle.policy, LinearPolicy):
        return outcomes  # its network, layout and outer batch are not in the bundle
    for kind in KINDS:
        outcomes += evaluate(list(kind(bundle)), entries)
        if any(
            outcome.residual <= tolerance and _is_one(abs(outcome.scale), tolerance)
            for outcome in outcomes
        ):
            return outcomes
    if min(outcome.residual for outcome in outcomes) > tolerance:
        outcomes += fitted(bundle, outcomes, tolerance)
    return outcomes


def _as_hints(outcome: Outcome) -> list[Hint]:
    variant = outcome.variant
    return [
        Hint(change, outcome.entry, outcome.residual, variant.detail) for change in variant.changes
    ]


def _first_of_each(hints: Sequence[Hint]) -> list[Hint]:
    """The first hint of every change."""
    return list({hint.change: hint for hint in reversed(hints)}.values())[::-1]


def _is_one(scale: float, tolerance: float) -> bool:
    return abs(scale - 1.0) <= 10 * tolerance


def scale_hints(
    bundle: Bundle, entry: str, misfit: float, scale: float, tolerance: float
) -> list[Hint]:
    """What a gradient that is `scale` times an entry's may be.

    Args:
      bundle: the gradient and its data.
      entry: the entry's name.
      misfit: its residual.
      scale: the factor.
      tolerance: of the factor.
    """
    hints = []
    if scale < 0:
        hints.append(("sign", "descent?"))
    size = abs(scale)
    if not _is_one(size, tolerance):
        tasks, rows, horizon = bundle.steps[-1]["mask"].shape
        sums = [
            (tasks, ("sum_over_tasks",), f"a sum over {tasks} tasks?"),
            (rows, ("sum_over_trajectories",), f"a sum over {rows} trajectories?"),
            (
                rows * horizon,
                ("sum_over_trajectories",),
                f"a sum over {rows} trajectories of {horizon} steps?",
            ),
            (
                tasks * rows,
                ("sum_over_tasks", "sum_over_trajectories"),
                f"a sum over {tasks} tasks and {rows} trajectories?",
            ),
            (
                tasks * rows * horizon,
                ("sum_over_tasks", "sum_over_trajectories"),
                f"a sum over {tasks} tasks, {rows} trajectories and {horizon} steps?",
            ),
        ]
        named = [
            (change, detail)
            for factor, changes, detail in sums
            if _is_one(size / factor, tolerance)
            for change in changes
        ]
        hints += named or [("scale", _guess(bundle, size, tolerance))]
    return [Hint(change, entry, misfit, detail) for change, detail in hints]


def _guess(bundle: Bundle, size: float, tolerance: float) -> str:
    """What a factor that is no number of tasks or trajectories may come from."""
    tasks, rows, horizon = bundle.steps[-1]["mask"].shape
    known = {
        float(horizon): f"a sum over {horizon} steps?",
        1.0 / tasks: f"divided by {tasks} tasks twice?",
        1.0 / rows: f"divided by {rows} trajectories twice?",
        1.0 / horizon: f"divided by {horizon} steps twice?",
    }
    for factor, detail in known.items():
        if _is_one(size / factor, tolerance):
            return detail
    if size < 1:
        return f"clipped by norm (to {np.linalg.norm(bundle.gradient):.4g})?"
    return "another meta learning rate or average?"


def evaluate(variants: Sequence[Variant], entries: Sequence[Estimator]) -> list[Outcome]:
    """Every variant with its nearest entry; the variants are of one policy."""
    if not variants:
        return []
    unique = list({id(variant.bundle): variant.bundle for variant in variants}.values())
    place = {id(bundle): number for number, bundle in enumerate(unique)}
    references = gradients_of_all(unique, entries)
    outcomes = []
    for variant in variants:
        rows = {name: rows[place[id(variant.bundle)]] for name, rows in references.items()}
        rows = {name: row for name, row in rows.items() if np.isfinite(row).all()}
        if not rows:  # far too large a step: every reference overflows
            continue
        # rounded, so that the first of entries that agree is the catalogue's
        misfits = {name: round(residual(variant.gradient, row), 10) for name, row in rows.items()}
        entry = min(misfits, key=misfits.get)
        outcomes.append(
            Outcome(
                variant,
                entry,
                residual(variant.gradient, rows[entry]),
                best_scale(variant.gradient, rows[entry]),
            )
        )
    return outcomes


def layout_variants(bundle: Bundle) -> Iterator[Variant]:
    """Other orders of the numbers in parameters, in the gradient, or in both."""
    orders = layouts(bundle)
    read = {
        name: bundle._replace(
            parameters=_reordered(bundle.parameters, order),
            evaluation_parameters=_reordered(bundle.evaluation_parameters, order),
        )
        for name, order in orders.items()
    }
    for first, second in itertools.product(orders, orders):
        changes = tuple(dict.fromkeys((*first, *second)))
        if not changes:
            continue
        where = "parameters and gradient"
        if first != second:
            where = " and ".join(
                f"{' and '.join(changed).replace('_', ' ') or 'nothing'} in {name}"
                for changed, name in ((first, "parameters"), (second, "gradient"))
            )
        yield Variant(changes, where, read[first], _reordered(bundle.gradient, orders[second]))


def layouts(bundle: Bundle) -> dict[tuple[str, ...], np.ndarray]:
    """By what differs from the README's order: where each number of its order stands [P]."""
    policy, size = bundle.policy, len(bundle.gradient)
    shapes = policy.shapes
    has_log_std = isinstance(policy, GaussianMLPPolicy) and size == policy.parameter_size
    orders = {}
    for transposed, first in itertools.product((False, True), (False, True)):
        if first and not has_log_std:
            continue
        changes = ("log_std_first",) * first + ("transposed_kernels",) * transposed
        order, start = [], policy.action_size if first else 0
        for shape in shapes:
            block = np.arange(start, start + math.prod(shape))
            if transposed and len(shape) == 2:
                block = block.reshape(shape[::-1]).T.ravel()
            order.append(block)
            start += math.prod(shape)
        if first:
            order[-1] = np.arange(policy.action_size)
        orders[changes] = np.concatenate(order)[:size]
    same = np.arange(size)
    return {
        changes: order
        for changes, order in orders.items()
        if not changes or not np.array_equal(order, same)
    }


def _reordered(vector: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The numbers of `order`, then those that no dump contains (a fixed std)."""
    return np.concatenate([vector[order], vector[len(order) :]])


def weighed(
    bundle: Bundle,
    inner: Callable[[dict], np.ndarray] | None,
    outer: Callable[[dict], np.ndarray] | None,
) -> Bundle:
    """The bundle with factors, broadcastable to [K, N, T], on what its losses weigh scores by."""

    def changed(step: dict, factor: Callable[[dict], np.ndarray] | None) -> dict:
        if factor is None:
            return step
        factors = factor(step)
        names = ("advantages", "rewards", "score_rewards")
        return step | {name: factors * step[name] for name in names}

    *before, last = bundle.steps
    return bundle._replace(steps=[*(changed(step, inner) for step in before), changed(last, outer)])


def _of_batches(
    bundle: Bundle, change: str, detail: str, factor: Callable[[dict], np.ndarray]
) -> Iterator[Variant]:
    """The factor on inner batches, on the outer one and on both."""
    for batches, (inner, outer) in BATCHES.items():
        yield Variant(
            (change,),
            f"{detail}, {batches}",
            weighed(bundle, factor if inner else None, factor if outer else None),
            bundle.gradient,
        )


def padding_variants(bundle: Bundle) -> Iterator[Variant]:
    """Steps after an episode's end that count in the mean, or, without a mask, that do not."""
    masks = [step["mask"] for step in bundle.steps]
    if all(mask.all() for mask in masks):
        ended = [_until_last_signal(step) for step in bundle.steps]
        if not all(mask.all() for mask in ended):
            steps = [step | {"mask": mask} for step, mask in zip(bundle.steps, ended, strict=True)]
            yield Variant(
                ("padding",),
                "steps after the last reward and advantage left out of the mean",
                bundle._replace(steps=steps),
                bundle.gradient,
            )
        return
    yield from _of_batches(
        bundle,
        "padding",
        "padding counted in the mean",
        lambda step: step["mask"].mean(axis=(1, 2), keepdims=True),
    )
    for batches, (inner, outer) in BATCHES.items():
        last = len(bundle.steps) - 1
        steps = [
            step | {"mask": np.ones_like(step["mask"])} if (outer if s == last else inner) else step
            for s, step in enumerate(bundle.steps)
        ]
        yield Variant(
            ("padding",),
            f"mask ignored, {batches}",
            bundle._replace(steps=steps),
            bundle.gradient,
        )


def _until_last_signal(step: Mapping[str, np.ndarray]) -> np.ndarray:
    """A mask that ends each episode after its last step with a reward or an advantage."""
    signal = (step["advantages"] != 0) | (step["rewards"] != 0)
    mask = np.maximum.accumulate(signal[..., ::-1], axis=-1)[..., ::-1].astype(float)
    mask[..., 0] = 1.0
    return mask


def sum_variants(bundle: Bundle) -> Iterator[Variant]:
    """Other averages over steps of unequal episodes; of equal ones they are scales."""
    if all(step["mask"].all() for step in bundle.steps):
        return
    yield from _of_batches(
        bundle,
        "sum_over_trajectories",
        "a sum over all steps, where others have the mean",
        lambda step: step["mask"].sum(axis=(1, 2), keepdims=True),
    )
    yield from _of_batches(
        bundle,
        "padding",
        "a mean over each trajectory's steps first",
        lambda step: (
            step["mask"].sum(axis=2, keepdims=True).mean(axis=1, keepdims=True)
            / step["mask"].sum(axis=2, keepdims=True)
        ),
    )


def learning_rate_variants(bundle: Bundle) -> Iterator[Variant]:
    """Inner learning rates off by a factor, which may be a sum that should be a mean."""
    _, rows, horizon = bundle.steps[0]["mask"].shape
    actions = bundle.steps[0]["actions"].shape[-1]
    factors = {
        rows: ("sum_over_trajectories", f"a sum over {rows} trajectories in the inner loss"),
        rows * horizon: ("sum_over_trajectories", "a sum over all steps in the inner loss"),
        horizon: ("inner_learning_rate", f"{horizon} times eta: a sum over {horizon} steps"),
        actions: ("inner_learning_rate", f"{actions} times eta"),
        1.0 / actions: ("inner_learning_rate", f"eta / {actions}"),
        1.0 / rows: ("inner_learning_rate", f"eta / {rows}: averaged over trajectories twice?"),
        1.0 / horizon: ("inner_learning_rate", f"eta / {horizon}: averaged over steps twice?"),
    }
    for factor in (*(10.0**power for power in np.arange(-3.0, 3.01, 0.5)), 2.0, 0.5, 5.0, 0.2):
        factors.setdefault(factor, ("inner_learning_rate", f"{factor:.4g} times eta"))
    for factor, (change, detail) in factors.items():
        if factor != 1.0:
            data = with_rate(bundle, factor)
            yield Variant((change,), detail, data, bundle.gradient, factor)


def with_rate(bundle: Bundle, factor: float) -> Bundle:
    """The bundle with `factor` times its inner learning rate.

    On what the inner loss weighs scores by, as different bundles share settings.
    """
    return weighed(bundle, lambda step: np.float64(factor), None)


def normalized_variants(bundle: Bundle) -> Iterator[Variant]:
    """Advantages of mean 0 and standard deviation 1 within the call."""
    scopes = {"of each task": (1, 2), "of all tasks": (0, 1, 2), "of each trajectory": (2,)}
    for (scope, axes), lost in itertools.product(scopes.items(), (0, 1)):
        for batches, (inner, outer) in BATCHES.items():
            last = len(bundle.steps) - 1
            steps = [
                step | {"advantages": normalized(step, axes, lost)}
                if (outer if s == last else inner)
                else step
                for s, step in enumerate(bundle.steps)
            ]
            divisor = "n - 1" if lost else "n"
            yield Variant(
                ("advantages_normalized",),
                f"advantages {scope}, standard deviation by {divisor}, {batches}",
                bundle._replace(steps=steps),
                bundle.gradient,
            )


def normalized(step: Mapping[str, np.ndarray], axes: tuple[int, ...], lost: int) -> np.ndarray:
    """Advantages of mean 0 and standard deviation 1 over the axes, which divides by n - lost."""
    mask, advantages = step["mask"], step["advantages"]
    counts = mask.sum(axis=axes, keepdims=True)
    means = (mask * advantages).sum(axis=axes, keepdims=True) / counts
    centered = mask * (advantages - means)
    variances = (centered**2).sum(axis=axes, keepdims=True) / np.maximum(counts - lost, 1)
    return centered / (np.sqrt(variances) + 1e-8)


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
    for value in np.arange(-3.0, 2.01, 0.5):
        yield Variant(
            ("std_clamped",),
            f"log std clamped to {value:.4g}",
            with_held_log_std(own, value),
            bundle.gradient,
            value,
        )


def with_held_log_std(bundle: Bundle, value: float) -> Bundle:
    """The bundle with its policy's held log stds at `value`."""
    policy = bundle.policy

    def at(parameters: np.ndarray) -> np.ndarray:
        log_std = np.where(policy.held, value, parameters[-policy.action_size :])
        return np.concatenate([parameters[: -policy.action_size], log_std])

    return bundle._replace(
        parameters=at(bundle.parameters), evaluation_parameters=at(bundle.evaluation_parameters)
    )


KINDS = (
    layout_variants,
    padding_variants,
    activation_variants,
    learning_rate_variants,
    action_mean_variants,
    sum_variants,
    std_variants,
    normalized_variants,
)
"""From a bundle to variants of one policy, in the order in which they are tried."""


def fitted(bundle: Bundle, outcomes: Sequence[Outcome], tolerance: float) -> list[Outcome]:
    """Clamped stds and inner learning rates that no list has, from the nearest that were tried."""
    results = []
    for change in ("std_clamped", "inner_learning_rate"):
        by_entry = {}
        for outcome in sorted(outcomes, key=lambda one: one.residual):
            if change in outcome.variant.changes and outcome.variant.number is not None:
                by_entry.setdefault(outcome.entry, outcome)
        for name, start in list(by_entry.items())[:NEAR]:
            results += _fitted(bundle, change, CATALOGUE[name], start.variant)
            if results and results[-1].residual <= tolerance:
                return results
    return results


def _fitted(bundle: Bundle, change: str, entry: Estimator, start: Variant) -> list[Outcome]:
    rate = change == "inner_learning_rate"

    def at(x: np.ndarray) -> Bundle:
        number = float(x[0])
        if rate:
            return with_rate(bundle, math.exp(number))
        return with_held_log_std(start.bundle, number)

    first = math.log(start.number) if rate else start.number
    (number,) = fit_numbers(at, entry, [first], any_scale=True)
    detail = f"{math.exp(number):.6g} times eta" if rate else f"log std clamped to {number:.6g}"
    variant = Variant((change,), detail, at(np.array([number])), bundle.gradient)
    return evaluate([variant], [entry])
