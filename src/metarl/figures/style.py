"""The visual language of every figure: one colour, marker, line and rank for an estimator.

Colours are Okabe and Ito's (2008), told apart by colour-blind readers, with yellow, too faint on
white, replaced by wine. Markers and lines differ too, so that figures survive a grey printer.
Widths are those of a paper's single and double column, in inches; no text is smaller than 8 points.
All figures but those of many panels have the width of a single column.
"""

import io
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    EngFormatter,
    FixedLocator,
    MaxNLocator,
    NullLocator,
    ScalarFormatter,
)

SINGLE_COLUMN = 3.3
DOUBLE_COLUMN = 6.8
MOST_STACKED = 4  # panels in a single column
PANELS_PER_ROW = 3  # where there are more
FAR = 5.0  # times the typical distance of the lines from zero
GUIDE = {"color": "0.55", "linestyle": (0, (1, 1.2)), "linewidth": 1.0, "zorder": 1}

SETTINGS = {
    "font.size": 8,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "figure.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 300,
    "svg.hashsalt": "metarl",
    "svg.fonttype": "path",
}


@dataclass(frozen=True)
class Look:
    """How a line is drawn; `fill` tells apart algorithms that share an estimator."""

    colour: str
    marker: str
    line: str | tuple
    fill: str = "full"

    @property
    def marks(self) -> dict:
        """Keyword arguments of matplotlib's Line2D."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "linestyle": self.line,
            "fillstyle": self.fill,
            "markerfacecoloralt": "white",
            "markeredgecolor": self.colour,
        }


DASHED, DOTTED, DASHDOTTED, LONG = (
    (0, (4, 1.5)),
    (0, (1.2, 1.2)),
    (0, (5, 1.2, 1.2, 1.2)),
    (0, (7, 1.5)),
)

ESTIMATORS = {
    "unbiased": Look("#000000", "o", "-"),
    "unbiased_baseline": Look("#777777", "s", DASHED),
    "leave_one_out": Look("#D55E00", "D", "-"),
    "lsf": Look("#0072B2", "^", "-"),
    "lsf2": Look("#332288", "h", DOTTED),
    "dice": Look("#56B4E9", "v", DASHED),
    "loaded_dice": Look("#44AA99", "d", DASHDOTTED),
    "tmaml": Look("#999933", "p", DOTTED),
    "lvc": Look("#009E73", "P", DASHDOTTED),
    "maml": Look("#E69F00", "X", LONG),
    "fomaml": Look("#882255", "<", DASHED),
    "emaml": Look("#CC79A7", ">", DASHDOTTED),
}
OTHERS = (
    Look("#AA4466", "*", DOTTED),
    Look("#117733", "1", DOTTED),
    Look("#666633", "2", DOTTED),
    Look("#DDAA33", "3", DOTTED),
)
FILLS = ("full", "none", "left", "bottom")


def looks(estimators: Iterable[str]) -> dict[str, Look]:
    """The look of each estimator, in the order in which every figure lists them.

    Estimators outside ESTIMATORS come last, by name, and take the looks of OTHERS in turn.
    """
    present = set(estimators)
    known = {name: look for name, look in ESTIMATORS.items() if name in present}
    others = sorted(present - known.keys())
    return known | {name: OTHERS[i % len(OTHERS)] for i, name in enumerate(others)}


def algorithm_looks(frame: pd.DataFrame) -> dict[str, Look]:
    """The look of each algorithm: its estimator's, and another marker fill where two share one."""
    by_algorithm = {}
    for estimator, look in looks(frame["estimator"]).items():
        algorithms = sorted(frame.loc[frame["estimator"] == estimator, "algorithm"].unique())
        for i, algorithm in enumerate(algorithms):
            fill = FILLS[i % len(FILLS)]
            by_algorithm[algorithm] = Look(look.colour, look.marker, look.line, fill)
    return by_algorithm


def context() -> AbstractContextManager:
    """Matplotlib's defaults with SETTINGS on top, whatever the user's matplotlibrc says."""
    defaults = dict(matplotlib.rcParamsDefault)
    defaults = {key: value for key, value in defaults.items() if not key.startswith("backend")}
    return matplotlib.rc_context({**defaults, **SETTINGS})


