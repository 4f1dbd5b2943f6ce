"""Claims on the exact audit, which has no sampling noise.

So a criterion is held against the slope itself (`metarl.results.rates`); the interval beside it
says how straight the line is.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from metarl.claims.model import (
    GRADIENT,
    REPORTED,
    UNBIASED,
    UNTESTED,
    Claim,
    Criterion,
    Evidence,
    Measurement,
    audited,
    judge,
)
from metarl.results import rates

WITH_BIAS_FLOOR = ("maml", "fomaml", "lvc", "emaml")  # possibly: which do is measured
PRACTICAL = ("dice", *WITH_BIAS_FLOOR)

SLOPES = {
    "relative_bias": "slope of the relative bias",
    "variance": "slope of the variance",
    "inner_variance": "slope of the inner variance",
}


def unbiased_variance(evidence: Evidence) -> Claim:
    low = evidence.criteria.variance_slope_unbiased_min
    high = evidence.criteria.variance_slope_unbiased_max
    measurements = []
    for problem in evidence.problems:
        measurements += [
            slope(evidence, problem, UNBIASED, "variance", lambda value: low <= value <= high),
            largest_bias(evidence, problem, UNBIASED),
        ]
    return _exact_claim(
        evidence,
        [UNBIASED],
        id="1",
        statement="Unbiased meta-gradient estimates have variance Theta(N).",
        source="paper",
        criterion=f"slope of the variance in [{low:g}, {high:g}], on each problem",
        measurements=measurements,
    )


def lsf_bias(evidence: Evidence) -> Claim:
    bound = evidence.criteria.lsf_bias_slope_max
    return _exact_claim(
        evidence,
        ["lsf"],
        id="2-bias",
        statement="The linearized score function estimate (LSF) has bias O(1/sqrt N).",
        source="paper",
        criterion=f"slope of the relative bias <= {bound:g}, on each problem",
        measurements=[
            slope(evidence, problem, "lsf", "relative_bias", lambda value: value <= bound)
            for problem in evidence.problems
        ],
        remarks=["O(1/sqrt N) is an upper bound: a bias that falls faster fulfils it."],
    )


def lsf_variance(evidence: Evidence) -> Claim:
    bound = evidence.criteria.lsf_variance_slope_max
    return _exact_claim(
        evidence,
        ["lsf"],
        id="2-variance",
        statement="LSF has variance O(1/N).",
        source="paper",
        criterion=f"slope of the variance <= {bound:g}, on each problem",
        measurements=[
            slope(evidence, problem, "lsf", "variance", lambda value: value <= bound)
            for problem in evidence.problems
        ],
    )


def practical_variants(evidence: Evidence) -> Claim:
    bias = evidence.criteria.lsf_bias_slope_max
    variance = evidence.criteria.practical_variance_slope_max
    measurements = []
    for problem in evidence.problems:
        measurements += [
            slope(evidence, problem, "dice", "relative_bias", lambda value: value <= bias),
            *(
                slope(evidence, problem, name, "variance", lambda value: value <= variance)
                for name in PRACTICAL
            ),
            *(bias_floor(evidence, problem, name, bias) for name in WITH_BIAS_FLOOR),
        ]
    floors = [f"{one.subject} ({one.place})" for one in measurements if "; bias floor" in one.note]
    return _exact_claim(
        evidence,
        PRACTICAL,
        id="3-exact",
        statement="Practical algorithms implement variants of LSF: biased, with its low variance.",
        source="paper",
        criterion=(
            f"slope of the variance <= {variance:g} for {', '.join(PRACTICAL)}; dice with the"
            f" bias of LSF too, slope of the relative bias <= {bias:g}; on each problem"
        ),
        measurements=measurements,
        remarks=[
            (
                f"A bias floor is a slope of the relative bias above {bias:g}: the bias does not"
                " vanish at the rate that the paper gives LSF. Floors are reported, not judged."
            ),
            f"Bias floors found: {', '.join(floors) or 'none'}.",
        ],
    )


def leave_one_out(evidence: Evidence) -> Claim:
    bias = evidence.criteria.leave_one_out_relative_bias_max
    variance = evidence.criteria.leave_one_out_variance_slope_max
    name = "leave_one_out"
    measurements = []
    for problem in evidence.problems:
        measurements += [
            largest_bias(evidence, problem, name, lambda value: value <= bias),
            slope(evidence, problem, name, "variance", lambda value: value <= variance),
        ]
    return _exact_claim(
        evidence,
        [name],
        id="leave-one-out",
        statement="The leave-one-out estimate is exactly unbiased, with variance O(1/N).",
        source="ours",
        criterion=(
            f"relative bias <= {bias:g} at every N and slope of the variance <= {variance:g},"
            " on each problem"
        ),
        measurements=measurements,
    )


def lsf_bias_is_sharper(evidence: Evidence) -> Claim:
    bound = evidence.criteria.lsf_bias_slope_max
    return _exact_claim(
        evidence,
        ["lsf"],
        id="lsf-bias-rate",
        statement="Where V is smooth, the bias of LSF is O(1/N): sharper than the paper's bound.",
        source="ours",
        criterion=(
            f"whole interval of the slope of the relative bias below {bound:g}, on each problem"
        ),
        measurements=[
            *(
                whole_slope_below(evidence, problem, "lsf", "relative_bias", bound)
                for problem in evidence.problems
            ),
            *(
                reported_slope(evidence, problem, "lsf2", "relative_bias")
                for problem in evidence.problems
            ),
        ],
        remarks=[
            (
                "The criterion judges `sharper`; O(1/N) is a slope of -1, to compare with. lsf2,"
                " the second-order expansion, has O(1/N^2): a slope of -2, reported beside it."
            ),
            (
                "Why no smooth policy approaches the bound: the bias is a sum over i of"
                " E[s_i (V(theta') - V(theta'_{-i}) - (eta/N) f_i . v)]. With a bounded second"
                " derivative of V each of the N terms is O(1/N^2). A bias of order 1/sqrt N needs"
                " a V with a kink in theta', which no smooth policy in a finite problem has."
            ),
        ],
    )


def baseline(evidence: Evidence) -> Claim:
    bound = evidence.criteria.baseline_variance_slope_max
    name = "unbiased_baseline"
    measurements = []
    for problem in evidence.problems:
        measurements += [
            slope(evidence, problem, name, "variance", lambda value: value <= bound),
            largest_bias(evidence, problem, name),
        ]
    return _exact_claim(
        evidence,
        [name],
        id="baseline",
        statement="A baseline alone takes the variance of the unbiased estimate to O(1).",
        source="ours",
        criterion=f"slope of the variance <= {bound:g}, on each problem",
        measurements=measurements,
    )


def _exact_claim(evidence: Evidence, estimators: Sequence[str], **fields) -> Claim:
    """A Claim with what all claims on the exact audit share."""
    return Claim(
        estimand=GRADIENT,
        level="exact",
        figure="exact_audit",
        commands=audit_commands(evidence, estimators),
        **fields,
    )


def audit_commands(evidence: Evidence, estimators: Sequence[str]) -> list[str]:
    """One `metarl audit exact` a problem, at the sample sizes that were audited."""
    commands = []
    for problem, rows in evidence.exact.groupby("problem"):
        sizes = " ".join(map(str, np.sort(rows["sample_size"].unique())))
        commands.append(
            f"metarl audit exact --problem {problem} --estimators {' '.join(estimators)}"
            f" --sample-sizes {sizes} --output {problem}.parquet"
        )
    return commands


def slope(
    evidence: Evidence, problem: str, estimator: str, column: str, holds: Criterion | None = None
) -> Measurement:
    """The slope of `column` against N on log-log axes, judged by `holds` if there is one."""
    rows = audited(evidence.exact, problem, estimator)
    return slope_of(rows, problem, estimator, column, evidence.criteria.confidence, holds)


def slope_of(
    rows: pd.DataFrame,
    problem: str,
    estimator: str,
    column: str,
    confidence: float,
    holds: Criterion | None = None,
) -> Measurement:
    """The same of given rows of any audit; REPORTED without a criterion, UNTESTED without a slope.

    Args:
      rows: of one estimator on one problem.
      problem, estimator: of the rows, which may be none.
      column: a key of SLOPES.
      confidence: of the interval, which says how straight the line is.
      holds: the criterion.
    """
    measurement = Measurement(problem, estimator, SLOPES[column], UNTESTED)
    if rows.empty:
        return replace(measurement, note="not in the audit")
    rate = rates.fit(rows["sample_size"], rows[column], confidence)
    if rate.points < 2:
        return replace(measurement, note="one sample size: a slope needs two")
    note = f"N = {rate.first} to {rate.last}"
    if not math.isfinite(rate.slope):
        return replace(measurement, note=f"{note}: a value that is not positive has no logarithm")
    outcome = REPORTED if holds is None else judge(holds(rate.slope))
    return replace(
        measurement, outcome=outcome, value=rate.slope, low=rate.low, high=rate.high, note=note
    )


def whole_slope_below(
    evidence: Evidence, problem: str, estimator: str, column: str, bound: float
) -> Measurement:
    """`slope`, which holds if its whole interval lies below `bound`."""
    measurement = slope(evidence, problem, estimator, column)
    if measurement.outcome == UNTESTED:
        return measurement
    if not math.isfinite(measurement.high):
        note = "an interval needs three sample sizes"
        return replace(measurement, outcome=UNTESTED, note=note)
    return replace(measurement, outcome=judge(measurement.high < bound))


def reported_slope(evidence: Evidence, problem: str, estimator: str, column: str) -> Measurement:
    """`slope`, beside the criterion; that there is none leaves no claim untested."""
    return replace(slope(evidence, problem, estimator, column), outcome=REPORTED)


def bias_floor(evidence: Evidence, problem: str, estimator: str, bound: float) -> Measurement:
    """Reports the slope of the relative bias, which is a floor if it is above `bound`."""
    measurement = reported_slope(evidence, problem, estimator, "relative_bias")
    if not math.isfinite(measurement.value):
        return measurement
    largest = audited(evidence.exact, problem, estimator)["relative_bias"].iloc[-1]
    kind = "bias floor" if measurement.value > bound else "no bias floor"
    note = f"{measurement.note}; {kind}: {largest:.1e} at the largest N"
    return replace(measurement, note=note)


def largest_bias(
    evidence: Evidence, problem: str, estimator: str, holds: Criterion | None = None
) -> Measurement:
    """The largest relative bias over all N, judged by `holds` if there is one."""
    values = audited(evidence.exact, problem, estimator)["relative_bias"].to_numpy(float)
    measurement = Measurement(
        place=problem,
        subject=estimator,
        quantity="largest relative bias",
        outcome=REPORTED if holds is None else UNTESTED,
        form=".1e",
    )
    if not values.size:
        return replace(measurement, note="not in the audit")
    if not np.isfinite(values).all():
        return replace(measurement, note="a value is not finite")
    largest = float(values.max())
    outcome = REPORTED if holds is None else judge(holds(largest))
    return replace(measurement, value=largest, outcome=outcome)
