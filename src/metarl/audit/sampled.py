"""Statistics of sampled audits: bias, variance and their bootstrap intervals from replicates.

A replicate r draws inner samples X_r and, independently of each other, two outer batches Y_r, Y'_r
of a fixed size; every estimator sees the same draws. Where outer values are exact, g_hat(X, Y) =
g_hat(X, Y') and the outer part below is 0. All statistics are of two kinds, and both have
no bias:

    the mean over replicates of a number of one replicate
    E[a] . E[b] by the U-statistic mean over r != s of a_r . b_s         (Hoeffding 1948), never the
    norm of a noisy mean

The variance of g_hat(X, Y) is split by the law of total variance: the inner part Cov(g_hat(X, Y),
g_hat(X, Y')) is that of E[g_hat | X], whose rates in N the claims are about; the outer part E ||
g_hat(X, Y) - g_hat(X, Y') ||^2 / 2 is a floor that no number of inner samples lowers. Traces of
covariances throughout.

Intervals are percentiles over draws of replicates with replacement. A draw takes pairs of different
replicates alone, so that its center is the estimate; where the mean is 0, intervals of its square
are up to 3^(1/2) times too wide.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf
from scipy import stats

from metarl import checkpoints
from metarl.audit.settings import BIASED, RESAMPLES
from metarl.audit.text import text
from metarl.errors import RunError
from metarl.progress import Progress
from metarl.results import columns, tables
from metarl.results.statistics import percentile_interval, resampled_counts
from metarl.results.writer import write_table

REFERENCE = "leave_one_out"
LINEARIZED = "lsf"


def gram(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """All products first_r . second_s, [R, R], of vectors [R, P]."""
    # TensorFlow's kernel rather than BLAS: its bits do not depend on the number of threads.
    return tf.matmul(first, second, transpose_b=True).numpy()


def replicate_counts(random: np.random.Generator, replicates: int) -> np.ndarray:
    """`resampled_counts`, without the draws of one replicate alone, which has no pair: [1 + B, R].

    Of three replicates these are a ninth of all draws, of ten one in a billion.
    """
    counts = resampled_counts(random, replicates, RESAMPLES)
    return counts[np.count_nonzero(counts, axis=1) > 1]


def resampled_mean(terms: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The mean of terms [R] in every draw of `counts` [B, R]: [B]."""
    return np.sum(counts * terms, axis=1) / counts.sum(axis=1)


