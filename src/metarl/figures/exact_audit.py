"""Exact relative bias and variance of each estimator against the sample size N, a panel each.

Both axes are logarithmic, so that a rate N^s is a line of slope s. Marks are enumerated; the thin
line of the same colour is the leading term that they approach (`metarl audit limit`), which no mark
was fitted to. Dotted guides have the rates of Tang (2022): at most N^-1/2 for the bias, N^-1 (LSF)
and N^+1 (unbiased) for the variance; only their slopes matter. A relative bias below EXACTLY_ZERO
is rounding error and is not drawn. Published deviations have a figure of their own
(`published_code`).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FormatStrFormatter,
    LogLocator,
    NullFormatter,
    NullLocator,
    ScalarFormatter,
)

from metarl.figures import style
from metarl.results import columns, tables

EXACTLY_ZERO = 1e-9
LABELS = {"relative_bias": "relative bias", "variance": "variance"}
UNITS = {"relative_bias": "fraction", "variance": "squared gradient"}
GUIDES = {"relative_bias": (-0.5,), "variance": (1.0, -1.0)}
MAXIMUM_TICKS = 6
SHOWN = 2  # problems; the others are in the tables


def draw(paths: Sequence[Path | str]) -> Figure:
    """Draws the figure from files of `metarl audit exact` and, for the lines, `metarl audit limit`.

    Raises:
      InputError: as `tables.read_some`.
    """
    limits = [path for path in paths if not tables.is_of(columns.EXACT, path)]
    limits = [path for path in limits if tables.is_of(columns.LIMIT, path)]
    exact = [path for path in paths if path not in limits]
    audit = catalogue_rows(named_problems(tables.read_some(columns.EXACT, exact)))
    limit = tables.read(columns.LIMIT, limits)
    looks = style.looks(audit["estimator"])
    problems = sorted(audit["problem"].unique())[:SHOWN]
    with style.context():
        figure = Figure(figsize=(style.SINGLE_COLUMN, 3.4 * len(problems) + 1.5))
        axes = figure.subplots(2 * len(problems), 1, squeeze=False)[:, 0]
        panels = [(problem, column) for problem in problems for column in LABELS]
        for axis, (problem, column) in zip(axes, panels, strict=True):
            terms = limit[limit["problem"] == problem]
            _draw_panel(axis, audit[audit["problem"] == problem], terms, column, looks)
            axis.set_title(f"{problem}: {LABELS[column]}")
        names = {name.rpartition(":")[2]: look for name, look in looks.items()}
        guide = {"rates of the paper": style.Look("0.55", "", style.DOTTED)}
        lines = {} if limit.empty else {"leading terms": style.Look("0.3", "", "-")}
        style.shared_legend(figure, names | lines | guide, diverged=False)
    return figure


def named_problems(audit: pd.DataFrame) -> pd.DataFrame:
    """The rows of problems that are no random instance of another; all where there is no other."""
    instances = audit["problem"].str.contains("-")
    return audit if instances.all() else audit[~instances]


def catalogue_rows(audit: pd.DataFrame) -> pd.DataFrame:
    """The rows of the catalogue and of users' own: no published deviations, no planted errors."""
    return audit[(audit["counterpart"] == "") & ~tables.is_control(audit["estimator"])]


def _draw_panel(
    axis: Axes,
    audit: pd.DataFrame,
    limit: pd.DataFrame,
    column: str,
    looks: dict[str, style.Look],
) -> None:
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    sizes = np.sort(audit["sample_size"].unique())
    for estimator, look in looks.items():
        rows = audit[audit["estimator"] == estimator]
        values = rows[column].to_numpy(float)
        smallest = EXACTLY_ZERO if column == "relative_bias" else 0.0
        marks = look.marks if limit.empty else {**look.marks, "linestyle": "none"}
        drawn = np.where(values > smallest, values, np.nan)
        axis.plot(rows["sample_size"], drawn, label=estimator, **marks)
    _draw_guides(axis, sizes, column)
    low, high = axis.get_ylim()  # of what was enumerated: a leading term may come from far away
    for term in limit.itertuples():
        if term.estimator in looks:
            axis.plot(
                sizes,
                leading_term(term, column, sizes),
                label=f"{term.estimator}, leading term",
                color=looks[term.estimator].colour,
                linewidth=0.7,
                zorder=1.5,
            )
    axis.set_ylim(low, high)
    _set_ticks(axis, sizes)
    axis.set_xlabel("sample size N (trajectories)")
    axis.set_ylabel(f"{LABELS[column]} ({UNITS[column]})")


def leading_term(term: tuple, column: str, sizes: np.ndarray) -> np.ndarray:
    """c N^s at every N, of a row of `columns.LIMIT`; nan where there is no term."""
    if column == "variance":
        return term.variance_coefficient * sizes ** float(term.variance_order)
    coefficient = term.bias_coefficient / term.gradient_norm
    return (coefficient or np.nan) * sizes ** float(term.bias_order)


def signed(slope: float) -> str:
    """-0.98 with a true minus sign; 'no fit' for nan, and never a -0.00."""
    if not np.isfinite(slope):
        return "no fit"
    return f"{slope:+z.2f}".replace("-", "\N{MINUS SIGN}")


def _draw_guides(axis: Axes, sizes: np.ndarray, column: str) -> None:
    """The paper's rates: from above the data for the bias, around the data for the variance."""
    drawn = [line.get_ydata()[np.isfinite(line.get_ydata())] for line in axis.get_lines()]
    starts = [values[0] for values in drawn if values.size]
    if len(sizes) < 2 or not starts:
        return
    for exponent in GUIDES[column]:
        start = 2 * max(starts) if column == "relative_bias" or exponent > 0 else min(starts) / 2
        heights = start * (sizes / sizes[0]) ** exponent
        axis.plot(sizes, heights, label=f"paper: {signed(exponent)}", **style.GUIDE)


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
