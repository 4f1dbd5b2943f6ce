"""Return on held-out tasks against the number of inner steps, one panel an environment.

A point is the interquartile mean over seeds of the mean return over the held-out tasks, its bar a
bootstrap interval over seeds (none below three seeds). Points of one inner step are spread a
little sideways, so that bars do not hide each other. A line breaks off, with a cross, where a
seed's return is not finite.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from metarl.figures import style
from metarl.results import columns, statistics, tables

SPREAD = 0.3


def draw(paths: Sequence[Path | str], confidence: float) -> Figure:
    """Draws the figure from evaluation files, with intervals of the given confidence.

    Raises:
      InputError: as `tables.read_some`.
    """
    evaluation = mean_over_tasks(tables.read_some(columns.EVALUATION, paths))
    looks = style.algorithm_looks(evaluation)
    environments = sorted(evaluation["environment"].unique())
    shifts = dict(zip(looks, _shifts(len(looks)), strict=True))
    diverged = False
    with style.context():
        figure, axes = style.environment_panels(
            environments, "inner steps", "return on held-out tasks\n(sum of rewards)"
        )
        for axis, environment in zip(axes, environments, strict=True):
            panel = evaluation[evaluation["environment"] == environment]
            axis.xaxis.set_major_locator(FixedLocator(np.sort(panel["inner_step"].unique())))
            for algorithm, rows in panel.groupby("algorithm"):
                diverged |= _draw_algorithm(
                    axis, rows, looks[algorithm], shifts[algorithm], confidence
                )
            style.compress_far_returns(axis)
        style.shared_legend(figure, looks, diverged)
    return figure


def mean_over_tasks(evaluation: pd.DataFrame) -> pd.DataFrame:
    """One row a run and inner step; nan where a task's return is nan."""
    keys = ["environment", "algorithm", "estimator", "seed", "inner_step"]
    return evaluation.groupby(keys, as_index=False)["mean_return"].mean(skipna=False)


def _shifts(count: int) -> np.ndarray:
    """[count] sideways shifts within SPREAD, centred on 0."""
    return (np.arange(count) - (count - 1) / 2) * SPREAD / max(count - 1, 1)


def _draw_algorithm(
    axis: Axes, rows: pd.DataFrame, look: style.Look, shift: float, confidence: float
) -> bool:
    """Draws one algorithm; says whether a seed diverged."""
    table = tables.by_seed(rows, "inner_step")
    returns = table.to_numpy().T  # [seeds, inner steps]
    steps = table.index.to_numpy() + shift
    centre = statistics.interquartile_mean(returns)
    low, high = statistics.bootstrap_interval(returns, statistics.interquartile_mean, confidence)
    axis.plot(steps, centre, **look.marks)
    axis.vlines(steps, low, high, color=look.colour, linewidth=0.9)
    return style.mark_divergence(axis, steps, centre, look)
