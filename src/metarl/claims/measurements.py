"""Measurements: one number with its interval, and whether it fulfils a criterion.

Slopes come from `metarl.results.rates`. The exact audit has no sampling noise, so a criterion is held
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
from scipy import stats

from metarl.audit.iterations import iterations_to
from metarl.randomness import generator
from metarl.results import rates, statistics, tables
from metarl.results.tables import CONTROLS, count_divergence_as_worst, final_returns, mean_of_runs

UNBIASED = "unbiased"
PRACTICAL = ("lsf", "dice", "lvc", "maml", "fomaml", "emaml")
HOLDS, FAILS, UNTESTED, REPORTED = "holds", "fails", "untested", "reported"

SLOPES = {
    "relative_bias": "slope of the relative bias",
    "variance": "slope of the variance",
    "inner_variance": "slope of the inner variance",
}
FINAL_RETURN = "difference of final returns"
AREA = "difference of mean returns over training"
BOOTSTRAPS = 2000
GAIN = "return after one inner step - before"

Criterion = Callable[[float], bool]


@dataclass(frozen=True)
class Evidence:
    """Declared criteria and the tables of `metarl.results.tables`, each possibly empty.

    `audit` are the judged problems of the exact audit, `sampled` the Monte Carlo and MuJoCo audits, `study` the training
    runs at other N than those of `training`, `published` the held-out returns of runs with published settings.
    """

    criteria: Mapping[str, float]
    audit: pd.DataFrame
    sampled: pd.DataFrame
    convergence: pd.DataFrame
    training: pd.DataFrame
    study: pd.DataFrame
    evaluation: pd.DataFrame
    published: pd.DataFrame

    @property
    def problems(self) -> list[str]:
        return sorted(self.audit["problem"].unique())

    def audited(self, problem: str, estimator: str) -> pd.DataFrame:
        """The rows of one estimator on one problem, by sample size."""
        chosen = (self.audit["problem"] == problem) & (self.audit["estimator"] == estimator)
        return self.audit[chosen].sort_values("sample_size")

    def places(self, level: str) -> list[str]:
        """The problems of a sampled audit: "monte_carlo" or "mujoco"."""
        return sorted(self.sampled.loc[self.sampled["level"] == level, "problem"].unique())

    def sampled_at(self, problem: str, estimator: str) -> pd.DataFrame:
        """The rows of one estimator in a sampled audit, by sample size."""
        chosen = (self.sampled["problem"] == problem) & (self.sampled["estimator"] == estimator)
        return self.sampled[chosen].sort_values("sample_size")


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
    """The slope of `column` against N on log-log axes in the exact audit, judged by `holds` if there is one."""
    rows = evidence.audited(problem, estimator)
    return slope_of(evidence, rows, problem, estimator, column, holds)


def sampled_slope(
    evidence: Evidence,
    problem: str,
    estimator: str,
    column: str,
    range_: tuple[float, float] | None = None,
) -> Measurement:
    """The same in a sampled audit, whose values have noise; judged by whether the slope lies in `range_`, if given.

    The interval is that of the noise: from the intervals of the values, which are independent between N. It holds if the
    whole interval lies in the range, fails if none of it does, and else cannot tell: untested.
    """
    rows = evidence.sampled_at(problem, estimator)
    found = slope_of(evidence, rows, problem, estimator, column, None)
    if not math.isfinite(found.value):
        return found if range_ else replace(found, outcome=REPORTED)
    confidence = evidence.criteria["confidence"]
    error = slope_error(rows, column)
    margin = float(stats.norm.ppf((1 + confidence) / 2)) * error
    found = replace(found, low=found.value - margin, high=found.value + margin)
    if range_ is None:
        return found
    least, most = range_
    if least <= found.low and found.high <= most:
        return replace(found, outcome=HOLDS)
    if found.high < least or most < found.low:
        return replace(found, outcome=FAILS)
    return replace(found, outcome=UNTESTED, note=f"{found.note}; the noise leaves it open")


def slope_error(rows: pd.DataFrame, column: str) -> float:
    """The standard error of the fitted slope, from the values' 95% intervals [low, high]."""
    rows = rows[rows["sample_size"] >= rows["sample_size"].max() / 2**rates.OCTAVES]
    x = np.log(rows["sample_size"].to_numpy(float))
    x = x - x.mean()
    widths = (rows[f"{column}_high"] - rows[f"{column}_low"]).to_numpy(float)
    errors = widths / (2 * stats.norm.ppf(0.975)) / rows[column].to_numpy(float)
    return float(np.sqrt(np.sum((x * errors) ** 2)) / (x @ x))


