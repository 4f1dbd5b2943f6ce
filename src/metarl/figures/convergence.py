"""Convergence of plain SGD: curves of the exact gradient norm, and iterations needed against N.

A row a problem. The left panels show the mean over seeds of ||grad F(theta_k)||^2 over its first
value and a bootstrap interval, at the smallest and the largest N, each estimator with its chosen
step size; a dotted line is the level that counts as stationary. An estimator whose curve lies flat
above it stalls at its bias floor. The right panel shows the first iteration at which that mean is
at the level. An estimator that never gets there has an open marker above the last iteration, and so
has the end of an interval. Dotted lines there have the shape of what theory guarantees
(`metarl.results.iterations.predicted_iterations`) for the claim's two estimators; their one
constant, L times the gap, is unknown and chosen so that the line of lsf meets its last marker.
Where a file has several levels, the smallest is drawn.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator, ScalarFormatter

from metarl.figures import style
from metarl.results import columns, statistics, tables
from metarl.results.iterations import mean_iterations_to, predicted_iterations

MARKERS = 6
PREDICTED = ("unbiased", "lsf")
SPREAD = 0.3  # octaves of N over which the estimators' markers are laid side by side


def draw(paths: Sequence[Path | str], confidence: float) -> Figure:
    """Draws the figure from files of `metarl convergence`, with intervals of that confidence.

    Raises:
      InputError: as `tables.read_some`.
    """
    frame = tables.read_some(columns.CONVERGENCE, paths)
    looks = style.looks(frame["estimator"])
    problems = sorted(frame["problem"].unique())
    with style.context():
        figure, axes = style.stacked_panels(len(problems), 3)
        for row, problem in zip(axes, problems, strict=True):
            rows = frame[frame["problem"] == problem]
            rows = rows[rows["epsilon"] == rows["epsilon"].min()]
            sizes = np.sort(rows["sample_size"].unique())
            for axis, size in zip(row, (sizes[0], sizes[-1]), strict=False):
                _draw_curves(axis, rows[rows["sample_size"] == size], looks, confidence)
                axis.set_title(f"{problem}, N = {size}")
            _draw_iterations(row[-1], rows, sizes, looks, confidence)
            row[-1].set_title(f"{problem}, to {rows['epsilon'].iloc[0]:g} of the first")
        bound = {"shape of the bound": style.Look("0.4", "", style.DOTTED)}
        names = {name.rsplit(":")[-1]: look for name, look in looks.items()}
        style.shared_legend(figure, names | bound, diverged=False)
    return figure


def _draw_curves(
    axis: Axes, rows: pd.DataFrame, looks: dict[str, style.Look], confidence: float
) -> None:
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    for place, (name, look) in enumerate(looks.items()):
        iterations, norms = _curves(rows[rows["estimator"] == name])
        if not norms.size:
            continue
        drawn = iterations > 0  # the start has no place on a logarithmic axis
        iterations, norms = iterations[drawn], norms[:, drawn] / norms[0, 0]
        spacing = max(1, len(iterations) // MARKERS)
        offset = int(place / len(looks) * spacing)
        axis.plot(iterations, norms.mean(axis=0), markevery=(offset, spacing), **look.marks)
        low, high = statistics.bootstrap_interval(norms, statistics.mean, confidence)
        axis.fill_between(iterations, low, high, color=look.colour, alpha=0.15, linewidth=0)
    axis.axhline(rows["epsilon"].iloc[0], **style.GUIDE)
    axis.xaxis.set_major_locator(LogLocator(base=2, numticks=5))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.set_xlabel("iteration k")
    axis.set_ylabel("mean ||grad F||²\n(fraction of the first)")


def _draw_iterations(
    axis: Axes,
    rows: pd.DataFrame,
    sizes: np.ndarray,
    looks: dict[str, style.Look],
    confidence: float,
) -> None:
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    predicted, constant = {}, np.nan
    never = 2.0 * max(rows["iteration"].max(), 1)
    for place, (name, look) in enumerate(looks.items()):
        shift = 2.0 ** (SPREAD * ((place + 0.5) / len(looks) - 0.5))
        needed, bounds = [], []
        for size in sizes:
            chosen = rows[(rows["estimator"] == name) & (rows["sample_size"] == size)]
            iterations, norms = _curves(chosen)
            if not norms.size:
                continue
            level = chosen["epsilon"].iloc[0] * norms[0, 0]
            reached_at = mean_iterations_to(iterations, norms, level, confidence)
            needed.append((size * shift, *reached_at))
            first = chosen.iloc[0]
            shape = predicted_iterations(level, 1.0, 1.0, first["variance"], first["squared_bias"])
            bounds.append((size, shape))
        if not needed:
            continue
        x, centre, low, high = np.array(needed).T
        reached = np.isfinite(centre)
        axis.vlines(x, np.minimum(low, never), np.minimum(high, never), colors=look.colour)
        axis.plot(x, np.where(reached, centre, np.nan), **look.marks)
        hollow = {**look.marks, "linestyle": "none", "fillstyle": "none"}
        axis.plot(x[~reached], np.full((~reached).sum(), never), **hollow)
        if name in PREDICTED:
            predicted[name] = np.array(bounds).T
        if name == "lsf" and reached[-1]:
            constant = centre[-1] / bounds[-1][1]
    for name, (sized, shape) in predicted.items():
        heights = np.where(np.isfinite(shape), constant * shape, np.nan)
        axis.plot(sized, heights, color=looks[name].colour, linestyle=style.DOTTED)
    axis.xaxis.set_major_locator(FixedLocator(sizes))
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("sample size N (trajectories)")
    axis.set_ylabel("iterations")


def _curves(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Iterations [I] and squared gradient norms [seeds, I] of one estimator and N."""
    table = rows.pivot(index="seed", columns="iteration", values="squared_gradient_norm")
    return table.columns.to_numpy(), table.to_numpy()
