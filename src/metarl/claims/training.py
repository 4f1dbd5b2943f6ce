"""Claims on training and evaluation, whose noise is that of seeds.

A criterion is held against the lower end of a bootstrap interval over seeds. A run that diverged
keeps its place in every mean and pair: each of its returns that is not finite counts as the worst
finite return seen in that environment. Leaving it out would reward divergence.
"""

import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd

from metarl.claims.model import (
    PRACTICAL,
    REPORTED,
    RETURN,
    UNBIASED,
    UNDECIDED,
    Claim,
    Evidence,
    Measurement,
    judge_interval,
    repetitions_needed,
    with_interval,
)
from metarl.randomness import generator
from metarl.results import columns, statistics, tables
from metarl.results.tables import count_divergence_as_worst, final_returns, mean_of_runs

BIASED = ("lsf", *PRACTICAL)
FINAL_RETURN = "difference of final returns"
AREA = "difference of mean returns over training"
SIGNAL = "difference of squared signal to noise"
GAIN = "return after one inner step - before"


def practical_estimates_train_better(evidence: Evidence) -> Claim:
    return Claim(
        id="3-training",
        statement="Practical, biased estimates train better than the unbiased estimate.",
        source="paper",
        estimand=RETURN,
        level="training",
        criterion=(
            "final return (mean of the last fifth of the iterations) minus that of the unbiased"
            " estimate, paired over seeds: whole interval above 0, for each estimate in each"
            " environment; undecided where it holds 0"
        ),
        measurements=final_return_differences(evidence),
        figure="learning_curves",
        commands=retraining(evidence),
        remarks=[
            (
                "A difference between two algorithms is due to their estimates only as far as they"
                " share all other settings. TRPO's line search measures the objective without the"
                " score term, so it rejects more steps of the unbiased estimate than of maml."
            )
        ],
    )


def probable_improvement(evidence: Evidence) -> Claim:
    return Claim(
        id="3-improvement",
        statement=(
            "A run with a practical estimate is more likely to end above a run with the unbiased"
            " one than below."
        ),
        source="paper",
        estimand=RETURN,
        level="training",
        criterion=(
            "probability of improvement in final return over all pairs of runs, mean over practical"
            " algorithms: whole interval above 0.5, in each environment; undecided where it holds"
            " 0.5"
        ),
        measurements=[*probabilities_of_improvement(evidence), *areas_under_curves(evidence)],
        figure="learning_curves",
        commands=retraining(evidence),
    )


def gradients_stand_out(evidence: Evidence) -> Claim:
    return Claim(
        id="3-signal",
        statement=(
            "Along training, the meta-gradient of a practical estimate stands out of its noise more"
            " than that of the unbiased one."
        ),
        source="ours",
        estimand=(
            "squared norm of the mean gradient over the squared standard error of the mean over"
            " tasks, both over all iterations of a run, less 1: 0 is noise alone"
        ),
        level="training",
        criterion=(
            "that of a practical estimate minus that of the unbiased one, paired over seeds: whole"
            " interval above 0, for each estimate in each environment; undecided where it holds 0"
        ),
        measurements=[
            *return_differences(evidence, signal_to_noise(evidence.training), SIGNAL),
            *signals(evidence),
        ],
        figure="learning_curves",
        commands=retraining(evidence),
        remarks=[
            (
                "Why an estimate learns or does not. Of the gradients at a run's own policies,"
                " which differ between estimates as training goes on."
            )
        ],
    )


def gain_by_sample_size(evidence: Evidence) -> Claim:
    return Claim(
        id="training-by-n",
        statement=(
            "At equal environment steps, the gain of LSF over the unbiased estimate grows with N."
        ),
        source="ours",
        estimand=RETURN,
        level="training",
        criterion=(
            "final return of lsf minus unbiased at the largest N, minus that at the smallest,"
            " paired over seeds: whole interval above 0; undecided where it holds 0"
        ),
        measurements=gains_by_sample_size(evidence),
        figure="sample_sizes",
        commands=retraining(evidence),
        remarks=[
            (
                "What the variances Theta(N) and O(1/N) suggest. Fewer iterations go with larger N,"
                " and outer batches grow along."
            )
        ],
    )


