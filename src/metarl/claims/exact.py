"""Claims on the exact audit and on the limit audit, which have no sampling noise.

A rate is judged by its coefficient: the limit audit gives the leading term c N^s, and the
enumerated values, over N^s, approach c (theory: the distance halves with every octave of N). Slopes
at the N that can be enumerated are pictures, not criteria.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from metarl.claims.model import (
    FAILS,
    GRADIENT,
    PRACTICAL,
    REPORTED,
    UNBIASED,
    UNDECIDED,
    WITH_BIAS_FLOOR,
    Claim,
    Criterion,
    Evidence,
    Measurement,
    audited,
    judge,
)


def unbiased_variance(evidence: Evidence) -> Claim:
    measurements = []
    for problem in evidence.problems:
        measurements += [
            coefficient(evidence, problem, UNBIASED, "variance", lambda order: order == 1),
            largest_bias(evidence, problem, UNBIASED),
        ]
    return _exact_claim(
        evidence,
        [UNBIASED],
        id="1",
        statement="Unbiased meta-gradient estimates have variance Theta(N).",
        source="paper",
        criterion=(
            "a positive coefficient of N that the enumerated variance over N approaches, on each"
            f" problem; {approaches(evidence)}"
        ),
        measurements=measurements,
    )


def lsf_bias(evidence: Evidence) -> Claim:
    return _exact_claim(
        evidence,
        ["lsf"],
        id="2-bias",
        statement="The linearized score function estimate (LSF) has bias O(1/sqrt N).",
        source="paper",
        criterion=(
            "a leading term N^-s with s >= 1/2 whose finite coefficient the enumerated bias times"
            f" N^s approaches, on each problem; {approaches(evidence)}"
        ),
        measurements=[
            coefficient(evidence, problem, "lsf", "bias", lambda order: order <= -0.5)
            for problem in evidence.problems
        ],
        remarks=["O(1/sqrt N) is an upper bound: a bias that falls faster fulfils it."],
    )


def lsf_variance(evidence: Evidence) -> Claim:
    return _exact_claim(
        evidence,
        ["lsf"],
        id="2-variance",
        statement="LSF has variance O(1/N).",
        source="paper",
        criterion=(
            "N times the enumerated variance approaches a finite coefficient, on each problem;"
            f" {approaches(evidence)}"
        ),
        measurements=[
            coefficient(evidence, problem, "lsf", "variance", lambda order: order <= -1)
            for problem in evidence.problems
        ],
    )


def practical_variants(evidence: Evidence) -> Claim:
    measurements = []
    for problem in evidence.problems:
        measurements += [
            coefficient(evidence, problem, "dice", "bias", lambda order: order <= -0.5),
            *(
                coefficient(evidence, problem, name, "variance", lambda order: order <= -1)
                for name in PRACTICAL
            ),
            *(bias_floor(evidence, problem, name) for name in WITH_BIAS_FLOOR),
        ]
    floors = [one for one in measurements if one.quantity == FLOOR and one.value > 0]
    of = {name: sum(one.subject == name for one in floors) for name in WITH_BIAS_FLOOR}
    counted = ", ".join(f"{name} on {of[name]}" for name in WITH_BIAS_FLOOR)
    return _exact_claim(
        evidence,
        PRACTICAL,
        id="3-exact",
        statement="Practical algorithms implement variants of LSF: biased, with its low variance.",
        source="paper",
        criterion=(
            f"N times the enumerated variance of {', '.join(PRACTICAL)} approaches a finite"
            " coefficient; dice with the bias of LSF too, a leading term N^-s with s >= 1/2; on"
            f" each problem; {approaches(evidence)}"
        ),
        measurements=measurements,
        remarks=[
            (
                "A bias floor is a bias that does not vanish as N grows, exact from the limit"
                " audit: reported, not judged."
            ),
            f"Of {len(evidence.problems)} problems, there is a floor of {counted}.",
        ],
    )


def leave_one_out(evidence: Evidence) -> Claim:
    bias = evidence.criteria.leave_one_out_relative_bias_max
    name = "leave_one_out"
    measurements = []
    for problem in evidence.problems:
        measurements += [
            largest_bias(evidence, problem, name, lambda value: value <= bias),
            coefficient(evidence, problem, name, "variance", lambda order: order <= -1),
        ]
    return _exact_claim(
        evidence,
        [name],
        id="leave-one-out",
        statement="The leave-one-out estimate is exactly unbiased, with variance O(1/N).",
        source="ours",
        criterion=(
            f"relative bias <= {bias:g} at every N, and N times the enumerated variance approaches"
            f" a finite coefficient, on each problem; {approaches(evidence)}"
        ),
        measurements=measurements,
    )


def lsf_bias_is_sharper(evidence: Evidence) -> Claim:
    return _exact_claim(
        evidence,
        ["lsf"],
        id="lsf-bias-rate",
        statement="Where V is smooth, the bias of LSF is O(1/N): sharper than the paper's bound.",
        source="ours",
        criterion=(
            "N times the enumerated bias approaches a finite coefficient, on each problem;"
            f" {approaches(evidence)}"
        ),
        measurements=[
            *(
                coefficient(evidence, problem, "lsf", "bias", lambda order: order <= -1)
                for problem in evidence.problems
            ),
            *(
                replace(coefficient(evidence, problem, "lsf2", "bias"), outcome=REPORTED)
                for problem in evidence.problems
            ),
        ],
        remarks=[
            "lsf2, the second-order expansion, has O(1/N^2), reported beside it.",
            (
                "Why no smooth policy approaches the paper's bound: the bias is a sum over i of"
                " E[s_i (V(theta') - V(theta'_{-i}) - (eta/N) f_i . v)]. With a bounded second"
                " derivative of V each of the N terms is O(1/N^2). A bias of order 1/sqrt N needs"
                " a V with a kink in theta', which no smooth policy in a finite problem has."
            ),
        ],
    )


def baseline(evidence: Evidence) -> Claim:
    name = "unbiased_baseline"
    measurements = []
    for problem in evidence.problems:
        measurements += [
            coefficient(evidence, problem, name, "variance", lambda order: order <= 0),
            largest_bias(evidence, problem, name),
        ]
    return _exact_claim(
        evidence,
        [name],
        id="baseline",
        statement="A baseline alone takes the variance of the unbiased estimate to O(1).",
        source="ours",
        criterion=(
            "the enumerated variance approaches a finite coefficient, on each problem;"
            f" {approaches(evidence)}"
        ),
        measurements=measurements,
    )


def approaches(evidence: Evidence) -> str:
    """What it means to approach a coefficient, in words."""
    ratio = evidence.criteria.coefficient_distance_ratio_max
    close = evidence.criteria.coefficient_distance_max
    return (
        f"approaches: from half the largest N to the largest the distance falls to {ratio:g} of"
        f" itself or less, or is below {close:g} of the coefficient"
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
    """One `metarl audit exact` for problems of the same sample sizes, one `metarl audit limit`."""
    of_sizes: dict[str, list[str]] = {}
    for problem, rows in evidence.exact.groupby("problem"):
        sizes = " ".join(map(str, np.sort(rows["sample_size"].unique())))
        of_sizes.setdefault(sizes, []).append(str(problem))
    names = " ".join(estimators)
    commands = [
        f"metarl audit exact --problem {' '.join(problems)} --estimators {names}"
        f" --sample-sizes {sizes} --output exact_{problems[0]}.parquet"
        for sizes, problems in of_sizes.items()
    ]
    everywhere = " ".join(evidence.problems)
    limit = f"metarl audit limit --problem {everywhere} --estimators {names} --output limit.parquet"
    return [*commands, limit] if commands else []


FLOOR = "bias floor / ||grad J_N||"


def coefficient(
    evidence: Evidence,
    problem: str,
    estimator: str,
    column: str,
    allowed: Callable[[float], bool] = lambda order: True,
) -> Measurement:
    """The coefficient of the leading term of "bias" or "variance", and how enumeration nears it.

    Args:
      evidence: the audits.
      problem, estimator: where, of what.
      column: bias or variance.
      allowed: whether an order in N is what the claim says.
    """
    measurement = Measurement(
        problem, estimator, f"coefficient of the {column}", UNDECIDED, form=".3g"
    )
    limit = evidence.limit
    row = limit[(limit["problem"] == problem) & (limit["estimator"] == estimator)]
    rows = audited(evidence.exact, problem, estimator).set_index("sample_size")
    if row.empty or rows.empty:
        return replace(measurement, note="not in the audit")
    order, value = row.iloc[0][[f"{column}_order", f"{column}_coefficient"]]
    if not value > 0:
        note = f"no term down to N^{order:d}"
        outcome = judge(allowed(order))
        return replace(measurement, value=0.0, outcome=outcome, note=note)
    measurement = replace(measurement, value=float(value), note=f"of N^{order:d}")
    if not allowed(order):
        return replace(measurement, outcome=FAILS)
    largest = rows.index.max()
    if not largest / 2 in rows.index:
        note = f"{measurement.note}; half the largest N is not in the audit"
        return replace(measurement, note=note)
    sizes = np.array([largest / 2, largest])
    before, now = np.abs(rows.loc[sizes, column].to_numpy(float) / sizes**order / value - 1)
    if not math.isfinite(now + before):
        return replace(measurement, outcome=FAILS, note="a value is not finite")
    ratio, close = now / before if before > 0 else 0.0, now
    criteria = evidence.criteria
    return replace(
        measurement,
        outcome=judge(
            ratio <= criteria.coefficient_distance_ratio_max
            or close <= criteria.coefficient_distance_max
        ),
        note=(
            f"{measurement.note}; enumerated at N = {largest} within {close:.2%},"
            f" {ratio:.2f} of the distance at N = {largest // 2}"
        ),
    )


def bias_floor(evidence: Evidence, problem: str, estimator: str) -> Measurement:
    """Reports the bias that does not vanish, from the limit audit, over ||grad J_N||."""
    measurement = Measurement(problem, estimator, FLOOR, REPORTED, form=".2g")
    limit = evidence.limit
    row = limit[(limit["problem"] == problem) & (limit["estimator"] == estimator)]
    if row.empty:
        return replace(measurement, note="not in the audit")
    floor, norm = row.iloc[0][["bias_floor", "gradient_norm"]]
    return replace(measurement, value=float(floor / norm))


def largest_bias(
    evidence: Evidence, problem: str, estimator: str, holds: Criterion | None = None
) -> Measurement:
    """The largest relative bias over all N, judged by `holds` if there is one."""
    values = audited(evidence.exact, problem, estimator)["relative_bias"].to_numpy(float)
    measurement = Measurement(
        place=problem,
        subject=estimator,
        quantity="largest relative bias",
        outcome=REPORTED if holds is None else UNDECIDED,
        form=".1e",
    )
    if not values.size:
        return replace(measurement, note="not in the audit")
    if not np.isfinite(values).all():
        outcome = REPORTED if holds is None else FAILS
        return replace(measurement, outcome=outcome, note="a value is not finite")
    largest = float(values.max())
    outcome = REPORTED if holds is None else judge(holds(largest))
    return replace(measurement, value=largest, outcome=outcome)