def product_of_means(first: np.ndarray, second: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """E[a] . E[b] without bias, in every draw: the mean of a_r . b_s over its pairs r != s.

    Args:
      first, second: a and b, [R, P].
      counts: how often each draw takes each replicate, [B, R].

    Returns:
      [B]; of a = b it may be negative, where ||E[a]||^2 is smaller than its error.
    """
    pairs = counts.sum(axis=1) ** 2 - np.sum(counts**2, axis=1)
    if len(first) <= first.shape[1]:
        products = gram(first, second)
        different = products - np.diag(np.diag(products))
        return np.sum(gram(counts, different.T) * counts, axis=1) / pairs
    # with more replicates than coordinates sums of vectors are cheaper than products of all pairs
    sums = gram(counts, first.T) * gram(counts, second.T)
    same = counts**2 * np.sum(first * second, axis=1)
    return (sums.sum(axis=1) - same.sum(axis=1)) / pairs


def total_variance(estimates: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """E ||g - E g||^2 of g [R, P] in every draw, [B]: without bias."""
    squares = resampled_mean(np.sum(estimates**2, axis=1), counts)
    return squares - product_of_means(estimates, estimates, counts)


def root(x: np.ndarray) -> np.ndarray:
    """The square root; 0 for the negative values that an unbiased estimate of a square can take."""
    return np.sqrt(np.maximum(x, 0.0))


def over(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x / y; nan where y, an estimate of something positive, is not."""
    return np.divide(x, y, out=np.full_like(x, np.nan), where=y > 0)


def measures(
    estimates: np.ndarray, reference: np.ndarray | None, counts: np.ndarray
) -> dict[str, np.ndarray]:
    """Every measure of one estimator in every draw of replicates.

    Args:
      estimates: g_hat [2, R, P], for two outer batches a replicate.
      reference: the unbiased reference's, on the same samples; None: there is none, what is
        measured against it is nan.
      counts: [B, R], see `metarl.results.statistics.resampled_counts`.

    Returns:
      [B] for each of `columns.MEASURES`. squared_bias = ||E[g_hat - reference]||^2, which may be
      negative; relative_bias, its root over ||E reference||; variance of g_hat with one outer batch
      = inner_variance + outer_variance; practical_variance, nan: these estimates do not tell it;
      relative_standard_deviation = variance^(1/2) / ||E g_hat||; cosine of E g_hat and E reference.
    """
    first, second = estimates
    center = estimates.mean(axis=0)
    inner = resampled_mean(np.sum(first * second, axis=1), counts)
    inner = inner - product_of_means(first, second, counts)
    outer = resampled_mean(np.sum((first - second) ** 2, axis=1) / 2, counts)
    norm = root(product_of_means(center, center, counts))
    names = [column.name for column in columns.MEASURES]
    measured = dict.fromkeys(names, np.full_like(inner, np.nan)) | {
        "variance": inner + outer,
        "inner_variance": inner,
        "outer_variance": outer,
        "relative_standard_deviation": over(root(inner + outer), norm),
    }
    if reference is None:
        return measured
    reference_center = reference.mean(axis=0)
    difference = center - reference_center
    squared_bias = product_of_means(difference, difference, counts)
    reference_norm = root(product_of_means(reference_center, reference_center, counts))
    cross = product_of_means(center, reference_center, counts)
    return measured | {
        "squared_bias": squared_bias,
        "relative_bias": over(root(squared_bias), reference_norm),
        "cosine": over(cross, norm * reference_norm),
    }


def relative_difference(estimates: np.ndarray, others: np.ndarray) -> float:
    """The mean of ||a - b|| / ||b|| over the vectors a, b of [..., P]."""
    distances = np.sqrt(np.sum((estimates - others) ** 2, axis=-1))
    lengths = np.sqrt(np.sum(others**2, axis=-1))
    return float(np.mean(over(distances, lengths)))


def summarize(
    gradients: Mapping[str, np.ndarray],
    generator: np.random.Generator,
    confidence: float,
    practical: Mapping[str, np.ndarray] | None = None,
) -> dict[str, dict[str, float]]:
    """The statistics of every estimator at one N.

    Args:
      gradients: g_hat [2, R, P] of every estimator, float64, R >= 3; LINEARIZED is among them. So
        is REFERENCE, or nothing is measured against it: nan.
      generator: draws the replicates of the intervals, the same for all estimators.
      confidence: of the intervals.
      practical: g_hat [R', P] with one outer batch of N trajectories, of the estimators where it is
        measured; None: of none.

    Returns:
      Of every estimator: `columns.MEASURES` with the ends _low and _high of their intervals;
      gradient_norm, that of the reference; difference_to_lsf, see `relative_difference`. Bias and
      cosine of the reference itself are nan: they are not measured.
    """
    reference, norm = gradients.get(REFERENCE), math.nan
    counts = replicate_counts(generator, gradients[LINEARIZED].shape[1])
    if reference is not None:
        center = reference.mean(axis=0)
        norm = float(root(product_of_means(center, center, counts[:1]))[0])
    if practical is not None:
        fewer = replicate_counts(generator, len(practical[REFERENCE]))
    summary = {}
    for name, estimates in gradients.items():
        row, measured = {}, measures(estimates, reference, counts)
        if practical is not None and name in practical:
            measured["practical_variance"] = total_variance(practical[name], fewer)
        for measure, draws in measured.items():
            if name == REFERENCE and measure in ("squared_bias", "relative_bias", "cosine"):
                draws = np.full_like(draws, np.nan)
            low, high = map(float, percentile_interval(draws[1:], confidence))
            row |= {measure: float(draws[0]), f"{measure}_low": low, f"{measure}_high": high}
        difference = relative_difference(estimates, gradients[LINEARIZED])
        summary[name] = row | {"gradient_norm": norm, "difference_to_lsf": difference}
    return summary


def allotted(
    pilot: Mapping[str, Mapping[str, float]],
    replicates: int,
    most: int,
    precision: float,
    confidence: float,
) -> int:
    """R, as many replicates as bring standard errors to a share of what is measured.

    Of each estimator's inner variance, but for errors planted on purpose, and of the squared bias
    of BIASED, where there is a reference. An error is half the pilot's interval, by the quantile,
    and falls with the root of R; where the pilot's value is not positive, it takes the most.

    Args:
      pilot: what `summarize` tells of it.
      replicates: its R.
      most: what the budget allows.
      precision: the share.
      confidence: of the pilot's intervals.
    """
    quantile = float(stats.norm.ppf((1 + confidence) / 2))
    needed = float(replicates)
    for name, row in pilot.items():
        if name == REFERENCE or name.startswith(tables.CONTROLS):
            continue
        for measure in ("inner_variance", *(["squared_bias"] if name in BIASED else [])):
            value, low, high = (row[f"{measure}{end}"] for end in ("", "_low", "_high"))
            if math.isnan(value):  # there is no reference
                continue
            error = (high - low) / (2 * quantile)
            share = error / value if value > 0 else math.inf
            needed = max(needed, replicates * (share / precision) ** 2)
    return math.ceil(min(needed, most))


def rows(
    keys: Mapping,
    estimators: Sequence[str],
    gradients: Mapping[str, np.ndarray],
    generator: np.random.Generator,
    confidence: float,
    practical: Mapping[str, np.ndarray] | None = None,
) -> list[dict]:
    """One row of `columns.SAMPLED` an estimator, at one N.

    Args:
      keys: level, problem, sample_size, replicates, outer_sample_size.
      estimators: those to report.
      gradients: see `summarize`.
      generator, confidence, practical: see `summarize`.

    Raises:
      RunError: an estimate is not finite.
    """
    where = f"N = {keys['sample_size']} on {keys['problem']}"
    for name, estimates in (*gradients.items(), *(practical or {}).items()):
        if not np.isfinite(estimates).all():
            raise RunError(
                f"{name} is not finite at {where}: what it returns has a NaN or an infinity; mend"
                " it, or leave it out"
            )
    summary = summarize(gradients, generator, confidence, practical)
    return [
        {
            **keys,
            "estimator": name,
            **summary[name],
            "confidence": confidence,
        }
        for name in estimators
    ]


def audit_units(
    units: Sequence[tuple],
    costs: Sequence[float],
    measure: Callable[..., list[dict]],
    checkpoint: Path,
    described: Mapping,
    output: Path,
) -> None:
    """Measures unit after unit, on from the checkpoint if there is one; writes a tidy parquet.

    The table is printed too.

    Args:
      units: arguments of `measure`; the first names the place and the last is N, for the log.
      costs: of each unit, in proportion, for the ETA.
      measure: from a unit to its rows.
      checkpoint: file of the finished units' rows.
      described: all that the numbers depend on but for the code.
      output: parquet file of `columns.SAMPLED`.
    """
    restored = checkpoints.load(checkpoint, described)
    finished = [] if restored is None else restored[1]
    first = 0 if restored is None else int(restored[0]["done"])
    sizes = [unit[-1] for unit in units]
    progress = Progress("measurement", costs, done=first, shapes=sizes)
    for done, unit in enumerate(units[first:], start=first + 1):
        finished += measure(*unit)
        checkpoints.save(checkpoint, {"done": np.array(done)}, finished, described)
        progress.advance(f"{unit[0]}, N = {unit[-1]}")
    write_table(columns.SAMPLED, finished, output)
    print(text(pd.DataFrame(finished)))
