"""Claims on runs with published settings: held-out returns, and the order of algorithms."""

import itertools
from collections.abc import Callable, Sequence
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


def promp_is_ahead(evidence: Evidence) -> Claim:
    """What ProMP's paper reports of its comparison."""
    return _order(
        evidence,
        id="promp-ahead",
        statement=(
            "In the first 10 million steps at ProMP's settings, ProMP trains better than MAML and"
            " E-MAML with TRPO."
        ),
        source="Rothfuss et al. 2019",
        judged=(("promp", "maml_trpo"), ("promp", "emaml_trpo")),
        reported=(("maml_trpo", "emaml_trpo"), ("lsf", "promp")),
        remarks=[
            (
                "Figure 2 of its paper, whose code is set to 1001 iterations, 16 times as many or"
                " more. lsf differs from promp in the estimator alone."
            ),
        ],
    )


def promp_and_maml_are_ahead(evidence: Evidence) -> Claim:
    """What is commonly taken from it."""
    return _order(
        evidence,
        id="promp-order",
        statement=(
            "In the first 10 million steps at ProMP's settings, ProMP and MAML with TRPO train"
            " better than DiCE, and than E-MAML with TRPO."
        ),
        source="ours",
        judged=tuple(itertools.product(("promp", "maml_trpo"), ("dice_vpg", "emaml_trpo"))),
        reported=(),
        remarks=[
            (
                "Not a claim of ProMP's paper, which compares DiCE by plain policy gradients alone"
                " (figure 3) and finds MAML and E-MAML comparable. dice_vpg takes one step of Adam"
                " an iteration, as its code does, where promp takes five."
            ),
        ],
    )


def _order(
    evidence: Evidence,
    judged: Sequence[tuple[str, str]],
    reported: Sequence[tuple[str, str]],
    **stated: str | list[str],
) -> Claim:
    """That the first of each pair `judged` trains better than the second, in each environment."""
    return Claim(
        estimand=RETURN,
        level="published",
        criterion=(
            "final return (mean of the last fifth of the iterations) of the former minus that of"
            " the latter, paired over seeds: whole interval above 0, for each pair in each"
            " environment; undecided where it holds 0"
        ),
        measurements=[
            *differences_of_pairs(evidence, judged),
            *(
                replace(difference, outcome=REPORTED)
                for difference in differences_of_pairs(evidence, reported)
            ),
        ],
        figure="comparison",
        commands=["snakemake comparison --configfile config/promp.yaml", "snakemake all"],
        **stated,
    )


def differences_of_pairs(evidence: Evidence, pairs: Sequence[tuple[str, str]]) -> list[Measurement]:
    """Final return of the first algorithm of each pair minus that of the second."""
    measurements = []
    for environment, runs in final_returns(evidence.comparison).groupby("environment"):
        for names in pairs:
            first, second = (runs[runs["algorithm"] == name] for name in names)
            subject = " - ".join(names)
            measurements.append(
                paired_difference(str(environment), subject, FINAL_RETURN, first, second, evidence)
            )
    return measurements
