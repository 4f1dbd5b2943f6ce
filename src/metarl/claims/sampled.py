"""Claims on sampled audits, whose values have noise, at each level: Monte Carlo and MuJoCo.

A slope is judged by the interval of its noise: all of it on the right side of the bound, or none of
it, else it stays undecided. The bounds are halfway between the rate of the theory and one that
differs by half a power of N. Slopes are over all N audited for rates, the longest lever; in
simulation these are those with the largest outer batch, whose noise hides least. Bias is judged
where a reference was simulated.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from metarl.audit.settings import BIASED
from metarl.claims.exact import largest_bias
from metarl.claims.model import (
    FAILS,
    GRADIENT,
    HOLDS,
    PRACTICAL,
    REPORTED,
    UNBIASED,
    UNDECIDED,
    Claim,
    Evidence,
    Measurement,
    audited,
    judge_interval,
    margin_towards,
    repetitions_needed,
)
from metarl.results import rates, tables

LEVELS = ("monte_carlo", "mujoco")
LOCOMOTION = ("Ant", "HalfCheetah", "Hopper", "Humanoid", "Swimmer", "Walker2D")  # of promp2018
NOISE = "the whole interval must fulfil it, or none of it, else it is undecided"
SLOPES = {
    "relative_bias": "slope of the relative bias",
    "inner_variance": "slope of the inner variance",
}
INNER_VARIANCE = (
    "The inner variance is Var E[g_hat | X], without the part of the outer batch, which is a floor"
    " that no number of inner samples lowers."
)
LSF_HAS_SOME = (
    "At this N the O(1/N) bias of lsf, reported beside, can be above the bound too: that a bias"
    " stays for ever is what the exact and the Monte Carlo level show."
)


def unbiased_variance(level: str) -> Callable[[Evidence], Claim]:
    """Claim 1 at a sampled level."""

    def claim(evidence: Evidence) -> Claim:
        tolerance = evidence.criteria.sampled_slope_tolerance
        low, high = 1 - tolerance, 1 + tolerance
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
        bound = -1 + evidence.criteria.sampled_slope_tolerance
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
                    sampled_slope(evidence, place, *measured)
                    for measured in (("leave_one_out", "inner_variance"), ("lsf", "relative_bias"))
                    for place in places
                    if level == "monte_carlo"  # the reference is simulated at one N
                ),
            ],
            remarks=[INNER_VARIANCE],
        )

    return claim


def practical_variants(level: str) -> Callable[[Evidence], Claim]:
    """Claim 3's variances at a sampled level."""

    def claim(evidence: Evidence) -> Claim:
        bound = -1 + evidence.criteria.sampled_slope_tolerance
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


def bias_floors(level: str) -> Callable[[Evidence], Claim]:
    """Of maml and lvc, at a sampled level."""

    def claim(evidence: Evidence) -> Claim:
        bound = evidence.criteria.visible_bias_min
        return _sampled_claim(
            level,
            id=f"floor-{level.replace('_', '-')}",
            statement=(
                f"{' and '.join(BIASED)} keep a bias at the largest N, as practical estimates do"
                " for ever."
            ),
            source="ours",
            criterion=f"relative bias at the largest N > {bound:g}, on each problem; {NOISE}",
            measurements=[
                *(
                    bias_at_largest(evidence, place, name, bound)
                    for place in evidence.places(level)
                    for name in BIASED
                ),
                *(
                    bias_at_largest(evidence, place, name)
                    for place in evidence.places(level)
                    for name in ("lsf", "dice")
                ),
            ],
            remarks=[LSF_HAS_SOME] if level == "mujoco" else [],
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
        criterion=(
            "geometric mean over N of the ratio of the two > 1, at each policy of an environment"
            f" with a body of the publication's ({', '.join(LOCOMOTION)}); {NOISE}"
        ),
        measurements=relative_deviation_ratios(evidence),
        remarks=[
            "Our policies, tasks and N are not those of the publication: its 60% are not judged.",
            "It trains locomotion alone: the ratios of other environments are reported.",
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
            " not for unbiased_baseline, whose confidence all places share (Bonferroni), wherever"
            " it excludes 0 for maml; undecided where that of a control holds both 0 and the bias"
            " of maml, which it is at least"
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
                f" {2 / (1 - confidence):.0f} times on this side; with a shared confidence, once"
                " in as many runs of all places."
            ),
        ],
    )


