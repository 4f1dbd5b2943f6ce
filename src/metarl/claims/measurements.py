"""Measurements: one number with its interval, and whether it fulfils a criterion.

Slopes come from `metarl.audit.rates`. The exact audit has no sampling noise, so a criterion is held
against the slope itself; the interval beside it says how straight the line is. Training has noise:
there a criterion is held against the lower end of a bootstrap interval over seeds.

A run that diverged keeps its place in every mean and pair: each of its returns that is not finite
counts as the worst finite return seen in that environment. Leaving it out would reward divergence.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from metarl.audit import rates
from metarl.figures import statistics, tables

UNBIASED = "unbiased"
PRACTICAL = ("lsf", "dice", "lvc", "maml", "fomaml", "emaml")
HOLDS, FAILS, UNTESTED, REPORTED = "holds", "fails", "untested", "reported"

SLOPES = {"relative_bias": "slope of the relative bias", "variance": "slope of the variance"}
FINAL_RETURN = "difference of final returns"
GAIN = "return after one inner step - before"
RUN = ["environment", "algorithm", "estimator", "seed"]

Criterion = Callable[[float], bool]


@dataclass(frozen=True)
class Evidence:
    """Declared criteria and the three tables of `metarl.figures.tables`, each possibly empty."""

    criteria: Mapping[str, float]
    audit: pd.DataFrame
    training: pd.DataFrame
    evaluation: pd.DataFrame

    @property
    def problems(self) -> list[str]:
        return sorted(self.audit["problem"].unique())

    def audited(self, problem: str, estimator: str) -> pd.DataFrame:
        """The rows of one estimator on one problem, by sample size."""
        chosen = (self.audit["problem"] == problem) & (self.audit["estimator"] == estimator)
        return self.audit[chosen].sort_values("sample_size")


@dataclass(frozen=True)
class Measurement:
    """One number with its interval; nan where there is none.

    Attributes:
      place: the problem or environment.
      subject: the estimator, algorithm or difference of algorithms.
      quantity: what was measured.
      outcome: HOLDS, FAILS, UNTESTED, or REPORTED for what is measured beside the criterion.
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


# On the exact audit.


def slope(
    evidence: Evidence, problem: str, estimator: str, column: str, holds: Criterion | None = None
) -> Measurement:
    """The slope of `column` against N on log-log axes, judged by `holds` if there is one."""
    found = Measurement(problem, estimator, SLOPES[column], UNTESTED)
    rows = evidence.audited(problem, estimator)
    if rows.empty:
        return replace(found, note="not in the audit")
    rate = rates.fit(rows["sample_size"], rows[column], evidence.criteria["confidence"])
    if rate.points < 2:
        return replace(found, note="one sample size: a slope needs two")
    note = f"N = {rate.first} to {rate.last}"
    if not math.isfinite(rate.slope):
        return replace(found, note=f"{note}: a value that is not positive has no logarithm")
    outcome = REPORTED if holds is None else judge(holds(rate.slope))
    return replace(
        found, outcome=outcome, value=rate.slope, low=rate.low, high=rate.high, note=note
    )


def whole_slope_below(
    evidence: Evidence, problem: str, estimator: str, column: str, bound: float
) -> Measurement:
    """`slope`, which holds if its whole interval lies below `bound`."""
    found = slope(evidence, problem, estimator, column)
    if found.outcome == UNTESTED:
        return found
    if not math.isfinite(found.high):
        return replace(found, outcome=UNTESTED, note="an interval needs three sample sizes")
    return replace(found, outcome=judge(found.high < bound))


def bias_floor(evidence: Evidence, problem: str, estimator: str, bound: float) -> Measurement:
    """Reports the slope of the relative bias, which is a floor if it is above `bound`."""
    found = slope(evidence, problem, estimator, "relative_bias")
    if not math.isfinite(found.value):
        return replace(found, outcome=REPORTED)
    largest = evidence.audited(problem, estimator)["relative_bias"].iloc[-1]
    kind = "bias floor" if found.value > bound else "no bias floor"
    return replace(found, note=f"{found.note}; {kind}: {largest:.1e} at the largest N")


def largest_bias(
    evidence: Evidence, problem: str, estimator: str, holds: Criterion | None = None
) -> Measurement:
    """The largest relative bias over all N, judged by `holds` if there is one."""
    values = evidence.audited(problem, estimator)["relative_bias"].to_numpy(float)
    found = Measurement(
        place=problem,
        subject=estimator,
        quantity="largest relative bias",
        outcome=REPORTED if holds is None else UNTESTED,
        form=".1e",
    )
    if not values.size:
        return replace(found, note="not in the audit")
    if not np.isfinite(values).all():
        return replace(found, note="a value is not finite")
    largest = float(values.max())
    return replace(
        found, value=largest, outcome=REPORTED if holds is None else judge(holds(largest))
    )


