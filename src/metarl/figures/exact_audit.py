"""Exact relative bias and variance of each estimator against the sample size N, a row a problem.

Both axes are logarithmic, so that a rate N^s is a line of slope s; the slopes in the legends are
fitted on the last octaves (`metarl.results.rates`). Dotted guides have the rates of Tang (2022): at
most N^-1/2 for the bias, N^-1 (LSF) and N^+1 (unbiased) for the variance; only their slopes matter.
A relative bias below EXACTLY_ZERO is rounding error: such an estimator is listed as exactly 0 and
not drawn. Published deviations have a figure of their own (`published_code`).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FixedLocator,
    FormatStrFormatter,
    LogLocator,
    NullFormatter,
    NullLocator,
    ScalarFormatter,
)

from metarl.figures import style
from metarl.results import columns, rates, tables

EXACTLY_ZERO = 1e-9
LABELS = {"relative_bias": "relative bias", "variance": "variance"}
UNITS = {"relative_bias": "fraction", "variance": "squared gradient"}
GUIDES = {"relative_bias": (-0.5,), "variance": (1.0, -1.0)}
MAXIMUM_TICKS = 6


def draw(paths: Sequence[Path | str]) -> Figure:
    """Draws the figure from exact audit files.

    Raises:
      InputError: as `tables.read_some`.
    """
    audit = catalogue_rows(named_problems(tables.read_some(columns.EXACT, paths)))
    looks = style.looks(audit["estimator"])
    problems = sorted(audit["problem"].unique())
    with style.context():
        figure = Figure(figsize=(style.DOUBLE_COLUMN, 2.4 * len(problems)))
        axes = figure.subplots(len(problems), 2, squeeze=False)
        for row, problem in zip(axes, problems, strict=True):
            for axis, column in zip(row, LABELS, strict=True):
                _draw_panel(axis, audit[audit["problem"] == problem], column, looks)
                axis.set_title(f"{problem}: {LABELS[column]}")
    return figure


def named_problems(audit: pd.DataFrame) -> pd.DataFrame:
    """The rows of problems that are no random instance of another; all where there is no other."""
    instances = audit["problem"].str.contains("-")
    return audit if instances.all() else audit[~instances]


def catalogue_rows(audit: pd.DataFrame) -> pd.DataFrame:
    """The rows of the catalogue and of users' own: no published deviations, no planted errors."""
    return audit[(audit["counterpart"] == "") & ~tables.is_control(audit["estimator"])]


def _draw_panel(axis: Axes, audit: pd.DataFrame, column: str, looks: dict[str, style.Look]) -> None:
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    sizes = np.sort(audit["sample_size"].unique())
    handles = []
    for estimator, look in looks.items():
        rows = audit[audit["estimator"] == estimator]
        if not rows.empty:
            handles.append(_draw_estimator(axis, rows, column, look))
    handles += _draw_guides(axis, sizes, column)
    used = sizes[sizes >= sizes.max() / 2**rates.OCTAVES]
    title = f"slope, N = {used[0]}\N{EN DASH}{used[-1]}"
    axis.legend(
        handles=handles,
        title=title,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.06),
        labelspacing=0.25,
        alignment="left",
    )
    _set_ticks(axis, sizes)
    axis.set_xlabel("sample size N (trajectories)")
    axis.set_ylabel(f"{LABELS[column]} ({UNITS[column]})")


def _draw_estimator(axis: Axes, rows: pd.DataFrame, column: str, look: style.Look) -> Line2D:
    name = rows["estimator"].iloc[0].rsplit(":")[-1]
    values = rows[column].to_numpy(float)
    if column == "relative_bias" and np.all(values < EXACTLY_ZERO):
        return Line2D([], [], label=f"{name}: exactly 0", **look.marks)
    drawn = np.where(values > 0, values, np.nan)
    slope = rates.fit(rows["sample_size"], values).slope
    label = f"{name}: {signed(slope)}"
    return axis.plot(rows["sample_size"], drawn, label=label, **look.marks)[0]


def signed(slope: float) -> str:
    """-0.98 with a true minus sign; 'no fit' for nan, and never a -0.00."""
    if not np.isfinite(slope):
        return "no fit"
    return f"{slope:+z.2f}".replace("-", "\N{MINUS SIGN}")


def _draw_guides(axis: Axes, sizes: np.ndarray, column: str) -> list[Line2D]:
    """The paper's rates: from above the data for the bias, around the data for the variance."""
    drawn = [line.get_ydata()[np.isfinite(line.get_ydata())] for line in axis.get_lines()]
    starts = [values[0] for values in drawn if values.size]
    if len(sizes) < 2 or not starts:
        return []
    handles = []
    for exponent in GUIDES[column]:
        start = 2 * max(starts) if column == "relative_bias" or exponent > 0 else min(starts) / 2
        heights = start * (sizes / sizes[0]) ** exponent
        handles += axis.plot(sizes, heights, label=f"paper: {signed(exponent)}", **style.GUIDE)
    return handles


def _set_ticks(axis: Axes, sizes: np.ndarray) -> None:
    """Ticks of N at powers of two that were audited, fewer where they are many; plain numbers."""
    powers = sizes[np.log2(sizes) % 1 == 0]
    ticks = powers if powers.size else sizes
    axis.xaxis.set_major_locator(FixedLocator(ticks[:: -(-len(ticks) // MAXIMUM_TICKS)]))
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_locator(LogLocator(numticks=6))
    axis.yaxis.set_minor_formatter(NullFormatter())
    low, high = axis.get_ylim()
    if high < 30 * low:  # else too narrow to hold two powers of ten
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter(FormatStrFormatter("%g"))
