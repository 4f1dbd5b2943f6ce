"""What a claim is: a statement, the evidence, what was measured in it, and the verdict."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from metarl.claims.criteria import Criteria
from metarl.results.statistics import percentile_interval

UNBIASED = "unbiased"
WITH_BIAS_FLOOR = ("maml", "fomaml", "lvc", "emaml")  # possibly: which do is measured
PRACTICAL = ("dice", *WITH_BIAS_FLOOR)  # what published algorithms estimate
HOLDS, FAILS, UNDECIDED, REPORTED = "holds", "fails", "undecided", "reported"
LISTED_IN_SUMMARY = 4

GRADIENT = "the gradient of J_N(theta) = E[V(theta')], theta' adapted on N trajectories"
RETURN = "E[V(theta')] over the task distribution, as the mean return after adaptation"

Criterion = Callable[[float], bool]


@dataclass(frozen=True)
class Evidence:
    """Declared criteria and the tables of `metarl.results.columns`, each possibly without rows.

    Attributes:
      criteria: what claims are held against.
      exact: the judged problems of the exact audit.
      limit: what their bias and variance approach.
      sampled: the Monte Carlo and MuJoCo audits.
      convergence: SGD on finite problems.
      training: runs at the environments' own N.
      study: runs at other N.
      evaluation: held-out returns of the runs of `training`.
      published: held-out returns of runs with published settings.
      comparison: curves of a published comparison of algorithms.
    """

    criteria: Criteria
    exact: pd.DataFrame
    limit: pd.DataFrame
    sampled: pd.DataFrame
    convergence: pd.DataFrame
    training: pd.DataFrame
    study: pd.DataFrame
    evaluation: pd.DataFrame
    published: pd.DataFrame
    comparison: pd.DataFrame

    @property
    def problems(self) -> list[str]:
        """Of the exact audit."""
        return sorted(self.exact["problem"].unique())

    def places(self, level: str) -> list[str]:
        """The problems of a sampled audit: "monte_carlo" or "mujoco"."""
        return sorted(self.sampled.loc[self.sampled["level"] == level, "problem"].unique())


def audited(audit: pd.DataFrame, problem: str, estimator: str) -> pd.DataFrame:
    """The rows of one estimator on one problem of an audit, by sample size."""
    chosen = (audit["problem"] == problem) & (audit["estimator"] == estimator)
    return audit[chosen].sort_values("sample_size")


@dataclass(frozen=True)
class Measurement:
    """One number with its interval; nan where there is none.

    Attributes:
      place: the problem or environment.
      subject: the estimator, algorithm or difference of algorithms.
      quantity: what was measured.
      outcome: HOLDS; FAILS, where the evidence contradicts the criterion; UNDECIDED, where it
        cannot tell; or REPORTED for what is measured beside the criterion.
      value, low, high: the number and the ends of its interval.
      note: what a reader should know.
      form: format specification of the numbers.
    """

    place: str
    subject: str
    quantity: str
    outcome: str
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    note: str = ""
    form: str = "+z.2f"

    @property
    def number(self) -> str:
        return format(self.value, self.form) if math.isfinite(self.value) else "none"

    @property
    def interval(self) -> str:
        if not math.isfinite(self.low):
            return "none"
        return f"[{format(self.low, self.form)}, {format(self.high, self.form)}]"


def judge(fulfilled: bool | np.bool_) -> str:
    return HOLDS if fulfilled else FAILS


def judge_interval(low: float, high: float, least: float, most: float = math.inf) -> str:
    """HOLDS where the whole interval is allowed, FAILS where none of it is, else UNDECIDED."""
    if least < low and high <= most:
        return HOLDS
    return FAILS if high < least or most < low else UNDECIDED


def margin_towards(measurement: Measurement, bound: float) -> float:
    """How far the interval reaches from the value towards `bound`."""
    if measurement.value > bound:
        return measurement.value - measurement.low
    return measurement.high - measurement.value


def repetitions_needed(measurement: Measurement, bound: float, repetitions: int) -> str:
    """What a decision would take: as many repetitions as bring the end beyond `bound` to it.

    Each end of an interval nears the value with the root of their number; the value is taken as it
    is.
    """
    distance = abs(measurement.value - bound)
    if not distance > 0:
        return "no number of repetitions decides a value at the bound"
    margin = margin_towards(measurement, bound)
    return f"a decision would take about {math.ceil(repetitions * (margin / distance) ** 2)}"


def with_interval(measurement: Measurement, draws: np.ndarray, confidence: float) -> Measurement:
    """The first of `draws` as the value, with the percentile interval of the others."""
    if len(draws) < 2 or not np.isfinite(draws).all():
        return measurement
    low, high = percentile_interval(draws[1:], confidence)
    return replace(measurement, value=float(draws[0]), low=float(low), high=float(high))


@dataclass(frozen=True)
class Claim:
    """A statement, who makes it, how it is judged, and what was measured.

    Attributes:
      id: short name, also the anchor on the page.
      statement: one sentence.
      source: "paper", "ours", or another paper.
      estimand: what is estimated.
      level: "exact" (enumerated, no sampling noise), "monte carlo" (sampled tabular processes),
        "mujoco" (simulation at fixed policies), "convergence" (SGD on enumerated problems),
        "training" or "published" (training with published settings).
      criterion: in words, with the declared numbers.
      measurements: what the verdict rests on.
      figure: its name, if it shows the evidence.
      commands: what measures it again.
      remarks: what a reader should know.
    """

    id: str
    statement: str
    source: str
    estimand: str
    level: str
    criterion: str
    measurements: Sequence[Measurement] = ()
    figure: str | None = None
    commands: Sequence[str] = ()
    remarks: Sequence[str] = ()

    @property
    def judged(self) -> list[Measurement]:
        return [one for one in self.measurements if one.outcome != REPORTED]

    @property
    def verdict(self) -> str:
        """One measurement that fails decides; else more than half must hold to reproduce it."""
        outcomes = [one.outcome for one in self.judged]
        if FAILS in outcomes:
            return "not reproduced"
        return "reproduced" if 2 * outcomes.count(HOLDS) > len(outcomes) else "undecided"

    @property
    def measured(self) -> str:
        """What was measured, in one line."""
        if not self.judged:
            return "nothing"
        if len(self.judged) <= LISTED_IN_SUMMARY:
            several = len({one.subject for one in self.judged}) > 1
            numbers: dict[str, list[str]] = {}
            for one in self.judged:
                where = f"{one.place}, {one.subject}" if several else one.place
                numbers.setdefault(one.quantity, []).append(f"{one.number} ({where})")
            return "; ".join(f"{name} {', '.join(values)}" for name, values in numbers.items())
        outcomes = [one.outcome for one in self.judged]
        undecided = outcomes.count(UNDECIDED)
        return f"{outcomes.count(HOLDS)} of {len(outcomes)} hold" + (
            f", {undecided} undecided" if undecided else ""
        )
