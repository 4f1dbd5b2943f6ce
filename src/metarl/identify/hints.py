"""What is wrong with a gradient that no entry matches: changes under which one would.

A change is a scale of the gradient, or another bundle: the same data in another layout, with other
weights of its steps, or of another policy (`metarl.identify.search`).
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from metarl.identify.bundle import Bundle
from metarl.identify.fit import is_one
from metarl.identify.search import Outcome, search

NEAR = 3
"""How many changes that do not fit are named, nearest first, where none fits."""


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


def find_hints(
    bundle: Bundle,
    residuals: Mapping[str, float],
    scales: Mapping[str, float],
    tolerance: float,
) -> tuple[list[Hint], list[str]]:
    """Changes under which an entry fits, best first; where none does, the nearest ones.

    Args:
      bundle: of which no entry matches.
      residuals: by entry, nearest first, as given.
      scales: by entry, as given.
      tolerance: the largest residual of a fit.

    Returns:
      The hints, and the kinds of changes that there was no time for.
    """
    nearest = next(iter(residuals))
    if residuals[nearest] <= tolerance:
        return scale_hints(bundle, nearest, residuals[nearest], scales[nearest], tolerance), []
    tried = search(bundle, tolerance)
    # the fewest changes first; among those, one that leaves no scale to explain
    fits = sorted(
        tried.fits(),
        key=lambda one: (len(one.variant.changes), not is_one(abs(one.scale), tolerance)),
    )
    if not fits:
        nearer = [outcome for outcome in tried.outcomes if outcome.residual < residuals[nearest]]
        nearer.sort(key=lambda outcome: (len(outcome.variant.changes), outcome.residual))
        return _hints_of(nearer)[:NEAR], tried.left_out
    best = fits[0]
    of_scale = scale_hints(bundle, best.entry, best.residual, best.scale, tolerance)
    return _hints_of(fits, of_scale), tried.left_out


def _hints_of(outcomes: Sequence[Outcome], more: Sequence[Hint] = ()) -> list[Hint]:
    """The first hint of every change: of the outcomes, then of the others."""
    hints = [
        Hint(change, outcome.entry, outcome.residual, outcome.variant.detail)
        for outcome in outcomes
        for change in outcome.variant.changes
    ]
    first = {}
    for hint in [*hints, *more]:
        first.setdefault(hint.change, hint)
    return list(first.values())


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
    if not is_one(size, tolerance):
        tasks, rows, horizon = averaged(bundle)
        sums = [
            ((tasks,), ("sum_over_tasks",), f"a sum over {tasks} tasks?"),
            ((rows,), ("sum_over_trajectories",), f"a sum over {rows} trajectories?"),
            (
                (rows, horizon),
                ("sum_over_trajectories",),
                f"a sum over {rows} trajectories of {horizon} steps?",
            ),
            (
                (tasks, rows),
                ("sum_over_tasks", "sum_over_trajectories"),
                f"a sum over {tasks} tasks and {rows} trajectories?",
            ),
            (
                (tasks, rows, horizon),
                ("sum_over_tasks", "sum_over_trajectories"),
                f"a sum over {tasks} tasks, {rows} trajectories and {horizon} steps?",
            ),
        ]
        named = [
            (change, detail)
            for counts, changes, detail in sums
            if min(counts) > 1 and is_one(size / math.prod(counts), tolerance)
            for change in changes
        ]
        hints += named or [("scale", _guess(bundle, size, tolerance))]
    return [Hint(change, entry, misfit, detail) for change, detail in hints]


def averaged(bundle: Bundle) -> tuple[int, int, int]:
    """Tasks, trajectories and steps of the outer mean; of the inner one where it is not dumped."""
    return bundle.steps[-1 if bundle.outer_gradient is None else 0]["mask"].shape


def _guess(bundle: Bundle, size: float, tolerance: float) -> str:
    """What a factor that is no number of tasks or trajectories may come from."""
    tasks, rows, horizon = averaged(bundle)
    known = {
        float(horizon): f"a sum over {horizon} steps?",
        1.0 / tasks: f"divided by {tasks} tasks twice?",
        1.0 / rows: f"divided by {rows} trajectories twice?",
        1.0 / horizon: f"divided by {horizon} steps twice?",
    }
    for factor, detail in known.items():
        if is_one(size / factor, tolerance):
            return detail
    if size < 1:
        return f"clipped by norm (to {np.linalg.norm(bundle.gradient):.4g})?"
    return "another meta learning rate or average?"