def slope_of(
    evidence: Evidence,
    rows: pd.DataFrame,
    problem: str,
    estimator: str,
    column: str,
    holds: Criterion | None,
) -> Measurement:
    found = Measurement(problem, estimator, SLOPES[column], UNTESTED)
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


def reported_slope(evidence: Evidence, problem: str, estimator: str, column: str) -> Measurement:
    """The slope beside the criterion; that there is none is no reason to leave a claim untested."""
    return replace(slope(evidence, problem, estimator, column), outcome=REPORTED)


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


# On sampled audits.


def seen_controls(evidence: Evidence) -> list[Measurement]:
    """Whether each audit sees each planted error, and takes no unbiased estimate for biased.

    Exact: the largest relative bias against what leave_one_out is allowed. Sampled: at the largest N, whether the interval
    of the squared bias excludes 0.
    """
    measurements = []
    bound = evidence.criteria["leave_one_out_relative_bias_max"]
    for problem in evidence.problems:
        for name in controls_of(evidence.audit):
            found = largest_bias(evidence, problem, name, lambda value: value > bound)
            measurements.append(replace(found, subject=short(name)))
        measurements.append(
            largest_bias(evidence, problem, "unbiased_baseline", lambda value: value <= bound)
        )
    for problem in (*evidence.places("monte_carlo"), *evidence.places("mujoco")):
        measurements += [
            seen_bias(evidence, problem, name, True) for name in controls_of(evidence.sampled)
        ]
        measurements.append(seen_bias(evidence, problem, "unbiased_baseline", False))
    return measurements


def controls_of(frame: pd.DataFrame) -> list[str]:
    return sorted(name for name in frame["estimator"].unique() if name.startswith(CONTROLS))


def short(name: str) -> str:
    """sign_error of metarl.audit.controls:sign_error."""
    return name.rpartition(":")[2]


def seen_bias(evidence: Evidence, problem: str, estimator: str, planted: bool) -> Measurement:
    """The squared bias at the largest N; holds if its interval excludes 0 exactly where an error was planted.

    Each planted error shifts the mean by at least the whole score-function term, which is the bias of maml: where the audit
    cannot tell that from 0 either, it cannot see the planted one, and nothing is judged.
    """
    found = Measurement(problem, short(estimator), "squared bias / ||grad J_N||^2", REPORTED)
    rows, visible = (evidence.sampled_at(problem, name) for name in (estimator, "maml"))
    if rows.empty or visible.empty:
        return replace(found, note="not in the audit")
    row = rows.iloc[-1]
    value, low, high = (row[f"squared_bias{end}"] for end in ("", "_low", "_high"))
    note = f"N = {row['sample_size']}"
    if not np.isfinite([value, low, high]).all():
        return replace(found, note=f"{note}: the reference cannot be trusted here, nothing to see")
    outcome = judge((low > 0) == planted)
    if not visible.iloc[-1]["squared_bias_low"] > 0:
        outcome, note = REPORTED, f"{note}: noise hides even the bias of maml here"
    scale = row["gradient_norm"] ** 2
    if scale > 0:
        value, low, high = (x / scale for x in (value, low, high))
        return replace(found, outcome=outcome, value=value, low=low, high=high, note=note)
    return replace(
        found, quantity="squared bias", outcome=outcome, value=value, low=low, high=high,
        note=note, form=".1e",
    )  # fmt: skip


def relative_deviation_ratios(evidence: Evidence) -> list[Measurement]:
    """The relative standard deviation of dice over that of lvc, the mean over N, at each audited policy."""
    measurements = []
    for problem in evidence.places("mujoco"):
        found = Measurement(problem, "dice / lvc", "relative standard deviation", UNTESTED)
        columns = [
            evidence.sampled_at(problem, name).set_index("sample_size")[
                "relative_standard_deviation"
            ]
            for name in ("dice", "lvc")
        ]
        ratios = (columns[0] / columns[1]).dropna()
        if ratios.empty:
            note = "the mean gradient is smaller than its error at every N"
            measurements.append(replace(found, note=note))
            continue
        note = f"N = {', '.join(map(str, ratios.index))}"
        measurements.append(
            replace(
                found,
                outcome=judge(ratios.mean() > 1),
                value=float(ratios.mean()),
                note=note,
                form=".2f",
            )
        )
    return measurements


