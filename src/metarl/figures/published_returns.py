"""Held-out returns beside published ones, against inner steps, one panel an environment.

A black point is the published mean over held-out tasks, its bar the published standard deviation
over tasks. A coloured point is a seed's mean over as many tasks with its last policy, its bar the
standard deviation over them; faint lines are the policies kept along its training, as far as they
are in that range.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from metarl.figures import style
from metarl.results import columns, tables

SPREAD = 0.12
PUBLISHED = style.Look("#000000", "o", "-")


def draw(paths: Sequence[Path | str]) -> Figure:
    """Draws the figure from the tables of returns of `metarl archive`.

    Raises:
      InputError: as `tables.read_some`.
    """
    returns = tables.read_some(columns.PUBLISHED, paths)
    environments = sorted(returns["environment"].unique())
    looks = style.algorithm_looks(returns)
    with style.context():
        figure, axes = style.environment_panels(
            environments, "inner steps", "return on held-out tasks\n(sum of rewards)"
        )
        for axis, environment in zip(axes, environments, strict=True):
            rows = returns[returns["environment"] == environment]
            steps = np.sort(rows["inner_step"].unique())
            axis.xaxis.set_major_locator(FixedLocator(steps))
            published = rows.groupby("inner_step")[
                ["published_return", "published_deviation"]
            ].first()
            axis.errorbar(
                steps - SPREAD, *published.to_numpy().T, **PUBLISHED.marks, elinewidth=0.9
            )
            last = rows.groupby(["algorithm", "seed"])["iterations"].transform("max")
            for (algorithm, seed), run in rows[rows["iterations"] == last].groupby(
                ["algorithm", "seed"]
            ):
                by_step = run.groupby("inner_step")["mean_return"]
                measured = by_step.mean().to_numpy(), by_step.std(ddof=0).to_numpy()
                shift = SPREAD * (0.5 + 0.5 * seed)
                axis.errorbar(steps + shift, *measured, **looks[algorithm].marks, elinewidth=0.9)
            axis.set_ylim(axis.get_ylim())  # what is earlier may be far below
            earlier = rows[rows["iterations"] < last]
            for (algorithm, *_), policy in earlier.groupby(["algorithm", "seed", "iterations"]):
                means = policy.groupby("inner_step")["mean_return"].mean()
                colour = looks[algorithm].colour
                axis.plot(means.index, means, color=colour, alpha=0.3, linewidth=0.6, zorder=1)
        style.shared_legend(figure, {"published": PUBLISHED, **looks}, diverged=False)
    return figure
