"""How far the cheetahs run: the torso's position over time, before and after adaptation.

A row an environment, a column a number of inner steps; a line a held-out task, its colour the task:
the direction or the goal velocity.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
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
        figure = Figure(figsize=(style.DOUBLE_COLUMN, 1.9 * len(environments) + 0.2))
        axes = figure.subplots(
            len(environments), len(steps), sharex=True, sharey="row", squeeze=False
        )
        for line, environment in zip(axes, environments, strict=True):
            panels = rows[rows["environment"] == environment]
            panels = panels[panels["seed"] == panels["seed"].min()]
            scale = matplotlib.colors.Normalize(panels["task_0"].min(), panels["task_0"].max())
            for axis, step in zip(line, steps, strict=True):
                axis.set_title(style.after_inner_steps(step))
                for (_, goal), path in panels[panels["inner_step"] == step].groupby(
                    ["task", "task_0"]
                ):
                    path = path.sort_values("step")
                    axis.plot(path["step"], path["x"], color=colours(scale(goal)), linewidth=0.7)
            line[0].set_ylabel(f"{environment}\ntorso's position (m)")
            bar = figure.colorbar(matplotlib.cm.ScalarMappable(scale, colours), ax=line, pad=0.01)
            bar.set_label("task")
        for axis in axes[-1]:
            axis.set_xlabel("step")
    return figure
