"""How far the cheetahs run: the torso's position over time, before and after adaptation.

A column an environment, a row a number of inner steps; a line a held-out task, its colour the task:
the direction or the goal velocity.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from metarl.figures import style
from metarl.results import columns, tables


def draw(paths: Sequence[Path | str]) -> Figure:
    """Draws the figure from tables of paths along a line.

    Raises:
      InputError: as `tables.read_some`.
    """
    rows = tables.read_some(columns.paths(task_size=1, position_size=1), paths)
    rows = rows[rows["trajectory"] == 0]
    environments = sorted(rows["environment"].unique())
    steps = sorted(rows["inner_step"].unique())
    colours = matplotlib.colormaps["viridis"]
    with style.context():
        figure = Figure(figsize=(style.SINGLE_COLUMN, 1.3 * len(steps) + 0.9))
        axes = figure.subplots(
            len(steps), len(environments), sharex=True, sharey="col", squeeze=False
        )
        for column, environment in zip(axes.T, environments, strict=True):
            panels = rows[rows["environment"] == environment]
            panels = panels[panels["seed"] == panels["seed"].min()]
            scale = matplotlib.colors.Normalize(panels["task_0"].min(), panels["task_0"].max())
            column[0].set_title(environment.removesuffix("_finn2017"))
            for axis, step in zip(column, steps, strict=True):
                for (_, goal), path in panels[panels["inner_step"] == step].groupby(
                    ["task", "task_0"]
                ):
                    path = path.sort_values("step")
                    axis.plot(path["step"], path["x"], color=colours(scale(goal)), linewidth=0.7)
            column[-1].set_xlabel("step")
            goals = np.unique(panels["task_0"])
            bar = figure.colorbar(
                matplotlib.cm.ScalarMappable(scale, colours),
                ax=column,
                location="bottom",
                pad=0.01,
                ticks=goals if len(goals) == 2 else None,  # two directions
            )
            bar.set_label("direction" if len(goals) == 2 else "goal velocity (m / s)")
        for axis, step in zip(axes[:, 0], steps, strict=True):
            axis.set_ylabel(f"{style.after_inner_steps(step)}\nposition (m)")
    return figure
