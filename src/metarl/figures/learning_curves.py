"""Post-adaptation return against environment steps while training, one panel an environment.

A line is the interquartile mean over seeds of the return after the last inner step, its band a
bootstrap interval over seeds (none below three seeds). A line breaks off, with a cross, where a
seed's return is not finite: averaging the seeds that survive would flatter the algorithm. The
return before adaptation would double the number of lines; `adaptation` shows it.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metarl.figures import style
from metarl.results import columns, statistics, tables

MARKERS = 6


def draw(paths: Sequence[Path | str], confidence: float) -> Figure:
    """Draws the figure from training files, with intervals of the given confidence.

    Raises:
      InputError: as `tables.read_some`.
    """
    training = tables.post_adaptation(tables.read_some(columns.TRAINING, paths))
    looks = style.algorithm_looks(training)
    environments = sorted(training["environment"].unique())
    with style.context():
        figure, axes = style.curve_panels(environments)
        diverged = [
            _draw_curve(axis, rows, look, place / len(looks), confidence)
            for axis, environment in zip(axes, environments, strict=True)
            for place, (algorithm, look) in enumerate(looks.items())
            if not (rows := _select(training, environment, algorithm)).empty
        ]
        for axis in axes:
            style.compress_far_returns(axis)
        style.shared_legend(figure, looks, any(diverged))
    return figure


def _select(frame: pd.DataFrame, environment: str, algorithm: str) -> pd.DataFrame:
    return frame[(frame["environment"] == environment) & (frame["algorithm"] == algorithm)]


def _draw_curve(
    axis: Axes, rows: pd.DataFrame, look: style.Look, offset: float, confidence: float
) -> bool:
    """Draws one algorithm, markers shifted by `offset` in [0, 1); says whether a seed diverged."""
    table = tables.by_seed(rows, "environment_steps")
    steps, returns = table.index.to_numpy(), table.to_numpy().T  # [seeds, iterations]
    centre = statistics.interquartile_mean(returns)
    low, high = statistics.bootstrap_interval(returns, statistics.interquartile_mean, confidence)
    spacing = max(1, len(steps) // MARKERS)
    axis.plot(steps, centre, markevery=(int(offset * spacing), spacing), **look.marks)
    axis.fill_between(steps, low, high, color=look.colour, alpha=0.15, linewidth=0)
    return style.mark_divergence(axis, steps, centre, look)
