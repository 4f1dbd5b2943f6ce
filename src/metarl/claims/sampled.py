"""Claims on sampled audits, whose values have noise, at each level: Monte Carlo and MuJoCo.

Slopes are judged by the interval of the noise: the whole of it must fulfil the criterion, or none
of it, else a claim stays untested.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from metarl.claims.exact import PRACTICAL, largest_bias, slope_of
from metarl.claims.model import (
    FAILS,
    GRADIENT,
    HOLDS,
    REPORTED,
    UNBIASED,
    UNTESTED,
    Claim,
    Evidence,
    Measurement,
    audited,
    judge,
)
from metarl.results import rates, tables

LEVELS = ("monte_carlo", "mujoco")
NOISE = "the whole interval must fulfil it, or none of it, else it stays untested"
INNER_VARIANCE = (
    "The inner variance is Var E[g_hat | X], without the part of the outer batch, which is a floor"
    " that no number of inner samples lowers."
)


def unbiased_variance(level: str) -> Callable[[Evidence], Claim]:
    """Claim 1 at a sampled level."""

    def claim(evidence: Evidence) -> Claim:
        low = evidence.criteria.variance_slope_unbiased_min
        high = evidence.criteria.variance_slope_unbiased_max
        return _sampled_claim(
            level,
            id=f"1-{level.replace('_', '-')}",
            statement="Unbiased meta-gradient estimates have variance Theta(N).",
            source="paper",
            criterion=(
                f"slope of the inner variance in [{low:g}, {high:g}], on each problem; {NOISE}"
            ),
            measurements=[
                sampled_slope(evidence, place, UNBIASED, "inner_variance", (low, high))
                for place in evidence.places(level)
            ],
            remarks=[INNER_VARIANCE],
        )

    return claim


def lsf_variance(level: str) -> Callable[[Evidence], Claim]:
    """Claim 2's variance, and what is seen of its bias, at a sampled level."""

    def claim(evidence: Evidence) -> Claim:
        bound = evidence.criteria.lsf_variance_slope_max
        places = evidence.places(level)
        return _sampled_claim(
            level,
            id=f"2-{level.replace('_', '-')}",
            statement="LSF has variance O(1/N).",
            source="paper",
            criterion=f"slope of the inner variance <= {bound:g}, on each problem; {NOISE}",
            measurements=[
                *(
                    sampled_slope(evidence, place, "lsf", "inner_variance", (-math.inf, bound))
                    for place in places
                ),
                *(
                    sampled_slope(evidence, place, "leave_one_out", "inner_variance")
                    for place in places
                ),
                *(sampled_slope(evidence, place, "lsf", "relative_bias") for place in places),
            ],
            remarks=[INNER_VARIANCE],
        )

    return claim


def practical_variants(level: str) -> Callable[[Evidence], Claim]:
    """Claim 3's variances at a sampled level."""

    def claim(evidence: Evidence) -> Claim:
        bound = evidence.criteria.practical_variance_slope_max
        return _sampled_claim(
            level,
            id=f"3-{level.replace('_', '-')}",
            statement="Practical algorithms implement variants of LSF, with its low variance.",
            source="paper",
            criterion=(
                f"slope of the inner variance <= {bound:g} for {', '.join(PRACTICAL)}, on each"
                f" problem; {NOISE}"
            ),
            measurements=[
                *(
                    sampled_slope(evidence, place, name, "inner_variance", (-math.inf, bound))
                    for place in evidence.places(level)
                    for name in PRACTICAL
                ),
                *(differences_to_lsf(evidence, PRACTICAL) if level == "mujoco" else []),
            ],
            remarks=[INNER_VARIANCE],
        )

    return claim


def dice_over_lvc(evidence: Evidence) -> Claim:
    return _sampled_claim(
        "mujoco",
        id="dice-over-lvc",
        statement=(
            "The relative standard deviation of DiCE's gradients is above that of LVC's;"
            " published: 60% on average."
        ),
        source="Rothfuss et al. 2019",
        criterion="mean over N of the ratio of the two > 1, at each audited policy",
        measurements=relative_deviation_ratios(evidence),
        remarks=[
            "Our policies, tasks and N are not those of the publication: its 60% are not judged."
        ],
    )


