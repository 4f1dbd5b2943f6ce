"""The search for changes of a bundle under which an entry is its gradient.

References are compared up to scale, so a change and a scale (a descent that was called an ascent, a
sum that was called a mean) are seen together.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from metarl.estimators import CATALOGUE, Estimator
from metarl.identify.bundle import Bundle
from metarl.identify.fit import best_scale, fit_numbers, is_one, residual
from metarl.identify.loss_changes import (
    learning_rate_variants,
    normalized_variants,
    padding_variants,
    sum_variants,
    with_rate,
)
from metarl.identify.parameter_layouts import layout_variants
from metarl.identify.policy_changes import (
    action_mean_variants,
    activation_variants,
    std_variants,
    with_held_log_std,
)
from metarl.identify.references import ALONE, gradients_of_all
from metarl.identify.scores import LinearPolicy
from metarl.identify.variants import Variant

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

STARTS = 3
"""Entries for which a number that no list has is fitted, nearest first."""


class Outcome(NamedTuple):
    """A variant with the entry that comes nearest under it."""

    variant: Variant
    entry: str
    residual: float
    scale: float


def tried(bundle: Bundle, tolerance: float) -> list[Outcome]:
    """Variants kind by kind, up to one that fits and leaves no scale but a sign."""
    entries = [entry for name, entry in CATALOGUE.items() if name not in ALONE]
    outcomes = []
    if isinstance(bundle.policy, LinearPolicy):
        return outcomes  # its network, layout and outer batch are not in the bundle
    for kind in KINDS:
        outcomes += evaluate(list(kind(bundle)), entries)
        if any(
            outcome.residual <= tolerance and is_one(abs(outcome.scale), tolerance)
            for outcome in outcomes
        ):
            return outcomes
    if min(outcome.residual for outcome in outcomes) > tolerance:
        outcomes += fitted(bundle, outcomes, tolerance)
    return outcomes


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


def fitted(bundle: Bundle, outcomes: Sequence[Outcome], tolerance: float) -> list[Outcome]:
    """Clamped stds and inner learning rates that no list has, from the nearest that were tried."""
    results = []
    for change in ("std_clamped", "inner_learning_rate"):
        by_entry = {}
        for outcome in sorted(outcomes, key=lambda one: one.residual):
            if change in outcome.variant.changes and outcome.variant.number is not None:
                by_entry.setdefault(outcome.entry, outcome)
        for name, start in list(by_entry.items())[:STARTS]:
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
