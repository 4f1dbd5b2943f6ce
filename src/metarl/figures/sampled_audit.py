"""Sampled audits: relative bias (left) and inner variance (right) against N, a row a problem.

Of the Monte Carlo audit the first random process stands for all, and of its estimators those that
simulation audits too are drawn; the others are in the tables. In simulation bias and variance are
of N of their own, those at which each is judged. The reference of the bias is leave_one_out on the
same samples, so it has no line there; a panel in which no bias can be told from 0 is left out.
Intervals are over replicates; a relative bias that the audit cannot tell from 0 has one down to the
panel's bottom. The dotted line is the outer variance of lsf, that of the outer batch, which no
number of inner samples lowers.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, ScalarFormatter

from metarl.figures import style
from metarl.results import columns, tables

LABELS = {"relative_bias": "relative bias", "inner_variance": "inner variance"}
JUDGED = {"relative_bias": tables.with_reference, "inner_variance": tables.of_rates}
MOST_TICKS = 4  # of N
SPREAD = 0.5  # octaves of N over which the estimators' markers are laid side by side
FLOOR = 1e-3  # of a relative bias: below it nothing is drawn


def draw(paths: Sequence[Path | str], confidence: float) -> Figure:
    """Draws the figure from files of `metarl audit monte-carlo` and `metarl audit mujoco`.

    Raises:
      InputError: as `tables.read_some`, or its intervals have another confidence.
    """
    tables.require_confidence(paths, confidence)
    frame = tables.read_some(columns.SAMPLED, paths)
    frame = frame[~tables.is_control(frame["estimator"])]
    simulated = frame.loc[frame["level"] == "mujoco", "estimator"]
    if len(simulated):
        frame = frame[frame["estimator"].isin(simulated)]
    looks = style.looks(frame["estimator"])
    places = shown_places(frame)
    with style.context():
        figure = Figure(figsize=(style.SINGLE_COLUMN, 1.55 * len(places) + 1.5))
        axes = figure.subplots(len(places), 2, squeeze=False)
        for row, place in zip(axes, places, strict=True):
            rows = frame[frame["problem"] == place]
            row[0].set_title(place.replace("_", " "), loc="left")
            for axis, (column, label) in zip(row, LABELS.items(), strict=True):
                if column == "relative_bias" and not (rows["relative_bias_low"] > FLOOR).any():
                    axis.set_axis_off()
                    text = "no bias\ncan be told from 0"
                    axis.text(0.5, 0.5, text, ha="center", va="center")
                    continue
                _draw_panel(axis, JUDGED[column](rows), column, looks)
                axis.set_ylabel(label)
        floor = {"outer variance of lsf": style.Look("0.55", "", style.DOTTED)}
        names = {name.rpartition(":")[2]: look for name, look in looks.items()}
        style.shared_legend(figure, names | floor, diverged=False)
    return figure


def shown_places(frame: pd.DataFrame) -> list[str]:
    """The first problem of the Monte Carlo audit and all of the simulated ones."""
    of = {level: sorted(rows["problem"].unique()) for level, rows in frame.groupby("level")}
    return [*of.get("monte_carlo", [])[:1], *of.get("mujoco", [])]


def _draw_panel(axis: Axes, rows: pd.DataFrame, column: str, looks: dict[str, style.Look]) -> None:
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    sizes = np.sort(rows["sample_size"].unique())
    for place, (name, look) in enumerate(looks.items()):
        chosen = rows[rows["estimator"] == name].sort_values("sample_size")
        shift = 2.0 ** (SPREAD * ((place + 0.5) / len(looks) - 0.5))
        x = chosen["sample_size"].to_numpy() * shift
        value, low, high = (
            chosen[f"{column}{end}"].to_numpy(float) for end in ("", "_low", "_high")
        )
        drawn = value > (FLOOR if column == "relative_bias" else 0.0)
        axis.plot(x, np.where(drawn, value, np.nan), **look.marks)
        ends = np.isfinite(low) & (high > FLOOR if column == "relative_bias" else high > 0)
        axis.vlines(
            x[ends],
            np.maximum(low[ends], FLOOR * 1e-3),
            high[ends],
            colors=look.colour,
            linewidth=0.7,
        )
    if column == "inner_variance":
        lsf = rows[rows["estimator"] == "lsf"].sort_values("sample_size")
        axis.plot(lsf["sample_size"], lsf["outer_variance"], **style.GUIDE)
    drawn = [line.get_ydata()[np.isfinite(line.get_ydata())] for line in axis.get_lines()]
    drawn = np.concatenate([values for values in drawn if values.size] or [np.ones(1)])
    drawn = drawn[drawn > 0]
    axis.set_ylim(drawn.min() / 3, drawn.max() * 3)
    axis.set_xlim(sizes.min() / 1.5, sizes.max() * 1.5)
    axis.xaxis.set_major_locator(FixedLocator(sizes[:: -(-len(sizes) // MOST_TICKS)]))
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("sample size N")
