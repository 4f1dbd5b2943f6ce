"""Rates of convergence: the slope of log(value) against log(N).

A quantity that behaves like value = c N^s is a straight line of slope s on log-log axes. The first
sample sizes still carry higher orders of 1/N, so the line is fitted on the last octaves alone:
every N >= max(N) / 2^octaves.

The interval is that of ordinary least squares, slope +- t[(1 + confidence)/2, points - 2] times the
standard error. On exact values there is no noise: it measures how far the points are from a line.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from metarl.results.columns import CONFIDENCE

OCTAVES = 3


@dataclass(frozen=True)
class Rate:
    """A fitted slope and where it was fitted.

    Attributes:
      slope: exponent s of N; nan where there is none to fit.
      low, high: ends of its interval; nan with fewer than 3 points.
      first, last: smallest and largest sample size N of the fit.
      points: number of sample sizes in the fit.
    """

    slope: float
    low: float
    high: float
    first: int
    last: int
    points: int


def fit(sample_sizes, values, confidence: float = CONFIDENCE, octaves: float = OCTAVES) -> Rate:
    """Fits value = c N^slope by least squares in the logarithms, over the last `octaves` of N.

    Args:
      sample_sizes: [M] distinct sample sizes N > 0, in any order.
      values: [M] what is measured at each N.
      confidence: probability content of the interval.
      octaves: doublings of N, counted from the largest, that the fit uses.

    Returns:
      The Rate. Its slope is nan with fewer than 2 points, or where a value in the fitted range is
      not finite or not positive: leaving such a value out would hide it.

    Raises:
      ValueError: the arguments differ in shape, or are empty.
    """
    sample_sizes, values = np.asarray(sample_sizes, float), np.asarray(values, float)
    if sample_sizes.shape != values.shape or sample_sizes.ndim != 1 or not sample_sizes.size:
        raise ValueError(
            f"sample sizes {sample_sizes.shape} and values {values.shape} must both be [M], M > 0"
        )
    chosen = sample_sizes >= sample_sizes.max() / 2**octaves
    sample_sizes, values = sample_sizes[chosen], values[chosen]
    slope = low = high = math.nan
    if sample_sizes.size >= 2 and np.all(np.isfinite(values) & (values > 0)):
        x, y = np.log(sample_sizes), np.log(values)
        x, y = x - x.mean(), y - y.mean()
        slope = float(x @ y / (x @ x))
        freedom = sample_sizes.size - 2
        if freedom > 0:
            error = np.sqrt(np.sum((y - slope * x) ** 2) / freedom / (x @ x))
            margin = float(stats.t.ppf((1 + confidence) / 2, freedom) * error)
            low, high = slope - margin, slope + margin
    return Rate(
        slope, low, high, int(sample_sizes.min()), int(sample_sizes.max()), sample_sizes.size
    )
