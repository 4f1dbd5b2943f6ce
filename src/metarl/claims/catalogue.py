"""The claims, one function each: `Evidence -> Claim`, in the order of the page."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from metarl.claims.measurements import (
    FAILS,
    HOLDS,
    REPORTED,
    UNBIASED,
    UNTESTED,
    Evidence,
    Measurement,
    adaptation_gains,
    areas_under_curves,
    audit_commands,
    bias_floor,
    differences_to_lsf,
    final_return_differences,
    gains_by_sample_size,
    iteration_slopes,
    largest_bias,
    probabilities_of_improvement,
    published_returns,
    relative_deviation_ratios,
    reported_slope,
    sampled_slope,
    seen_controls,
    slope,
    whole_slope_below,
)

GRADIENT = "the gradient of J_N(theta) = E[V(theta')], theta' adapted on N trajectories"
RETURN = "E[V(theta')] over the task distribution, as the mean return after adaptation"
WITH_BIAS_FLOOR = ("maml", "fomaml", "lvc", "emaml")  # possibly: which do is measured
LISTED_IN_SUMMARY = 4


@dataclass(frozen=True)
class Claim:
    """A statement, who makes it, how it is judged, and what was measured.

    Attributes:
      id: short name, also the anchor on the page.
      statement: one sentence.
      source: "paper", "ours", or another paper.
      estimand: what is estimated.
      level: "exact" (enumerated, no sampling noise), "monte carlo" (sampled tabular processes), "mujoco" (simulation
        at fixed policies), "convergence" (SGD on enumerated problems), "training" or "published" (training with
        published settings).
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
        return [each for each in self.measurements if each.outcome != REPORTED]

    @property
    def verdict(self) -> str:
        """One measurement that fails decides; one that could not be made leaves it open."""
        outcomes = {each.outcome for each in self.judged}
        if FAILS in outcomes:
            return "not reproduced"
        return "reproduced" if outcomes == {HOLDS} else "untested"

    @property
    def measured(self) -> str:
        """What was measured, in one line."""
        if not self.judged:
            return "nothing"
        if len(self.judged) <= LISTED_IN_SUMMARY:
            several = len({each.subject for each in self.judged}) > 1
            numbers: dict[str, list[str]] = {}
            for each in self.judged:
                where = f"{each.place}, {each.subject}" if several else each.place
                numbers.setdefault(each.quantity, []).append(f"{each.number} ({where})")
            return "; ".join(f"{name} {', '.join(found)}" for name, found in numbers.items())
        outcomes = [each.outcome for each in self.judged]
        untested = outcomes.count(UNTESTED)
        return f"{outcomes.count(HOLDS)} of {len(outcomes)} hold" + (
            f", {untested} untested" if untested else ""
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


SAMPLED_LEVELS = {"monte carlo": "monte_carlo", "mujoco": "mujoco"}
SAMPLED_RULES = {"monte carlo": "audit_monte_carlo", "mujoco": "audit_mujoco"}
NOISE = "the whole interval must fulfil it, or none of it, else it stays untested"
INNER_VARIANCE = (
    "The inner variance is Var E[g_hat | X], without the part of the outer batch, which is a floor that no number of"
    " inner samples lowers."
)


def _sampled_claim(level: str, **fields) -> Claim:
    """A Claim with what all claims on sampled audits share."""
    return Claim(
        estimand=GRADIENT if level == "monte carlo" else f"{GRADIENT}; the mean over two tasks",
        level=level,
        figure="sampled_audit",
        commands=[f"snakemake all --forcerun {SAMPLED_RULES[level]}"],
        **fields,
    )


def unbiased_variance_sampled(level: str) -> Callable[[Evidence], Claim]:
    """Claim 1 at a sampled level."""

    def claim(evidence: Evidence) -> Claim:
        low = evidence.criteria["variance_slope_unbiased_min"]
        high = evidence.criteria["variance_slope_unbiased_max"]
        return _sampled_claim(
            level,
            id=f"1-{level.replace(' ', '-')}",
            statement="Unbiased meta-gradient estimates have variance Theta(N).",
            source="paper",
            criterion=f"slope of the inner variance in [{low:g}, {high:g}], on each problem; {NOISE}",
            measurements=[
                sampled_slope(evidence, place, UNBIASED, "inner_variance", (low, high))
                for place in evidence.places(SAMPLED_LEVELS[level])
            ],
            remarks=[INNER_VARIANCE],
        )

    return claim


def lsf_variance_sampled(level: str) -> Callable[[Evidence], Claim]:
    """Claim 2's variance, and what is seen of its bias, at a sampled level."""

    def claim(evidence: Evidence) -> Claim:
        bound = evidence.criteria["lsf_variance_slope_max"]
        places = evidence.places(SAMPLED_LEVELS[level])
        return _sampled_claim(
            level,
            id=f"2-{level.replace(' ', '-')}",
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


def practical_sampled(level: str) -> Callable[[Evidence], Claim]:
    """Claim 3's variances at a sampled level."""

    def claim(evidence: Evidence) -> Claim:
        bound = evidence.criteria["practical_variance_slope_max"]
        estimators = ("dice", *WITH_BIAS_FLOOR)
        return _sampled_claim(
            level,
            id=f"3-{level.replace(' ', '-')}",
            statement="Practical algorithms implement variants of LSF, with its low variance.",
            source="paper",
            criterion=(
                f"slope of the inner variance <= {bound:g} for {', '.join(estimators)}, on each problem; {NOISE}"
            ),
            measurements=[
                *(
                    sampled_slope(evidence, place, name, "inner_variance", (-math.inf, bound))
                    for place in evidence.places(SAMPLED_LEVELS[level])
                    for name in estimators
                ),
                *(differences_to_lsf(evidence, estimators) if level == "mujoco" else []),
            ],
            remarks=[INNER_VARIANCE],
        )

    return claim


def dice_over_lvc(evidence: Evidence) -> Claim:
    return _sampled_claim(
        "mujoco",
        id="dice-over-lvc",
        statement=(
            "The relative standard deviation of DiCE's gradients is above that of LVC's; published: 60% on average."
        ),
        source="Rothfuss et al. 2019",
        criterion="mean over N of the ratio of the two > 1, at each audited policy",
        measurements=relative_deviation_ratios(evidence),
        remarks=[
            "Our policies, tasks and N are not those of the publication: its 60% are not judged."
        ],
    )


def negative_controls(evidence: Evidence) -> Claim:
    return Claim(
        id="controls",
        statement="The audits see errors planted in an unbiased estimate, and flag no unbiased one.",
        source="ours",
        estimand=GRADIENT,
        level="exact, monte carlo, mujoco",
        criterion=(
            "exact: largest relative bias of each control above, of unbiased_baseline at most"
            f" {evidence.criteria['leave_one_out_relative_bias_max']:g}; sampled: at the largest N the interval of the"
            " squared difference to leave_one_out excludes 0 for each control and not for unbiased_baseline, wherever it"
            " excludes 0 for maml"
        ),
        measurements=seen_controls(evidence),
        figure="sampled_audit",
        commands=["snakemake all --forcerun audit audit_monte_carlo audit_mujoco"],
        remarks=[
            "sign_error is leave_one_out with -W, doubled with 2 W, shuffled with each trajectory's W on its neighbour.",
            "An interval of 95% excludes 0 by chance once in forty times on this side.",
        ],
    )


def unbiased_variance(evidence: Evidence) -> Claim:
    low = evidence.criteria["variance_slope_unbiased_min"]
    high = evidence.criteria["variance_slope_unbiased_max"]
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
    bound = evidence.criteria["lsf_bias_slope_max"]
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
    bound = evidence.criteria["lsf_variance_slope_max"]
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


def practical_exact(evidence: Evidence) -> Claim:
    bias = evidence.criteria["lsf_bias_slope_max"]
    variance = evidence.criteria["practical_variance_slope_max"]
    estimators = ("dice", *WITH_BIAS_FLOOR)
    measurements = []
    for problem in evidence.problems:
        measurements += [
            slope(evidence, problem, "dice", "relative_bias", lambda value: value <= bias),
            *(
                slope(evidence, problem, name, "variance", lambda value: value <= variance)
                for name in estimators
            ),
            *(bias_floor(evidence, problem, name, bias) for name in WITH_BIAS_FLOOR),
        ]
    floors = [
        f"{each.subject} ({each.place})" for each in measurements if "; bias floor" in each.note
    ]
    return _exact_claim(
        evidence,
        estimators,
        id="3-exact",
        statement="Practical algorithms implement variants of LSF: biased, with its low variance.",
        source="paper",
        criterion=(
            f"slope of the variance <= {variance:g} for {', '.join(estimators)}; dice with the"
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


def practical_training(evidence: Evidence) -> Claim:
    return Claim(
        id="3-training",
        statement="Practical, biased estimates train better than the unbiased estimate.",
        source="paper",
        estimand=RETURN,
        level="training",
        criterion=(
            "final return (mean of the last fifth of the iterations) minus that of the unbiased"
            " estimate, paired over seeds: lower end of the interval > 0, for each estimate in"
            " each environment"
        ),
        measurements=final_return_differences(evidence),
        figure="learning_curves",
        commands=["snakemake all --forcerun train"],
        remarks=[
            (
                "A difference between two algorithms is due to their estimates only as far as they"
                " share all other settings."
            )
        ],
    )


def improvement(evidence: Evidence) -> Claim:
    return Claim(
        id="3-improvement",
        statement="A run with a practical estimate is more likely to end above a run with the unbiased one than below.",
        source="paper",
        estimand=RETURN,
        level="training",
        criterion=(
            "probability of improvement in final return over all pairs of runs, mean over practical algorithms: lower"
            " end of the interval > 0.5, in each environment"
        ),
        measurements=[*probabilities_of_improvement(evidence), *areas_under_curves(evidence)],
        figure="learning_curves",
        commands=["snakemake all --forcerun train"],
    )


def gain_by_sample_size(evidence: Evidence) -> Claim:
    return Claim(
        id="training-by-n",
        statement="At equal environment steps, the gain of LSF over the unbiased estimate grows with N.",
        source="ours",
        estimand=RETURN,
        level="training",
        criterion=(
            "final return of lsf minus unbiased at the largest N, minus that at the smallest, paired over seeds: lower"
            " end of the interval > 0"
        ),
        measurements=gains_by_sample_size(evidence),
        figure="sample_sizes",
        commands=["snakemake all --forcerun train"],
        remarks=[
            (
                "What the variances Theta(N) and O(1/N) suggest. Fewer iterations go with larger N, and outer batches"
                " grow along."
            )
        ],
    )


def convergence(evidence: Evidence) -> Claim:
    bound = evidence.criteria["convergence_slope_difference_min"]
    return Claim(
        id="4",
        statement=(
            "SGD with LSF converges to stationary points with a better dependence on N than with"
            " unbiased estimates, for large N."
        ),
        source="paper",
        estimand="||grad F||^2 along plain SGD on F = J_N - ridge, exact at every evaluated iterate",
        level="convergence",
        criterion=(
            "slope in N of the iterations to epsilon (log-log, mean over seeds), unbiased minus lsf:"
            f" lower end of the interval > {bound:g}, on each problem"
        ),
        measurements=iteration_slopes(evidence),
        figure="convergence",
        commands=["snakemake all --forcerun converge"],
        remarks=[
            "Theory: a slope of 1 for unbiased, whose variance grows with N; 0 for lsf.",
            (
                "Where an estimate does not get there, the iterations run stand for those needed: a lower bound for"
                " unbiased, and a failure of lsf."
            ),
        ],
    )


def leave_one_out(evidence: Evidence) -> Claim:
    bias = evidence.criteria["leave_one_out_relative_bias_max"]
    variance = evidence.criteria["leave_one_out_variance_slope_max"]
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
    bound = evidence.criteria["lsf_bias_slope_max"]
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
                "The criterion judges `sharper`; O(1/N) is a slope of -1, to compare with. lsf2, the second-order"
                " expansion, has O(1/N^2): a slope of -2, reported beside it."
            ),
            (
                "Why no smooth policy approaches the bound: the bias is a sum over i of E[s_i (V(theta') - V(theta'_{-i})"
                " - (eta/N) f_i . v)]. With a bounded second derivative of V each of the N terms is O(1/N^2). A bias of"
                " order 1/sqrt N needs a V with a kink in theta', which no smooth policy in a finite problem has."
            ),
        ],
    )


def baseline(evidence: Evidence) -> Claim:
    bound = evidence.criteria["baseline_variance_slope_max"]
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


def adaptation_pays(evidence: Evidence) -> Claim:
    return Claim(
        id="adaptation",
        statement="After meta-training, one inner step raises the return on held-out tasks.",
        source="ours",
        estimand=f"{RETURN}, minus the return before",
        level="training",
        criterion=(
            "return after one inner step minus before, paired over seeds: lower end of the"
            " interval > 0, for each algorithm in each environment"
        ),
        measurements=adaptation_gains(evidence),
        figure="adaptation",
        commands=["snakemake all --forcerun evaluate"],
    )


PUBLISHED = {
    "PointGoal_finn2017": "2D point",
    "HalfCheetahDir_finn2017": "cheetah, direction",
    "HalfCheetahVel_finn2017": "cheetah, velocity",
}


def published(environment: str) -> Callable[[Evidence], Claim]:
    """The published returns of one environment."""

    def claim(evidence: Evidence) -> Claim:
        allowed = evidence.criteria["published_deviations_below_max"]
        return Claim(
            id=f"published-{environment}",
            statement=f"MAML with TRPO reaches the published returns on held-out tasks ({PUBLISHED[environment]}).",
            source="Finn et al. 2017",
            estimand=f"{RETURN}, on 40 held-out tasks",
            level="published",
            criterion=(
                "mean return over tasks and seeds after 0 to 3 inner steps, each at least the published mean"
                f" minus {allowed:g} published standard deviation{'' if allowed == 1 else 's'} over tasks"
            ),
            measurements=published_returns(evidence, environment),
            figure="published_returns",
            commands=["snakemake published", "snakemake all"],
            remarks=[
                (
                    "The published numbers are of one checkpoint in MuJoCo 1.31 (cbfinn/maml_rl, folder icml); the runs here"
                    " have its settings and as many iterations, tasks and trajectories."
                ),
            ],
        )

    return claim


CLAIMS: tuple[Callable[[Evidence], Claim], ...] = (
    unbiased_variance,
    *map(unbiased_variance_sampled, SAMPLED_LEVELS),
    lsf_bias,
    lsf_variance,
    *map(lsf_variance_sampled, SAMPLED_LEVELS),
    practical_exact,
    *map(practical_sampled, SAMPLED_LEVELS),
    practical_training,
    improvement,
    convergence,
    leave_one_out,
    lsf_bias_is_sharper,
    baseline,
    gain_by_sample_size,
    adaptation_pays,
    dice_over_lvc,
    *map(published, PUBLISHED),
    negative_controls,
)