def differences_to_lsf(evidence: Evidence, estimators: Sequence[str]) -> list[Measurement]:
    """Reports ||g_hat - lsf|| / ||lsf|| on the same samples at the largest N."""
    measurements = []
    for problem in evidence.places("mujoco"):
        for name in estimators:
            rows = evidence.sampled_at(problem, name)
            if not rows.empty:
                row = rows.iloc[-1]
                found = Measurement(problem, name, "relative difference to lsf", REPORTED)
                note = f"N = {row['sample_size']}, mean over samples"
                measurements.append(
                    replace(found, value=row["difference_to_lsf"], note=note, form=".2f")
                )
    return measurements


# On convergence.


def iteration_slopes(evidence: Evidence) -> list[Measurement]:
    """Slopes in N of the iterations to epsilon, of unbiased and lsf, and their difference, on each problem."""
    measurements = []
    for (problem, epsilon), rows in evidence.convergence.groupby(["problem", "epsilon"]):
        quantity = f"slope in N of the iterations to {epsilon:g} of the first squared norm"
        slopes, notes = {}, {}
        for name in sorted(
            rows["estimator"].unique(), key=lambda each: each not in (UNBIASED, "lsf")
        ):
            slopes[name], notes[name] = bootstrapped_slopes(rows[rows["estimator"] == name])
            found = Measurement(problem, name, quantity, REPORTED, note=notes[name])
            measurements.append(_with_interval(found, slopes[name], evidence))
        found = Measurement(problem, f"{UNBIASED} - lsf", quantity, UNTESTED)
        if not {UNBIASED, "lsf"} <= slopes.keys():
            measurements.append(replace(found, note="not in the experiment"))
            continue
        found = _with_interval(found, slopes[UNBIASED] - slopes["lsf"], evidence)
        bound = evidence.criteria["convergence_slope_difference_min"]
        if not math.isfinite(found.low):
            found = replace(found, note=notes["lsf"] or notes[UNBIASED])
        elif notes["lsf"]:  # a censored lsf would flatter it
            found = replace(found, outcome=FAILS, note=f"lsf {notes['lsf']}")
        else:
            found = replace(found, outcome=judge(found.low > bound))
        measurements.append(found)
    return measurements


def bootstrapped_slopes(rows: pd.DataFrame) -> tuple[np.ndarray, str]:
    """The slope of log(iterations to epsilon) against log(N), then that of BOOTSTRAPS resamples of the seeds.

    Where the mean over seeds never falls to epsilon, the number of iterations run stands for the iterations needed,
    which is a lower bound: the note names those N.
    """
    sizes, needed, never = [], [], []
    for size, chosen in rows.groupby("sample_size"):
        curves = chosen.pivot(index="seed", columns="iteration", values="squared_gradient_norm")
        norms, iterations = curves.to_numpy(), curves.columns.to_numpy()
        seeds = len(norms)
        if seeds < statistics.MINIMUM_SEEDS:
            return np.array([math.nan]), f"{seeds} seed(s): an interval needs three"
        draws = generator(0, "bootstrap").multinomial(seeds, np.full(seeds, 1 / seeds), BOOTSTRAPS)
        means = np.vstack([norms.mean(axis=0), draws @ norms / seeds])
        level = chosen["epsilon"].iloc[0] * norms[:, 0].mean()
        found = iterations_to(iterations, means, level)
        if math.isinf(found[0]):
            never.append(size)
        sizes.append(size)
        needed.append(np.maximum(np.minimum(found, iterations[-1]), 1))
    if len(sizes) < 2:
        return np.array([math.nan]), "fewer than two sample sizes"
    x = np.log(sizes) - np.mean(np.log(sizes))
    slopes = x @ np.log(needed) / (x @ x)
    return slopes, f"not reached at N = {', '.join(map(str, never))}" if never else ""


def _with_interval(found: Measurement, slopes: np.ndarray, evidence: Evidence) -> Measurement:
    """The first of `slopes`, with the percentile interval of the others."""
    if len(slopes) < 2 or not np.isfinite(slopes).all():
        return found
    tail = 50 * (1 - evidence.criteria["confidence"])
    low, high = np.percentile(slopes[1:], [tail, 100 - tail])
    return replace(found, value=float(slopes[0]), low=float(low), high=float(high))


# On training and evaluation.


def final_return_differences(evidence: Evidence) -> list[Measurement]:
    """Final return of each practical algorithm minus each unbiased one of its environment."""
    return return_differences(evidence, final_returns(evidence.training), FINAL_RETURN)


def areas_under_curves(evidence: Evidence) -> list[Measurement]:
    """Reports the same of the mean return over all iterations: the area under the curve over environment steps."""
    post = count_divergence_as_worst(tables.post_adaptation(evidence.training))
    found = return_differences(evidence, mean_of_runs(post), AREA)
    return [replace(each, outcome=REPORTED) for each in found]