def environment_panels(
    environments: Sequence[str], label_x: str, label_y: str
) -> tuple[Figure, list[Axes]]:
    """A figure with one titled panel an environment, and room for `shared_legend` below."""
    columns = PANELS_PER_ROW if len(environments) > MOST_STACKED else 1
    rows = -(-len(environments) // columns)
    width = SINGLE_COLUMN if columns == 1 else DOUBLE_COLUMN
    figure = Figure(figsize=(width, 2.0 * rows + 1.3))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(environments) :]:
        axis.remove()
    axes = list(axes[: len(environments)])
    for i, (axis, environment) in enumerate(zip(axes, environments, strict=True)):
        axis.set_title(environment)
        axis.set_xlabel(label_x)
        if i % columns == 0:
            axis.set_ylabel(label_y)
    return figure, axes


def curve_panels(environments: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """`environment_panels` of post-adaptation returns against environment steps."""
    figure, axes = environment_panels(
        environments, "environment steps", "post-adaptation return\n(sum of rewards)"
    )
    for axis in axes:
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.xaxis.set_major_locator(MaxNLocator(4))
    return figure, axes


def stacked_panels(rows: int, panels: int) -> tuple[Figure, np.ndarray]:
    """Panels [rows, panels] under one another in a single column, room for `shared_legend`."""
    figure = Figure(figsize=(SINGLE_COLUMN, 1.9 * rows * panels + 1.5))
    axes = figure.subplots(rows * panels, 1, squeeze=False)
    return figure, axes.reshape(rows, panels)


def after_inner_steps(steps: int) -> str:
    """A panel's title."""
    return {0: "before adaptation", 1: "after 1 inner step"}.get(
        steps, f"after {steps} inner steps"
    )


def compress_far_returns(axis: Axes) -> None:
    """Makes the scale logarithmic far from zero where one algorithm would flatten all others.

    That is where a line reaches FAR times the typical (median) distance from zero of the lines; the
    title says where the logarithmic part begins. Call it when all lines are drawn.
    """
    distances = [np.abs(np.asarray(line.get_ydata(), float)) for line in axis.get_lines()]
    distances = [line[np.isfinite(line)] for line in distances]
    distances = [line for line in distances if line.size]
    if not distances:
        return
    typical = float(np.median([np.median(line) for line in distances]))
    if max(line.max() for line in distances) <= FAR * typical:
        return
    power = 10 ** np.floor(np.log10(2 * typical))
    threshold = float(np.ceil(2 * typical / power) * power)
    axis.set_yscale("symlog", linthresh=threshold, linscale=2.0)
    low, high = axis.get_ylim()
    ticks = [0.0, *(sign * threshold * part for sign in (1, -1) for part in (0.5, 1, 2, 5))]
    ticks += [sign * threshold * 10.0**n for sign in (1, -1) for n in range(1, 7)]
    axis.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(ScalarFormatter())
    axis.set_title(f"{axis.get_title()} (logarithmic beyond ±{threshold:g})")


def mark_divergence(axis: Axes, x: np.ndarray, y: np.ndarray, look: Look) -> bool:
    """Puts a cross where a line first has a value that is not finite; says whether it does.

    The cross stands as high as the line before it, or at the panel's bottom if there is none.

    Args:
      axis: the panel.
      x, y: [M] the line.
      look: the line's look.
    """
    broken = np.flatnonzero(~np.isfinite(y))
    if not broken.size:
        return False
    first = broken[0]
    height, transform = (
        (y[first - 1], axis.transData) if first else (0.03, axis.get_xaxis_transform())
    )
    axis.plot(
        x[first],
        height,
        marker="x",
        color=look.colour,
        markersize=6,
        markeredgewidth=1.5,
        transform=transform,
    )
    return True


def shared_legend(figure: Figure, entries: dict[str, Look], diverged: bool) -> None:
    """One legend below all panels; `diverged` adds what a cross means."""
    handles = [Line2D([], [], label=name, **look.marks) for name, look in entries.items()]
    if diverged:
        cross = {"marker": "x", "color": "0.3", "linestyle": "none", "markersize": 6}
        handles.append(Line2D([], [], label="a seed diverged", **cross))
    columns = 2 if figure.get_figwidth() == SINGLE_COLUMN else 4
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        columnspacing=1.0,
        handletextpad=0.5,
        handlelength=2.2,
    )


def render(figure: Figure, suffix: str) -> bytes:
    """The figure as svg or png, without dates, versions or random ids: the same bytes each time."""
    metadata = {"svg": {"Date": None, "Creator": "metarl"}, "png": {"Software": "metarl"}}[suffix]
    buffer = io.BytesIO()
    with context():
        figure.savefig(buffer, format=suffix, metadata=metadata)
    return buffer.getvalue()
