"""The search for changes of a bundle under which an entry is its gradient.

References are compared up to scale, so a change and a scale (a descent that was called an ascent, a
sum that was called a mean) are seen together. Single changes come first, then numbers that no list
has, then two changes at a time, then estimators that are slow.
"""

import itertools
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
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
)
from metarl.identify.parameter_layouts import layout_variants
from metarl.identify.policy_changes import (
    action_mean_variants,
    activation_variants,
    std_variants,
)
from metarl.identify.references import (
    ALONE,
    MOST_STEPS,
    gradients_of_all,
    groups,
    step_count,
)
from metarl.identify.scores import LinearPolicy
from metarl.identify.variants import Variant

Kind = Callable[[Bundle], Iterator[Variant]]

POLICY_KINDS: dict[str, Kind] = {
    "parameter layouts": layout_variants,
    "activations": activation_variants,
    "clamped stds": std_variants,
    "log pi averaged over actions": action_mean_variants,
}
LOSS_KINDS: dict[str, Kind] = {
    "padding": padding_variants,
    "sums for means": sum_variants,
    "inner learning rates": learning_rate_variants,
    "normalized advantages": normalized_variants,
}
"""From a bundle to its variants, in the order in which they are tried and, two at a time, made."""

FAMILIES = ("std_clamped", "inner_learning_rate")
"""Changes by a number that is fitted where no list has it."""

STARTS = 3
"""Families and entries for which a number is fitted, nearest first."""

AROUND = np.linspace(-0.6, 0.6, 13)
"""Numbers around the one of a list that are tried before the fit: as far as halfway to the next."""

BETWEEN = 10.0
"""Seconds between two lines of progress on one kind of change."""

SECONDS = 300.0
"""After which the search stops and says what it leaves out."""


class Outcome(NamedTuple):
    """A variant with the entry that comes nearest under it."""

    variant: Variant
    entry: str
    residual: float
    scale: float


class Search:
    """What was tried up to a point in time.

    Args:
      tolerance: the largest residual of a fit.
      seconds: from now on.

    Attributes:
      deadline: when to stop, on the monotonic clock.
      outcomes: of everything tried.
      left_out: kinds of changes that there was no time for, in words.
    """

    def __init__(self, tolerance: float, seconds: float):
        self.tolerance = tolerance
        self.deadline = time.monotonic() + seconds
        self.outcomes: list[Outcome] = []
        self.left_out: list[str] = []

    def fits(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.residual <= self.tolerance]

    def is_over(self) -> bool:
        """Whether something fits and leaves no scale but a sign to explain."""
        return any(is_one(abs(outcome.scale), self.tolerance) for outcome in self.fits())

    def run(self, what: str, work: Iterable[Callable[[], list[Outcome]]]) -> None:
        """Does the parts of the work one after another, up to a fit, as long as there is time.

        A part is not started where the one before it took longer than there is time left.
        """
        last, told = 0.0, -math.inf
        for part in work:
            if self.is_over():
                return
            started = time.monotonic()
            left = self.deadline - started
            if left <= last:
                self.left_out.append(what)
                return
            if started - told >= BETWEEN:
                told = started
                said = f"metarl: trying {what}, at most {left:.0f} s more"
                print(said, file=sys.stderr, flush=True)
            self.outcomes += part()
            last = time.monotonic() - started


def search(bundle: Bundle, tolerance: float, seconds: float = SECONDS) -> Search:
    """Tries changes, up to one that fits and leaves no scale but a sign.

    Args:
      bundle: of which no entry matches.
      tolerance: the largest residual of a fit.
      seconds: how long; the part that is being computed then is finished.
    """
    done = Search(tolerance, seconds)
    entries = [entry for name, entry in CATALOGUE.items() if name not in ALONE]
    alone = [CATALOGUE[name] for name in ALONE if name in CATALOGUE]
    of_scores = isinstance(bundle.policy, LinearPolicy)  # whose network is not in the bundle
    changes = LOSS_KINDS if of_scores else POLICY_KINDS | LOSS_KINDS
    for name, kind in changes.items():
        done.run(name, portions(kind(bundle), entries))
        if done.is_over():
            return done
    if done.fits():
        return done
    done.run("fitted numbers", fitted(done.outcomes, entries, done.deadline))
    if not done.fits():
        many = len(done.outcomes)
        pairs = itertools.combinations(changes.values(), 2)
        variants = itertools.chain.from_iterable(two(bundle, *pair) for pair in pairs)
        done.run("two changes at a time", portions(variants, entries))
        if not done.fits():
            more = fitted(done.outcomes[many:], entries, done.deadline)
            done.run("fitted numbers of two changes", more)
    if not done.fits() and not of_scores:
        firsts = [variant for kind in POLICY_KINDS.values() for variant in kind(bundle)]
        done.run("estimators of one bundle at a time", portions(firsts, alone, one_by_one=True))
    return done


