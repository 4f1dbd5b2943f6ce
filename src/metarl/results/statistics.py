"""Centres and intervals over seeds, for figures and claims alike.

Seeds are the independent repetitions: intervals resample seeds, never tasks, trajectories or
iterations. Fewer than three seeds have no interval. With three, a 95% percentile interval is about
the range of the seeds, which is all that three numbers can tell.
"""

from collections.abc import Callable

import numpy as np
from scipy import stats

from metarl.randomness import generator

MINIMUM_SEEDS = 3
RESAMPLES = 2000


def mean(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """The mean over `axis`; nan where a value is not finite."""
    return _where_finite(values, np.mean(values, axis=axis), axis)


def interquartile_mean(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """The mean of the middle half over `axis`; the outer quarters round down, so of three the mean.

    nan where a value is not finite: trimming would make a diverged run disappear.
    """
    return _where_finite(values, stats.trim_mean(values, 0.25, axis=axis), axis)


def _where_finite(values: np.ndarray, centre: np.ndarray, axis: int) -> np.ndarray:
    return np.where(np.isfinite(values).all(axis=axis), centre, np.nan)


def bootstrap_interval(
    values: np.ndarray, statistic: Callable = interquartile_mean, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap interval over seeds, from a fixed random stream.

    Args:
      values: [seeds, ...] one value per seed.
      statistic: what the interval is of; takes (values, axis).
      confidence: probability content.

    Returns:
      low, high: [...]; nan with fewer than MINIMUM_SEEDS seeds and where a value is not finite.
    """
    values = np.asarray(values, float)
    columns = values.reshape(len(values), -1)
    low, high = np.full((2, columns.shape[1]), np.nan)
    finite = np.isfinite(columns).all(axis=0)
    if len(values) >= MINIMUM_SEEDS and finite.any():
        result = stats.bootstrap(
            (columns[:, finite],),
            statistic,
            n_resamples=RESAMPLES,
            batch=100,
            confidence_level=confidence,
            method="percentile",
            rng=generator(0, "bootstrap"),
        )
        low[finite], high[finite] = result.confidence_interval
    return low.reshape(values.shape[1:]), high.reshape(values.shape[1:])