def adaptation_pays(evidence: Evidence) -> Claim:
    return Claim(
        id="adaptation",
        statement="After meta-training, one inner step raises the return on held-out tasks.",
        source="ours",
        estimand=f"{RETURN}, minus the return before",
        level="training",
        criterion=(
            "return after one inner step minus before, paired over seeds: whole interval above 0,"
            " for each algorithm in each environment; undecided where it holds 0"
        ),
        measurements=adaptation_gains(evidence),
        figure="adaptation",
        commands=["snakemake all --forcerun evaluate"],
    )


def retraining(evidence: Evidence) -> list[str]:
    """What makes the training runs anew; without any, nothing does."""
    environments = sorted(evidence.training["environment"].unique())
    rules = " ".join("train_" + re.sub(r"\W", "_", name) for name in environments)
    return [f"snakemake all --forcerun {rules}"] if rules else []


def final_return_differences(evidence: Evidence) -> list[Measurement]:
    """Final return of each practical algorithm minus each unbiased one of its environment."""
    return return_differences(evidence, final_returns(evidence.training), FINAL_RETURN)


def areas_under_curves(evidence: Evidence) -> list[Measurement]:
    """Reports the same of the mean return over all iterations: the area under the curve."""
    post = count_divergence_as_worst(tables.post_adaptation(evidence.training))
    differences = return_differences(evidence, mean_of_runs(post), AREA)
    return [replace(difference, outcome=REPORTED) for difference in differences]


def signal_to_noise(training: pd.DataFrame) -> pd.DataFrame:
    """One row a run, as `mean_of_runs` gives them, of the squared signal over the squared noise.

    E ||g||^2 = ||E g||^2 + s^2 with s the standard error of the mean over tasks.
    """
    post = tables.post_adaptation(training)
    squares = post.assign(
        norm=post["gradient_norm"] ** 2, noise=post["gradient_standard_error"] ** 2
    )
    runs = squares.groupby([key for key in tables.RUN if key in squares], as_index=False)
    means = runs[["norm", "noise"]].mean()
    ratio = means["norm"] / means["noise"] - 1
    return means.assign(mean_return=ratio, diverged=~np.isfinite(ratio))


def signals(evidence: Evidence) -> list[Measurement]:
    """Reports every algorithm's own, with the interval over seeds."""
    measurements = []
    runs = signal_to_noise(evidence.training)
    for (environment, algorithm), of_runs in runs.groupby(["environment", "algorithm"]):
        values = of_runs["mean_return"].to_numpy(float)
        low, high = statistics.bootstrap_interval(
            values, statistics.mean, evidence.criteria.confidence
        )
        measurements.append(
            Measurement(
                environment,
                algorithm,
                "squared signal to noise",
                REPORTED,
                float(values.mean()),
                float(low),
                float(high),
            )
        )
    return measurements


def return_differences(
    evidence: Evidence, returns: pd.DataFrame, quantity: str
) -> list[Measurement]:
    """Of `returns`, one row a run: practical minus unbiased algorithms of the same environment."""
    measurements = []
    for environment, runs in returns.groupby("environment"):
        unbiased = runs[runs["estimator"] == UNBIASED]
        practical = runs[runs["estimator"].isin(BIASED)]
        for kind, of_kind in {"unbiased": unbiased, "practical": practical}.items():
            if of_kind.empty:
                missing = Measurement(environment, f"{kind} estimate", quantity, UNDECIDED)
                measurements.append(replace(missing, note="no training run"))
        measurements += [
            paired_difference(
                environment, f"{algorithm} - {reference}", quantity, first, second, evidence
            )
            for reference, second in unbiased.groupby("algorithm")
            for algorithm, first in practical.groupby("algorithm")
        ]
    return measurements


def probabilities_of_improvement(evidence: Evidence) -> list[Measurement]:
    """P(a practical run ends above an unbiased one), the mean over practical algorithms.

    Over all pairs of runs: Agarwal et al. 2021 (rliable), equation 5, with ties at one half. The
    interval resamples the seeds of each algorithm.
    """
    measurements = []
    for environment, runs in final_returns(evidence.training).groupby("environment"):
        measurement = Measurement(
            environment,
            "practical over unbiased",
            "probability of improvement",
            UNDECIDED,
            form=".2f",
        )
        references = runs.loc[runs["estimator"] == UNBIASED, "mean_return"].to_numpy()
        practical = runs[runs["estimator"].isin(BIASED)]
        groups = [rows["mean_return"].to_numpy() for _, rows in practical.groupby("algorithm")]
        fewest = min(map(len, (references, *groups))) if groups else 0
        if fewest < columns.MINIMUM_SEEDS:
            note = f"{fewest} seed(s): an interval needs {columns.MINIMUM_SEEDS}"
            measurements.append(replace(measurement, note=note))
            continue
        random = generator(0, "bootstrap")
        reference_counts = statistics.seed_counts(len(references), random)
        chances = []
        for returns in groups:
            counts = statistics.seed_counts(len(returns), random)
            pairs = returns[:, None], references
            wins = np.greater(*pairs) + 0.5 * np.equal(*pairs)
            shares = np.einsum("br,rs,bs->b", counts, wins, reference_counts)
            chances.append(shares / wins.size)
        measurement = with_interval(
            measurement, np.mean(chances, axis=0), evidence.criteria.confidence
        )
        outcome = judge_interval(measurement.low, measurement.high, 0.5)
        measurements.append(replace(measurement, outcome=outcome))
    return measurements


