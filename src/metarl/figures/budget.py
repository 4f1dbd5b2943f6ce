"""Which estimator for which budget: the error of a fixed number of trajectories, against N.

A budget of B inner trajectories buys B / N tasks. The mean over them has the squared error bias^2 +
variance / (B / N): with few trajectories in all the variance rules and the least noisy estimate is
best, with many the bias does. Relative to ||grad J_N||, from exact audits, so without Monte Carlo
error; a row a problem, a panel a budget. The lowest line wins. Tasks are taken as copies of the
problem; the outer batch is exact.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, ScalarFormatter

from metarl.figures import style
from metarl.figures.exact_audit import catalogue_rows, named_problems
from metarl.results import columns, tables

BUDGETS = (128, 1024, 16384)
PROBLEMS = ("bandit", "chain")


def draw(paths: Sequence[Path | str]) -> Figure:
    """Draws the figure from exact audit files.

    Raises:
      InputError: as `tables.read_some`.
    """
    audit = catalogue_rows(named_problems(tables.read_some(columns.EXACT, paths)))
    named = audit[audit["problem"].isin(PROBLEMS)]
    audit = audit if named.empty else named
    looks = style.looks(audit["estimator"])
    problems = sorted(audit["problem"].unique())
    with style.context():
        figure, axes = style.stacked_panels(len(problems), len(BUDGETS))
        for row, problem in zip(axes, problems, strict=True):
            for axis, budget in zip(row, BUDGETS, strict=True):
                _draw_panel(axis, audit[audit["problem"] == problem], budget, looks)
                axis.set_title(f"{problem}, {budget} trajectories in all")
                axis.set_ylabel("root mean squared error\n(fraction of the gradient)")
        names = {name.rpartition(":")[2]: look for name, look in looks.items()}
        style.shared_legend(figure, names, diverged=False)
    return figure


def _draw_panel(axis: Axes, audit, budget: int, looks: dict[str, style.Look]) -> None:
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    audit = audit[np.log2(audit["sample_size"].astype(float)) % 1 == 0]
    for name, look in looks.items():
        rows = audit[(audit["estimator"] == name) & (audit["sample_size"] <= budget)]
        relative_variance = rows["variance"] / rows["gradient_norm"] ** 2
        error = rows["relative_bias"] ** 2 + relative_variance * rows["sample_size"] / budget
        axis.plot(rows["sample_size"], np.sqrt(error), **look.marks)
    sizes = np.sort(audit["sample_size"].unique())
    axis.xaxis.set_major_locator(FixedLocator(sizes[:: -(-len(sizes) // 5)]))
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("sample size N of a task")