def return_differences(
    evidence: Evidence, returns: pd.DataFrame, quantity: str
) -> list[Measurement]:
    """Of `returns`, one row a run: practical minus unbiased algorithms of the same environment."""
    measurements = []
    for environment, runs in returns.groupby("environment"):
        unbiased = runs[runs["estimator"] == UNBIASED]
        practical = runs[runs["estimator"].isin(PRACTICAL)]
        for kind, found in {"unbiased": unbiased, "practical": practical}.items():
            if found.empty:
                missing = Measurement(environment, f"{kind} estimate", quantity, UNTESTED)
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
    """P(a practical run ends above an unbiased one), over all pairs of runs, the mean over practical algorithms.

    Agarwal et al. 2021 (rliable), equation 5, with ties at one half; the interval resamples the seeds of each algorithm.
    """
    measurements = []
    for environment, runs in final_returns(evidence.training).groupby("environment"):
        subject = "practical over unbiased"
        found = Measurement(
            environment, subject, "probability of improvement", UNTESTED, form=".2f"
        )
        references = runs.loc[runs["estimator"] == UNBIASED, "mean_return"].to_numpy()
        practical = runs[runs["estimator"].isin(PRACTICAL)]
        groups = [rows["mean_return"].to_numpy() for _, rows in practical.groupby("algorithm")]
        fewest = min(map(len, (references, *groups))) if groups else 0
        if fewest < statistics.MINIMUM_SEEDS:
            note = f"{fewest} seed(s): an interval needs {statistics.MINIMUM_SEEDS}"
            measurements.append(replace(found, note=note))
            continue
        draw = generator(0, "bootstrap")

        def resampled(values: np.ndarray, draw: np.random.Generator = draw) -> np.ndarray:
            """The values, then BOOTSTRAPS resamples of them: [1 + BOOTSTRAPS, seeds]."""
            chosen = draw.integers(len(values), size=(BOOTSTRAPS, len(values)))
            return np.vstack([values, values[chosen]])

        second = resampled(references)[:, None, :]
        chances = [
            np.mean((first > second) + 0.5 * (first == second), axis=(1, 2))
            for first in (resampled(group)[:, :, None] for group in groups)
        ]
        found = _with_interval(found, np.mean(chances, axis=0), evidence)
        measurements.append(replace(found, outcome=judge(found.low > 0.5)))
    return measurements


def gains_by_sample_size(evidence: Evidence) -> list[Measurement]:
    """lsf minus unbiased by N at equal environment steps, and that at the largest N minus that at the smallest."""
    if evidence.study.empty:
        return []
    environment = evidence.study["environment"].iloc[0]
    names = evidence.study["algorithm"].str.partition("_N")[0].unique()
    same = (evidence.training["environment"] == environment) & evidence.training["algorithm"].isin(
        names
    )
    runs = final_returns(pd.concat([evidence.study, evidence.training[same]], ignore_index=True))
    measurements, gains = [], {}
    for size, rows in runs.groupby("sample_size"):
        first, second = (rows[rows["estimator"] == name] for name in ("lsf", UNBIASED))
        found = paired_difference(
            environment, f"lsf - {UNBIASED}, N = {size}", FINAL_RETURN, first, second, evidence
        )
        measurements.append(replace(found, outcome=REPORTED))
        pairs = first.merge(second, on="seed", suffixes=("", "_second"))
        pairs["mean_return"] -= pairs["mean_return_second"]
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


def published_returns(evidence: Evidence, environment: str) -> list[Measurement]:
    """The held-out return after each number of inner steps, beside the published one; the interval is over seeds."""
    allowed = evidence.criteria["published_deviations_below_max"]
    rows = evidence.published[evidence.published["environment"] == environment]
    measurements = []
    for step, found in rows.groupby("inner_step"):
        by_seed = found.groupby("seed")["mean_return"].mean().to_numpy(float)
        published, deviation = found[["published_return", "published_deviation"]].iloc[0]
        low, high = statistics.bootstrap_interval(
            by_seed, statistics.mean, evidence.criteria["confidence"]
        )
        value = float(by_seed.mean())
        measurements.append(
            Measurement(
                environment,
                f"{step} inner step{'' if step == 1 else 's'}",
                "held-out return",
                judge(value >= published - allowed * deviation),
                value,
                float(low),
                float(high),
                f"published {published:.1f} +- {deviation:g}; {len(by_seed)} seed{'s'[: len(by_seed) > 1]}",
                ".1f",
            )
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