def _sampled_claim(level: str, **fields) -> Claim:
    """A Claim with what all claims on one sampled audit share."""
    return Claim(
        estimand=GRADIENT if level == "monte_carlo" else f"{GRADIENT}; of one task",
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
    and else cannot tell: undecided.
    """
    rows = tables.of_rates(audited(evidence.sampled, problem, estimator))
    confidence = evidence.criteria.confidence
    measurement = slope_of(rows, problem, estimator, column)
    if not math.isfinite(measurement.value):
        return measurement if allowed else replace(measurement, outcome=REPORTED)
    quantile = float(stats.norm.ppf((1 + confidence) / 2))
    margin = quantile * slope_error(rows, column, quantile)
    low, high = measurement.value - margin, measurement.value + margin
    measurement = replace(measurement, low=low, high=high)
    if allowed is None:
        return measurement
    return decided(measurement, *allowed, int(rows["replicates"].max()))


def slope_of(rows: pd.DataFrame, problem: str, estimator: str, column: str) -> Measurement:
    """The slope of `column`, a key of SLOPES, over all N; UNDECIDED without one, else REPORTED."""
    measurement = Measurement(problem, estimator, SLOPES[column], UNDECIDED)
    if rows.empty:
        return replace(measurement, note="not in the audit")
    rate = rates.fit(rows["sample_size"], rows[column], octaves=math.inf)
    if rate.points < 2:
        return replace(measurement, note="one sample size: a slope needs two")
    note = f"N = {rate.first} to {rate.last}"
    if not math.isfinite(rate.slope):
        return replace(measurement, note=f"{note}: a value that is not positive has no logarithm")
    return replace(measurement, outcome=REPORTED, value=rate.slope, note=note)


def decided(measurement: Measurement, least: float, most: float, replicates: int) -> Measurement:
    """Judged by its interval; where that is undecided, with what a decision takes."""
    outcome = judge_interval(measurement.low, measurement.high, least, most)
    measurement = replace(measurement, outcome=outcome)
    if outcome != UNDECIDED:
        return measurement
    bound = min((least, most), key=lambda end: abs(end - measurement.value))
    margin = margin_towards(measurement, bound)
    takes = repetitions_needed(measurement, bound, replicates)
    note = f"tells {margin:.2g} from the bound with {replicates} replicates; {takes}"
    return replace(measurement, note="; ".join(filter(None, [measurement.note, note])))


def bias_at_largest(
    evidence: Evidence, problem: str, estimator: str, bound: float | None = None
) -> Measurement:
    """The relative bias at the largest N, which holds above `bound`, if there is one."""
    measurement = Measurement(problem, estimator, "relative bias", UNDECIDED, form=".3f")
    rows = tables.with_reference(audited(evidence.sampled, problem, estimator))
    if rows.empty:
        measurement = replace(measurement, note="not in the audit")
        return measurement if bound else replace(measurement, outcome=REPORTED)
    row = rows.iloc[-1]
    value, low, high = (float(row[f"relative_bias{end}"]) for end in ("", "_low", "_high"))
    measurement = replace(measurement, note=f"N = {row['sample_size']}")
    if not np.isfinite([value, low, high]).all():
        note = f"{measurement.note}; the mean gradient is smaller than its error"
        measurement = replace(measurement, note=note)
        return measurement if bound else replace(measurement, outcome=REPORTED)
    measurement = replace(measurement, value=value, low=low, high=high)
    if bound is None:
        return replace(measurement, outcome=REPORTED)
    return decided(measurement, bound, math.inf, int(row["replicates"]))


def slope_error(rows: pd.DataFrame, column: str, quantile: float) -> float:
    """The standard error of the fitted slope.

    Args:
      rows: of one estimator on one problem.
      column: whose intervals [low, high] are `quantile` standard errors wide to each side.
      quantile: of the standard normal distribution.
    """
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
    rows, visible = (
        tables.with_reference(audited(evidence.sampled, problem, name))
        for name in (estimator, "maml")
    )
    if rows.empty or visible.empty:
        return replace(measurement, note="not in the audit")
    row = rows.iloc[-1]
    value, low, high = (row[f"squared_bias{end}"] for end in ("", "_low", "_high"))
    note = f"N = {row['sample_size']}"
    outcome = FAILS if value - shared_margin(evidence) * (value - low) > 0 else HOLDS
    if planted and low > 0:
        outcome = HOLDS
    elif planted and high < visible.iloc[-1]["squared_bias"]:  # what the error is at least
        outcome = FAILS
    elif planted:
        outcome, note = UNDECIDED, f"{note}: the noise holds both 0 and the bias of maml"
    if not visible.iloc[-1]["squared_bias_low"] > 0:
        outcome, note = REPORTED, f"{note}: noise hides even the bias of maml here"
    measurement = replace(measurement, outcome=outcome, note=note)
    scale = row["gradient_norm"] ** 2
    if scale > 0:
        return replace(measurement, value=value / scale, low=low / scale, high=high / scale)
    return replace(
        measurement, quantity="squared bias", value=value, low=low, high=high, form=".1e"
    )


def shared_margin(evidence: Evidence) -> float:
    """How much wider a one-sided margin is where all places together flag by chance as one would.

    Bonferroni's: of an unbiased estimate at eleven places, one in four would be flagged otherwise.
    """
    places = sum(len(evidence.places(level)) for level in LEVELS)
    chance = (1 - evidence.criteria.confidence) / 2
    return float(stats.norm.isf(chance / max(places, 1)) / stats.norm.isf(chance))


def relative_deviation_ratios(evidence: Evidence) -> list[Measurement]:
    """The relative standard deviation of dice over that of lvc, the mean over N, at each policy.

    The interval is from those of the two at each N.
    """
    measurements = []
    for problem in evidence.places("mujoco"):
        measurement = Measurement(
            problem, "dice / lvc", "relative standard deviation", UNDECIDED, form=".2f"
        )
        ends = [f"relative_standard_deviation{end}" for end in ("", "_low", "_high")]
        dice, lvc = (
            np.log(audited(evidence.sampled, problem, name).set_index("sample_size")[ends])
            for name in ("dice", "lvc")
        )
        both = dice.join(lvc.add_suffix("_lvc")).dropna()
        if both.empty:
            note = "the mean gradient is smaller than its error at every N"
            measurements.append(replace(measurement, note=note))
            continue
        # both are of the same samples: as if independent, the interval is too wide, not too narrow
        error = sum(
            ((both[f"{ends[2]}{name}"] - both[f"{ends[1]}{name}"]) / 2) ** 2
            for name in ("", "_lvc")
        )
        mean = float((both[ends[0]] - both[f"{ends[0]}_lvc"]).mean())
        margin = float(np.sqrt(error.sum())) / len(both)
        low, value, high = np.exp([mean - margin, mean, mean + margin])
        measurement = replace(
            measurement,
            value=float(value),
            low=float(low),
            high=float(high),
            note=f"N = {', '.join(map(str, both.index))}",
        )
        replicates = audited(evidence.sampled, problem, "dice")["replicates"].max()
        measurements.append(
            decided(measurement, 1.0, math.inf, int(replicates))
            if problem.startswith(LOCOMOTION)
            else replace(measurement, outcome=REPORTED)
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
