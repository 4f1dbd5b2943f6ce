"""Final post-adaptation return against the inner sample size N, at equal environment steps.

Final: the mean over the last fifth of the iterations, as in the claims; a return that is not finite
counts as the worst of the figure. Markers are means over seeds, bars bootstrap intervals over seeds
(none below three). Runs with larger N have fewer iterations.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from metarl.figures import style
from metarl.results import columns, statistics, tables


def draw(paths: Sequence[Path | str], confidence: float) -> Figure:
    """Draws the figure from training files, with intervals of the given confidence.

    The files are the study's, and those of the same algorithms at the environment's own N.

    Raises:
      InputError: as `tables.read_some`.
    """
    runs = tables.final_returns(tables.read_some(columns.TRAINING, paths))
    runs = runs[runs["environment"].isin(_studied(runs))]
    looks = style.looks(runs["estimator"])
    sizes = np.sort(runs["sample_size"].unique())
    with style.context():
        figure, axes = style.environment_panels(
            sorted(runs["environment"].unique()),
            "sample size N (trajectories)",
            "final post-adaptation return\n(sum of rewards)",
        )
        for axis, (_, rows) in zip(axes, runs.groupby("environment"), strict=True):
            axis.set_xscale("log", base=2)
            for name, look in looks.items():
                of_name = rows[rows["estimator"] == name].groupby("sample_size")["mean_return"]
                groups = {size: values.to_numpy() for size, values in of_name}
                ends = [
                    statistics.bootstrap_interval(returns, statistics.mean, confidence)
                    for returns in groups.values()
                ]
                axis.plot(
                    list(groups), [returns.mean() for returns in groups.values()], **look.marks
                )
                axis.vlines(list(groups), *np.array(ends).T, colors=look.colour)
            style.compress_far_returns(axis)
            axis.xaxis.set_major_locator(FixedLocator(sizes))
            axis.xaxis.set_major_formatter(ScalarFormatter())
            axis.xaxis.set_minor_locator(NullLocator())
        style.shared_legend(figure, looks, diverged=False)
    return figure


def _studied(runs: pd.DataFrame) -> list[str]:
    """The environments with runs at more than one N; all where there is none."""
    counts = runs.groupby("environment")["sample_size"].nunique()
    return list(counts.index[counts > 1]) or list(counts.index)
