"""Claims on runs with published settings: held-out returns, and the order of algorithms."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from metarl.claims.model import REPORTED, RETURN, Claim, Evidence, Measurement, judge
from metarl.claims.training import FINAL_RETURN, paired_difference
from metarl.results import statistics
from metarl.results.tables import final_returns

PUBLISHED = {  # environment: in words
    "PointGoal_finn2017": "2D point",
    "HalfCheetahDir_finn2017": "cheetah, direction",
    "HalfCheetahVel_finn2017": "cheetah, velocity",
}
AHEAD, BEHIND = ("promp", "maml_trpo"), ("dice_vpg", "emaml_trpo")  # Rothfuss et al. 2019, figure 2
BESIDE = (AHEAD, ("lsf", "promp"))  # pairs; of the second only the estimator differs


def reaches_published_returns(environment: str) -> Callable[[Evidence], Claim]:
    """The published returns of one environment."""

    def claim(evidence: Evidence) -> Claim:
        allowed = evidence.criteria.published_deviations_below_max
        return Claim(
            id=f"published-{environment}",
            statement=(
                "MAML with TRPO reaches the published returns on held-out tasks"
                f" ({PUBLISHED[environment]})."
            ),
            source="Finn et al. 2017",
            estimand=f"{RETURN}, on 40 held-out tasks",
            level="published",
            criterion=(
                "mean return over tasks and seeds after 0 to 3 inner steps, each at least the"
                f" published mean minus {allowed:g} published standard"
                f" deviation{'' if allowed == 1 else 's'} over tasks"
            ),
            measurements=returns_beside_published(evidence, environment),
            figure="published_returns",
            commands=["snakemake published", "snakemake all"],
            remarks=[
                (
                    "The published numbers are of one checkpoint in MuJoCo 1.31 (cbfinn/maml_rl,"
                    " folder icml), selected from a sweep over inner learning rates and batch sizes"
                    " and from earlier runs in the history of that repository; the runs here have"
                    " its settings and as many iterations, tasks and trajectories, are judged by"
                    " their last policy, and are all shown."
                ),
            ],
        )

    return claim


def returns_beside_published(evidence: Evidence, environment: str) -> list[Measurement]:
    """The held-out return after each number of inner steps; the interval is over seeds."""
    allowed = evidence.criteria.published_deviations_below_max
    rows = evidence.published[evidence.published["environment"] == environment]
    rows = rows[rows["iterations"] == rows.groupby("seed")["iterations"].transform("max")]
    measurements = []
    for step, of_step in rows.groupby("inner_step"):
        returns = of_step.groupby("seed")["mean_return"].mean().to_numpy(float)
        published, deviation = of_step[["published_return", "published_deviation"]].iloc[0]
        low, high = statistics.bootstrap_interval(
            returns, statistics.mean, evidence.criteria.confidence
        )
        value, seeds = float(returns.mean()), len(returns)
        reached = int(np.sum(returns >= published - allowed * deviation))
        measurements.append(
            Measurement(
                place=environment,
                subject=f"{step} inner step{'' if step == 1 else 's'}",
                quantity="held-out return",
                outcome=judge(value >= published - allowed * deviation),
                value=value,
                low=float(low),
                high=float(high),
                note=(
                    f"published {published:.1f} +- {deviation:g};"
                    f" {reached} of {seeds} seed{'' if seeds == 1 else 's'} reach it"
                ),
                form=".1f",
            )
        )
    return measurements


def order_of_algorithms(evidence: Evidence) -> Claim:
    """What ProMP's paper reports of its comparison."""
    return Claim(
        id="published-order",
        statement=(
            "At ProMP's settings, ProMP and MAML with TRPO train better than DiCE and E-MAML."
        ),
        source="Rothfuss et al. 2019",
        estimand=RETURN,
        level="published",
        criterion=(
            "final return (mean of the last fifth of the iterations) of promp and of maml_trpo"
            " minus that of dice_vpg and of emaml_trpo, paired over seeds: whole interval above 0,"
            " for each pair in each environment; undecided where it holds 0"
        ),
        measurements=differences_of_order(evidence),
        figure="comparison",
        commands=["snakemake comparison --configfile config/promp.yaml", "snakemake all"],
        remarks=[
            (
                "After the first 10 million environment steps of each run: the code of that paper"
                " is set to 1001 iterations, 16 times as many or more. Its paper puts promp ahead"
                " of maml_trpo too, which is reported beside. dice_vpg takes one step of Adam an"
                " iteration, as published, where promp takes five."
            ),
        ],
    )


def differences_of_order(evidence: Evidence) -> list[Measurement]:
    """Final return of each algorithm of AHEAD minus each of BEHIND; reports the pairs BESIDE."""
    judged = [(first, second) for first in AHEAD for second in BEHIND]
    measurements = []
    for environment, runs in final_returns(evidence.comparison).groupby("environment"):
        for first, second in (*judged, *BESIDE):
            difference = paired_difference(
                str(environment),
                f"{first} - {second}",
                FINAL_RETURN,
                runs[runs["algorithm"] == first],
                runs[runs["algorithm"] == second],
                evidence,
            )
            reported = (first, second) in BESIDE
            measurements.append(replace(difference, outcome=REPORTED) if reported else difference)
    return measurements
