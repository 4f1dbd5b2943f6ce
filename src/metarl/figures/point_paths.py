"""Where the points go: paths before and after each inner step, towards goals they do not observe.

One panel a number of inner steps; a colour a task, its goal a star, its paths from the origin.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from metarl.figures import style
from metarl.results import columns, tables

COLUMNS = 2
TASKS = 8  # more would hide each other
STAR = {
    "marker": "*",
    "markersize": 8,
    "markeredgecolor": "black",
    "markeredgewidth": 0.5,
    "linestyle": "none",
    "zorder": 3,
}


def draw(paths: Sequence[Path | str]) -> Figure:
    """Draws the figure from a table of paths in the plane.

    Raises:
      InputError: as `tables.read_some`.
    """
    rows = tables.read_some(columns.paths(task_size=2, position_size=2), paths)
    rows = rows[(rows["seed"] == rows["seed"].min()) & (rows["task"] < TASKS)]
    steps = sorted(rows["inner_step"].unique())
    colours = matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, TASKS))
    with style.context():
        lines = -(-len(steps) // COLUMNS)
        figure = Figure(figsize=(style.SINGLE_COLUMN, 1.75 * lines + 0.2))
        axes = figure.subplots(lines, COLUMNS, sharex=True, sharey=True, squeeze=False)
        for axis in axes.ravel()[len(steps) :]:
            axis.remove()
        for axis, step in zip(axes.ravel(), steps, strict=False):
            axis.set_title(style.after_inner_steps(step))
            axis.set_aspect("equal")
            panel = rows[rows["inner_step"] == step]
            for (task, _), path in panel.groupby(["task", "trajectory"]):
                x, y = np.vstack([[0.0, 0.0], path.sort_values("step")[["x", "y"]].to_numpy()]).T
                axis.plot(x, y, color=colours[task], linewidth=0.6, alpha=0.8)
            for task, goal in panel.groupby("task")[["task_0", "task_1"]].first().iterrows():
                axis.plot(*goal, color=colours[task], **STAR)
            axis.set_xlim(-0.85, 0.85)
            axis.set_ylim(-0.85, 0.85)
        figure.supxlabel("x")
        figure.supylabel("y")
    return figure