def negative_controls(evidence: Evidence) -> Claim:
    """Of the exact audit too: a planted error must be seen wherever bias is judged."""
    confidence = evidence.criteria.confidence
    return Claim(
        id="controls",
        statement=(
            "The audits see errors planted in an unbiased estimate, and flag no unbiased one."
        ),
        source="ours",
        estimand=GRADIENT,
        level="exact, monte carlo, mujoco",
        criterion=(
            "exact: largest relative bias of each control above, of unbiased_baseline at most"
            f" {evidence.criteria.leave_one_out_relative_bias_max:g}; sampled: at the largest N the"
            " interval of the squared difference to leave_one_out excludes 0 for each control and"
            " not for unbiased_baseline, wherever it excludes 0 for maml"
        ),
        measurements=seen_controls(evidence),
        figure="sampled_audit",
        commands=["snakemake all --forcerun audit_exact audit_monte_carlo audit_mujoco"],
        remarks=[
            (
                "sign_error is leave_one_out with -W, doubled with 2 W, shuffled with each"
                " trajectory's W on its neighbour."
            ),
            (
                f"An interval of {100 * confidence:g}% excludes 0 by chance once in"
                f" {2 / (1 - confidence):.0f} times on this side."
            ),
        ],
    )


def _sampled_claim(level: str, **fields) -> Claim:
    """A Claim with what all claims on one sampled audit share."""
    return Claim(
        estimand=GRADIENT if level == "monte_carlo" else f"{GRADIENT}; the mean over two tasks",
        level=level.replace("_", " "),
        figure="sampled_audit",
        commands=[f"snakemake all --forcerun audit_{level}"],
        **fields,
    )


def sampled_slope(
    evidence: Evidence,
    problem: str,
    estimator: str,
    column: str,
    allowed: tuple[float, float] | None = None,
) -> Measurement:
    """The slope of `column` in a sampled audit, judged by whether it is `allowed`, if given.

    The interval is that of the noise: from the intervals of the values, which are independent
    between N. It holds if the whole interval lies in the allowed range, fails if none of it does,
    and else cannot tell: untested.
    """
    rows = audited(evidence.sampled, problem, estimator)
    confidence = evidence.criteria.confidence
    measurement = slope_of(rows, problem, estimator, column, confidence)
    if not math.isfinite(measurement.value):
        return measurement if allowed else replace(measurement, outcome=REPORTED)
    quantile = float(stats.norm.ppf((1 + confidence) / 2))
    margin = quantile * slope_error(rows, column, quantile)
    low, high = measurement.value - margin, measurement.value + margin
    measurement = replace(measurement, low=low, high=high)
    if allowed is None:
        return measurement
    least, most = allowed
    if least <= low and high <= most:
        return replace(measurement, outcome=HOLDS)
    if high < least or most < low:
        return replace(measurement, outcome=FAILS)
    note = f"{measurement.note}; the noise leaves it open"
    return replace(measurement, outcome=UNTESTED, note=note)


def slope_error(rows: pd.DataFrame, column: str, quantile: float) -> float:
    """The standard error of the fitted slope.

    Args:
      rows: of one estimator on one problem.
      column: whose intervals [low, high] are `quantile` standard errors wide to each side.
      quantile: of the standard normal distribution.
    """
    rows = rows[rows["sample_size"] >= rows["sample_size"].max() / 2**rates.OCTAVES]
    x = np.log(rows["sample_size"].to_numpy(float))
    x = x - x.mean()
    widths = (rows[f"{column}_high"] - rows[f"{column}_low"]).to_numpy(float)
    errors = widths / (2 * quantile) / rows[column].to_numpy(float)
    return float(np.sqrt(np.sum((x * errors) ** 2)) / (x @ x))


