"""Claims on convergence: iterations of plain SGD to a stationary point, against N."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from metarl.claims.model import (
    FAILS,
    REPORTED,
    UNBIASED,
    UNDECIDED,
    Claim,
    Evidence,
    Measurement,
    judge_interval,
    with_interval,
)
from metarl.results.columns import MINIMUM_SEEDS
from metarl.results.iterations import resampled_iterations_to

LSF = "lsf"


def better_dependence_on_sample_size(evidence: Evidence) -> Claim:
    bound = evidence.criteria.convergence_slope_difference_min
    return Claim(
        id="4",
        statement=(
            "SGD with LSF converges to stationary points with a better dependence on N than with"
            " unbiased estimates, for large N."
        ),
        source="paper",
        estimand=(
            "||grad F||^2 along plain SGD on F = J_N - ridge, exact at every evaluated iterate"
        ),
        level="convergence",
        criterion=(
            "slope in N of the iterations to epsilon (log-log, mean over seeds), unbiased minus"
            f" lsf: whole interval above {bound:g}, on each problem"
        ),
        measurements=iteration_slopes(evidence),
        figure="convergence",
        commands=["snakemake all --forcerun converge"],
        remarks=[
            "Theory: a slope of 1 for unbiased, whose variance grows with N; 0 for lsf.",
            (
                "Where an estimate does not get there, the iterations run stand for those needed: a"
                " lower bound for unbiased, and a failure of lsf."
            ),
        ],
    )


def iteration_slopes(evidence: Evidence) -> list[Measurement]:
    """Slopes in N of the iterations to epsilon, and that of unbiased minus lsf, on each problem."""
    measurements = []
    confidence = evidence.criteria.confidence
    for (problem, epsilon), rows in evidence.convergence.groupby(["problem", "epsilon"]):
        quantity = f"slope in N of the iterations to {epsilon:g} of the first squared norm"
        slopes, notes = {}, {}
        names = sorted(rows["estimator"].unique(), key=lambda name: name not in (UNBIASED, LSF))
        for name in names:
            slopes[name], notes[name] = resampled_slopes(rows[rows["estimator"] == name])
            reported = Measurement(problem, name, quantity, REPORTED, note=notes[name])
            measurements.append(with_interval(reported, slopes[name], confidence))
        judged = Measurement(problem, f"{UNBIASED} - {LSF}", quantity, UNDECIDED)
        if not {UNBIASED, LSF} <= slopes.keys():
            measurements.append(replace(judged, note="not in the experiment"))
            continue
        judged = with_interval(judged, slopes[UNBIASED] - slopes[LSF], confidence)
        if not math.isfinite(judged.low):
            judged = replace(judged, note=notes[LSF] or notes[UNBIASED])
        elif notes[LSF]:  # a censored lsf would flatter it
            judged = replace(judged, outcome=FAILS, note=f"{LSF} {notes[LSF]}")
        else:
            bound = evidence.criteria.convergence_slope_difference_min
            judged = replace(judged, outcome=judge_interval(judged.low, judged.high, bound))
        measurements.append(judged)
    return measurements


def resampled_slopes(rows: pd.DataFrame) -> tuple[np.ndarray, str]:
    """The slope of log(iterations to epsilon) against log(N), then that of resamples of the seeds.

    Where the mean over seeds never falls to epsilon, the number of iterations run stands for the
    iterations needed, which is a lower bound: the note names those N.

    Returns:
      [1 + RESAMPLES], or a single nan where there is no slope; and the note.
    """
    sizes, needed, never = [], [], []
    for size, chosen in rows.groupby("sample_size"):
        curves = chosen.pivot(index="seed", columns="iteration", values="squared_gradient_norm")
        norms, iterations = curves.to_numpy(), curves.columns.to_numpy()
        if len(norms) < MINIMUM_SEEDS:
            return np.array([math.nan]), f"{len(norms)} seed(s): an interval needs three"
        level = chosen["epsilon"].iloc[0] * norms[:, 0].mean()
        first = resampled_iterations_to(iterations, norms, level)
        if math.isinf(first[0]):
            never.append(size)
        sizes.append(size)
        needed.append(np.maximum(np.minimum(first, iterations[-1]), 1))
    if len(sizes) < 2:
        return np.array([math.nan]), "fewer than two sample sizes"
    x = np.log(sizes) - np.mean(np.log(sizes))
    slopes = x @ np.log(needed) / (x @ x)
    return slopes, f"not reached at N = {', '.join(map(str, never))}" if never else ""