def gains_by_sample_size(evidence: Evidence) -> list[Measurement]:
    """lsf minus unbiased by N, and that at the largest N minus that at the smallest."""
    if evidence.study.empty:
        return []
    environment = evidence.study["environment"].iloc[0]
    training = evidence.training
    studied = (training["environment"] == environment) & training["algorithm"].isin(
        evidence.study["algorithm"].unique()
    )
    runs = final_returns(pd.concat([evidence.study, training[studied]], ignore_index=True))
    measurements, gains = [], {}
    for size, rows in runs.groupby("sample_size"):
        first, second = (rows[rows["estimator"] == name] for name in ("lsf", UNBIASED))
        gain = paired_difference(
            environment, f"lsf - {UNBIASED}, N = {size}", FINAL_RETURN, first, second, evidence
        )
        measurements.append(replace(gain, outcome=REPORTED))
        pairs = first.merge(second, on="seed", suffixes=("", "_second"))
        pairs["mean_return"] -= pairs["mean_return_second"]
        pairs["diverged"] |= pairs["diverged_second"]
        gains[size] = pairs[["seed", "mean_return", "diverged"]].assign(algorithm=f"N = {size}")
    if len(gains) < 2:
        return measurements
    smallest, largest = min(gains), max(gains)
    subject = f"gain of lsf at N = {largest} - at N = {smallest}"
    judged = paired_difference(
        environment, subject, FINAL_RETURN, gains[largest], gains[smallest], evidence
    )
    return [*measurements, judged]


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


def paired_difference(
    place: str,
    subject: str,
    quantity: str,
    first: pd.DataFrame,
    second: pd.DataFrame,
    evidence: Evidence,
) -> Measurement:
    """The mean over common seeds of `first` minus `second`; judged by its interval against 0.

    The mean, not an interquartile mean: trimming would make a diverged seed disappear.

    Args:
      place, subject, quantity: what is measured.
      first, second: one row a run, as `mean_of_runs` gives them.
      evidence: for the confidence of the interval.
    """
    pairs = first.merge(second, on="seed", suffixes=("", "_second"))
    differences = (pairs["mean_return"] - pairs["mean_return_second"]).to_numpy(float)
    measurement = Measurement(place, subject, quantity, UNDECIDED, form="+z.1f")
    note = _divergence_note(first, second)
    if not differences.size:
        return replace(measurement, note="no seed with a run of both")
    if not np.isfinite(differences).all():
        return replace(measurement, note="every run diverged")
    low, high = statistics.bootstrap_interval(
        differences, statistics.mean, evidence.criteria.confidence
    )
    measurement = replace(
        measurement, value=float(differences.mean()), low=float(low), high=float(high), note=note
    )
    if not math.isfinite(measurement.low):
        few = f"{len(differences)} seed(s): an interval needs {columns.MINIMUM_SEEDS}"
        return replace(measurement, note="; ".join(filter(None, [few, note])))
    outcome = judge_interval(measurement.low, measurement.high, 0.0)
    if outcome == UNDECIDED:
        takes = f"{repetitions_needed(measurement, 0.0, len(differences))} seeds"
        note = "; ".join(filter(None, [note, takes]))
    return replace(measurement, outcome=outcome, note=note)


def _divergence_note(*runs: pd.DataFrame) -> str:
    together = pd.concat(runs)
    diverged = together[together["diverged"]]
    names = dict.fromkeys(f"{row.algorithm} seed {row.seed}" for row in diverged.itertuples())
    return f"diverged, counted as the worst return: {', '.join(names)}" if names else ""