def seen_controls(evidence: Evidence) -> list[Measurement]:
    """Whether the audits see every planted error, and take no unbiased estimate for biased.

    Exact: the largest relative bias against what leave_one_out is allowed. Sampled: at the largest
    N, whether the interval of the squared bias excludes 0.
    """
    measurements = []
    bound = evidence.criteria.leave_one_out_relative_bias_max
    for problem in evidence.problems:
        for name in controls_of(evidence.exact):
            seen = largest_bias(evidence, problem, name, lambda value: value > bound)
            measurements.append(replace(seen, subject=short(name)))
        measurements.append(
            largest_bias(evidence, problem, "unbiased_baseline", lambda value: value <= bound)
        )
    for problem in (place for level in LEVELS for place in evidence.places(level)):
        measurements += [
            seen_bias(evidence, problem, name, planted=True)
            for name in controls_of(evidence.sampled)
        ]
        measurements.append(seen_bias(evidence, problem, "unbiased_baseline", planted=False))
    return measurements


def controls_of(audit: pd.DataFrame) -> list[str]:
    return sorted(audit.loc[tables.is_control(audit["estimator"]), "estimator"].unique())


def short(name: str) -> str:
    """sign_error of metarl.audit.controls:sign_error."""
    return name.rpartition(":")[2]


def seen_bias(evidence: Evidence, problem: str, estimator: str, planted: bool) -> Measurement:
    """The squared bias at the largest N; its interval must exclude 0 where an error was planted.

    Each planted error shifts the mean by at least the whole score-function term, which is the bias
    of maml: where the audit cannot tell that from 0 either, it cannot see the planted one, and
    nothing is judged.
    """
    measurement = Measurement(problem, short(estimator), "squared bias / ||grad J_N||^2", REPORTED)
    rows, visible = (audited(evidence.sampled, problem, name) for name in (estimator, "maml"))
    if rows.empty or visible.empty:
        return replace(measurement, note="not in the audit")
    row = rows.iloc[-1]
    value, low, high = (row[f"squared_bias{end}"] for end in ("", "_low", "_high"))
    note = f"N = {row['sample_size']}"
    if not np.isfinite([value, low, high]).all():
        note = f"{note}: the reference cannot be trusted here, nothing to see"
        return replace(measurement, note=note)
    outcome = judge((low > 0) == planted)
    if not visible.iloc[-1]["squared_bias_low"] > 0:
        outcome, note = REPORTED, f"{note}: noise hides even the bias of maml here"
    measurement = replace(measurement, outcome=outcome, note=note)
    scale = row["gradient_norm"] ** 2
    if scale > 0:
        return replace(measurement, value=value / scale, low=low / scale, high=high / scale)
    return replace(
        measurement, quantity="squared bias", value=value, low=low, high=high, form=".1e"
    )


def relative_deviation_ratios(evidence: Evidence) -> list[Measurement]:
    """The relative standard deviation of dice over that of lvc, the mean over N, at each policy."""
    measurements = []
    for problem in evidence.places("mujoco"):
        measurement = Measurement(problem, "dice / lvc", "relative standard deviation", UNTESTED)
        dice, lvc = (
            audited(evidence.sampled, problem, name).set_index("sample_size")[
                "relative_standard_deviation"
            ]
            for name in ("dice", "lvc")
        )
        ratios = (dice / lvc).dropna()
        if ratios.empty:
            note = "the mean gradient is smaller than its error at every N"
            measurements.append(replace(measurement, note=note))
            continue
        value, note = float(ratios.mean()), f"N = {', '.join(map(str, ratios.index))}"
        measurements.append(
            replace(measurement, outcome=judge(value > 1), value=value, note=note, form=".2f")
        )
    return measurements


def differences_to_lsf(evidence: Evidence, estimators: Sequence[str]) -> list[Measurement]:
    """Reports ||g_hat - lsf|| / ||lsf|| on the same samples at the largest N."""
    measurements = []
    for problem in evidence.places("mujoco"):
        for name in estimators:
            rows = audited(evidence.sampled, problem, name)
            if not rows.empty:
                row = rows.iloc[-1]
                measurements.append(
                    Measurement(
                        place=problem,
                        subject=name,
                        quantity="relative difference to lsf",
                        outcome=REPORTED,
                        value=row["difference_to_lsf"],
                        note=f"N = {row['sample_size']}, mean over samples",
                        form=".2f",
                    )
                )
    return measurements
