"""Other averages, learning rates and advantages: what the losses weigh log pi by."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from metarl.identify.bundle import Bundle
from metarl.identify.variants import Family, Variant

BATCHES = {
    "the inner batches": (True, False),
    "the outer batch": (False, True),
    "both": (True,) * 2,
}
"""Whether inner and outer batches are changed."""

RATE_FACTORS = (
    *(2.0, 0.5, 5.0, 0.2),
    *(10.0**power for power in np.arange(-1.0, 1.01, 0.125) if power),
    *(10.0**power for power in (-3.0, -2.5, -2.0, -1.5, 1.5, 2.0, 2.5, 3.0)),
)
"""Of inner learning rates: those that people mistake, near enough to fit any other from. Close to 1
they stand closer, as two inner steps of a large rate leave a fit a narrow valley."""


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
    actions = max(1, bundle.steps[0]["actions"].shape[-1])  # 0 of dumped scores
    factors = {
        rows: ("sum_over_trajectories", f"a sum over {rows} trajectories in the inner loss"),
        rows * horizon: ("sum_over_trajectories", "a sum over all steps in the inner loss"),
        horizon: ("inner_learning_rate", f"{horizon} times eta: a sum over {horizon} steps"),
        actions: ("inner_learning_rate", f"{actions} times eta"),
        1.0 / actions: ("inner_learning_rate", f"eta / {actions}"),
        1.0 / rows: ("inner_learning_rate", f"eta / {rows}: averaged over trajectories twice?"),
        1.0 / horizon: ("inner_learning_rate", f"eta / {horizon}: averaged over steps twice?"),
    }
    for factor in RATE_FACTORS:
        factors.setdefault(factor, ("inner_learning_rate", f"{factor:.4g} times eta"))
    for factor, (change, detail) in factors.items():
        if factor != 1.0:
            family = rate_family(bundle, math.log(factor), detail)
            yield Variant((change,), detail, family.at(family.start), bundle.gradient, family)
    detail = "-1 times eta: an inner step of descent?"
    yield Variant(("inner_learning_rate",), detail, with_rate(bundle, -1.0), bundle.gradient)
    inner_steps = len(bundle.steps) - 1
    if inner_steps > 1:
        for number, factor in itertools.product(range(inner_steps), RATE_FACTORS):
            detail = f"{factor:.4g} times eta of inner step {number}"
            family = rate_family(bundle, math.log(factor), detail, number)
            yield Variant(
                ("inner_learning_rate",), detail, family.at(family.start), bundle.gradient, family
            )


def rate_family(bundle: Bundle, start: float, detail: str, number: int | None = None) -> Family:
    """The bundle at inner learning rates, of one inner step or of all, by their factor's log."""
    where = "" if number is None else f" of inner step {number}"
    return Family(
        f"log factor of eta{where}",
        lambda x: with_rate(bundle, math.exp(x), number),
        lambda x: detail if x == start else f"{math.exp(x):.6g} times eta{where}",
        start,
    )


def with_rate(bundle: Bundle, factor: float, number: int | None = None) -> Bundle:
    """The bundle with `factor` times the inner learning rate of one inner step, or of all.

    On what the inner loss weighs scores by, as different bundles share settings.
    """
    changed = weighed(bundle, lambda step: np.float64(factor), None)
    if number is None:
        return changed
    steps = list(bundle.steps)
    steps[number] = changed.steps[number]
    return bundle._replace(steps=steps)


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
