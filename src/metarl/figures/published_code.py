"""What published code estimates, beside what its paper describes, at the N of published runs.

For each problem, relative bias and variance (in the unit of the squared gradient) at N =
SAMPLE_SIZE: a full mark for an entry of the catalogue, a hollow one for what a code base computes
in its place; numbers at the marks are slopes over the last octaves of N. The table beside the
figure (STEM.md) says the same in numbers.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from metarl.errors import InputError
from metarl.figures import style
from metarl.figures.exact_audit import EXACTLY_ZERO, named_problems, signed
from metarl.results import columns, rates, tables

SAMPLE_SIZE = 20
SUFFIX = "_as_coded"
PAPERS = ("unbiased", "dice", "maml", "lsf")  # entries of the catalogue, in the order of the page
WITHOUT_COUNTERPART = {"emaml": "unbiased"}  # an entry of its own; its paper derives unbiased
LABELS = {"relative_bias": "relative bias", "variance": "variance"}


def draw(paths: Sequence[Path | str]) -> Figure:
    """Draws the figure from exact audit files.

    Raises:
      InputError: as `tables.read_some`, or no problem was audited at SAMPLE_SIZE.
    """
    rows = summary(paths)
    problems = list(dict.fromkeys(rows["problem"]))
    with style.context():
        figure = Figure(figsize=(style.SINGLE_COLUMN, 0.7 + 2.1 * len(LABELS) * len(problems)))
        axes = figure.subplots(len(problems) * len(LABELS), 1, squeeze=False)
        for line, problem in zip(axes.reshape(-1, len(LABELS)), problems, strict=True):
            for axis, column in zip(line, LABELS, strict=True):
                _draw_panel(axis, rows[rows["problem"] == problem], column)
                axis.set_title(f"{problem}, N = {SAMPLE_SIZE}")
        marks = {"color": "0.3", "marker": "o", "linestyle": "none"}
        handles = [
            Line2D([], [], label="as the paper describes it", **marks),
            Line2D([], [], label="as published code computes it", fillstyle="none", **marks),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=1)
    return figure


def summary(paths: Sequence[Path | str]) -> pd.DataFrame:
    """problem, estimator, counterpart, and value and slope of LABELS' columns.

    An entry of the catalogue is its own counterpart, and stands before what is computed in its
    place.
    """
    audit = named_problems(tables.read_some(columns.EXACT, paths))
    papers = audit["estimator"].map(WITHOUT_COUNTERPART).fillna(audit["counterpart"])
    others = sorted(set(papers) - {*PAPERS, ""})
    rows = []
    for problem, of_problem in audit.groupby("problem"):
        for counterpart in (*PAPERS, *others):
            coded = sorted(of_problem.loc[papers == counterpart, "estimator"].unique())
            for estimator in (counterpart, *coded):
                curve = of_problem[of_problem["estimator"] == estimator]
                here = curve[curve["sample_size"] == SAMPLE_SIZE]
                if here.empty:
                    continue
                row = {"problem": problem, "estimator": estimator, "counterpart": counterpart}
                for column in LABELS:
                    row[column] = float(here[column].iloc[0])
                    row[f"{column}_slope"] = rates.fit(curve["sample_size"], curve[column]).slope
                rows.append(row)
    if not rows:
        raise InputError(
            f"no problem was audited at N = {SAMPLE_SIZE}: add it to the sample sizes of one"
        )
    return pd.DataFrame(rows)


def _draw_panel(axis: Axes, rows: pd.DataFrame, column: str) -> None:
    looks = style.looks(rows["counterpart"])
    heights = -np.arange(len(rows))
    values = rows[column].to_numpy()
    zero = (column == "relative_bias") & (values < EXACTLY_ZERO)
    axis.set_xscale("log")
    for height, is_zero, (_, row) in zip(heights, zero, rows.iterrows(), strict=True):
        look = looks[row["counterpart"]]
        coded = row["estimator"] != row["counterpart"]
        fill = "none" if coded else "full"
        if is_zero:
            place = axis.get_yaxis_transform()
            axis.text(0.02, height, "exactly 0", va="center", fontsize=8, transform=place)
            continue
        axis.plot(row[column], height, **{**look.marks, "fillstyle": fill, "markersize": 6})
        slope = signed(row[f"{column}_slope"])
        axis.annotate(
            slope,
            (row[column], height),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axis.set_yticks(heights, [name.removesuffix(SUFFIX) for name in rows["estimator"]])
    axis.margins(x=0.22)
    axis.xaxis.set_minor_formatter(NullFormatter())
    low, high = axis.get_xlim()
    if high < 30 * low:  # else too narrow to hold two powers of ten
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axis.set_xlabel(f"{LABELS[column]}, slope in N beside")
    axis.set_ylim(0.3 - len(rows), 0.7)


def table(paths: Sequence[Path | str]) -> str:
    """The same numbers as a Markdown table."""
    lines = [
        (
            f"What practical code really estimates, N = {SAMPLE_SIZE}, by enumeration"
            " (no sampling error)."
        ),
        (
            "Estimand: the gradient of J_N(theta) = E[V(theta')]."
            " Slopes over the last three octaves of N."
        ),
        "",
        "| problem | the paper's | as computed by | relative bias | slope | variance | slope |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in summary(paths).to_dict("records"):
        coded = "-" if row["estimator"] == row["counterpart"] else row["estimator"]
        bias = row["relative_bias"]
        bias_cells = (
            ("0", "-")
            if bias < EXACTLY_ZERO
            else (f"{bias:.1e}", signed(row["relative_bias_slope"]))
        )
        variance_cells = f"{row['variance']:.1e}", signed(row["variance_slope"])
        cells = (row["problem"], row["counterpart"], coded, *bias_cells, *variance_cells)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
