"""Curves of a published comparison of algorithms, one panel an environment.

A line with marks is the mean over seeds of the return after the last inner step, against
environment steps; the faint lines are the seeds.
"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from metarl.figures import style
from metarl.results import columns, tables

MARKERS = 6


def draw(paths: Sequence[Path | str]) -> Figure:
    """Draws the figure from the tables of curves of `metarl archive`.

    Raises:
      InputError: as `tables.read_some`.
    """
    training = tables.post_adaptation(tables.read_some(columns.TRAINING, paths))
    looks = style.algorithm_looks(training)
    environments = sorted(training["environment"].unique())
    diverged = []
    with style.context():
        figure, axes = style.curve_panels(environments)
        for axis, environment in zip(axes, environments, strict=True):
            rows = training[training["environment"] == environment]
            for algorithm, of_algorithm in rows.groupby("algorithm"):
                look = looks[str(algorithm)]
                by_seed = tables.by_seed(of_algorithm, "environment_steps")
                steps, mean = by_seed.index.to_numpy(), by_seed.mean(axis=1, skipna=False)
                axis.plot(steps, by_seed, color=look.colour, alpha=0.3, linewidth=0.6, zorder=1)
                axis.plot(steps, mean, markevery=max(1, len(steps) // MARKERS), **look.marks)
                diverged.append(style.mark_divergence(axis, steps, mean.to_numpy(), look))
        style.shared_legend(figure, looks, any(diverged))
    return figure