def two(bundle: Bundle, first: Kind, second: Kind) -> Iterator[Variant]:
    """Both changes, for every bundle that the first one makes."""
    firsts = {}
    for variant in first(bundle):
        firsts.setdefault(id(variant.bundle), variant)
    for one in firsts.values():
        for other in second(one.bundle._replace(gradient=one.gradient)):
            detail = f"{one.detail}, and {other.detail}"
            yield other._replace(changes=one.changes + other.changes, detail=detail)


def portions(
    variants: Iterable[Variant], entries: Sequence[Estimator], one_by_one: bool = False
) -> Iterator[Callable[[], list[Outcome]]]:
    """Variants of one policy, as many as are computed together, to be evaluated one after another.

    Those of one bundle stay together; no part is more than one computation, so that the clock is
    read after each.
    """

    def parts(bundles: dict[int, list[Variant]]) -> Iterator[Callable]:
        together = list(itertools.chain(*bundles.values()))
        steps = step_count(together[0].bundle)
        for group in groups(entries, max(1, MOST_STEPS // (steps * len(bundles)))):
            yield partial(evaluate, together, group)

    by_policy = {}
    for variant in variants:
        bundles = by_policy.setdefault(variant.bundle.policy, {})
        steps = step_count(variant.bundle)
        many = 1 if one_by_one else max(1, MOST_STEPS // steps)
        if len(bundles) >= many and id(variant.bundle) not in bundles:
            yield from parts(bundles)
            bundles.clear()
        bundles.setdefault(id(variant.bundle), []).append(variant)
    for bundles in by_policy.values():
        yield from parts(bundles)


def evaluate(variants: Sequence[Variant], entries: Sequence[Estimator]) -> list[Outcome]:
    """Every variant with its nearest entry; the variants are of one policy."""
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


def fitted(
    outcomes: Sequence[Outcome], entries: Sequence[Estimator], deadline: float
) -> Iterator[Callable[[], list[Outcome]]]:
    """Numbers that no list has, from the nearest outcomes of every family and entry."""
    # rounded, so that entries that agree stand in the catalogue's order
    ordered = sorted(outcomes, key=lambda one: round(one.residual, 10))
    for change in FAMILIES:
        starts = {}
        for outcome in ordered:
            variant = outcome.variant
            if variant.family is not None and change in variant.changes:
                starts.setdefault((variant.changes, variant.family.name, outcome.entry), outcome)
        for start in itertools.islice(starts.values(), STARTS):
            yield partial(_fitted, start, entries, deadline)


def _fitted(start: Outcome, entries: Sequence[Estimator], deadline: float) -> list[Outcome]:
    """The number that brings an entry nearest; then of the entry that is nearest there, and so on.

    Among the numbers of a list an entry like the one that is looked for may come nearer.
    """
    variant, family = start.variant, start.variant.family

    def at(x: np.ndarray) -> Bundle:
        return family.at(float(x[0]))._replace(gradient=variant.gradient)

    around = family.start + AROUND
    bundles = [family.at(x) for x in around]
    (references,) = gradients_of_all(bundles, [CATALOGUE[start.entry]]).values()
    x = around[np.argmin([residual(variant.gradient, row) for row in references])]
    outcomes, tried = [start], []
    while outcomes[-1].entry not in tried:
        tried.append(outcomes[-1].entry)
        (x,) = fit_numbers(at, CATALOGUE[tried[-1]], [x], any_scale=True, deadline=deadline)
        detail = variant.detail.replace(family.detail(family.start), family.detail(x))
        outcomes += evaluate([variant._replace(detail=detail, bundle=family.at(x))], entries)
    return outcomes[1:]