def audit_commands(evidence: Evidence, estimators: Sequence[str]) -> list[str]:
    """One `metarl audit exact` a problem, at the sample sizes that were audited."""
    commands = []
    for problem, rows in evidence.audit.groupby("problem"):
        sizes = " ".join(map(str, np.sort(rows["sample_size"].unique())))
        commands.append(
            f"metarl audit exact --problem {problem} --estimators {' '.join(estimators)}"
            f" --sample-sizes {sizes} --output {problem}.parquet"
        )
    return commands


def judge(fulfilled: bool) -> str:
    return HOLDS if fulfilled else FAILS


# On training and evaluation.


def final_return_differences(evidence: Evidence) -> list[Measurement]:
    """Final return of each practical algorithm minus each unbiased one of its environment."""
    measurements = []
    for environment, runs in final_returns(evidence.training).groupby("environment"):
        unbiased = runs[runs["estimator"] == UNBIASED]
        practical = runs[runs["estimator"].isin(PRACTICAL)]
        for kind, found in {"unbiased": unbiased, "practical": practical}.items():
            if found.empty:
                missing = Measurement(environment, f"{kind} estimate", FINAL_RETURN, UNTESTED)
                measurements.append(replace(missing, note="no training run"))
        measurements += [
            paired_difference(
                environment, f"{algorithm} - {reference}", FINAL_RETURN, first, second, evidence
            )
            for reference, second in unbiased.groupby("algorithm")
            for algorithm, first in practical.groupby("algorithm")
        ]
    return measurements


def final_returns(training: pd.DataFrame) -> pd.DataFrame:
    """One row a run: its mean_return over the last fifth of its iterations, and `diverged`."""
    post = count_divergence_as_worst(tables.post_adaptation(training)).sort_values("iteration")
    iterations = post.groupby(RUN)["iteration"]
    last = iterations.cumcount(ascending=False) < np.ceil(iterations.transform("size") / 5)
    return mean_of_runs(post[last])


def adaptation_gains(evidence: Evidence) -> list[Measurement]:
    """Return after one inner step minus before, for each environment and algorithm."""
    evaluation = count_divergence_as_worst(evidence.evaluation)
    before = mean_of_runs(evaluation[evaluation["inner_step"] == 0])
    after = mean_of_runs(evaluation[evaluation["inner_step"] == 1])
    measurements = []
    for (environment, algorithm), first in after.groupby(["environment", "algorithm"]):
        same = (before["environment"] == environment) & (before["algorithm"] == algorithm)
        measurements.append(
            paired_difference(environment, algorithm, GAIN, first, before[same], evidence)
        )
    return measurements


def count_divergence_as_worst(frame: pd.DataFrame) -> pd.DataFrame:
    """Replaces each return that is not finite by the worst finite one of its environment.

    Adds the column `diverged`. Where no return of an environment is finite, they become nan.
    """
    returns = frame["mean_return"].astype(float)
    finite = returns.where(np.isfinite(returns))
    worst = finite.groupby(frame["environment"]).transform("min")
    return frame.assign(mean_return=finite.fillna(worst), diverged=finite.isna())


def mean_of_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a run: the mean of `mean_return`, and whether any row `diverged`."""
    runs = frame.groupby(RUN, as_index=False)
    return runs.agg(mean_return=("mean_return", "mean"), diverged=("diverged", "any"))


def paired_difference(
    place: str,
    subject: str,
    quantity: str,
    first: pd.DataFrame,
    second: pd.DataFrame,
    evidence: Evidence,
) -> Measurement:
    """The mean over common seeds of `first` minus `second`; holds if its interval is above 0.

    The mean, not an interquartile mean: trimming would make a diverged seed disappear.

    Args:
      place, subject, quantity: what is measured.
      first, second: one row a run, as `mean_of_runs` gives them.
      evidence: for the confidence of the interval.
    """
    pairs = first.merge(second, on="seed", suffixes=("", "_second"))
    differences = (pairs["mean_return"] - pairs["mean_return_second"]).to_numpy(float)
    found = Measurement(place, subject, quantity, UNTESTED, form="+z.1f")
    note = _divergence_note(first, second)
    if not differences.size:
        return replace(found, note="no seed in common")
    if not np.isfinite(differences).all():
        return replace(found, note="every run diverged")
    low, high = statistics.bootstrap_interval(
        differences, statistics.mean, evidence.criteria["confidence"]
    )
    found = replace(
        found, value=float(differences.mean()), low=float(low), high=float(high), note=note
    )
    if not math.isfinite(found.low):
        few = f"{len(differences)} seed(s): an interval needs {statistics.MINIMUM_SEEDS}"
        return replace(found, note="; ".join(filter(None, [few, note])))
    return replace(found, outcome=judge(found.low > 0))


def _divergence_note(*runs: pd.DataFrame) -> str:
    together = pd.concat(runs)
    diverged = together[together["diverged"]]
    names = dict.fromkeys(f"{row.algorithm} seed {row.seed}" for row in diverged.itertuples())
    return f"diverged, counted as the worst return: {', '.join(names)}" if names else ""
