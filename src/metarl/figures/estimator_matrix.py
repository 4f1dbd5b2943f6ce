"""What practical estimators keep of LSF: score weights as matrices, and the distance in numbers.

LSF weighs the score of step t with A_t' d_t' of every step t' of the trajectory. A cell (t, t') is
dark where an estimator has that term; half dark where it has it with A_t in the place of A_t', the
rewards before t left out, whose terms have mean 0; paler where it is discounted. Below: the
relative difference to LSF on the same samples at the largest N (the mean over samples of ||g -
g_lsf|| / ||g_lsf||) at each simulated policy, and the exact slopes of bias and variance on the
chain. The table beside the figure (STEM.md) has the numbers.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from metarl.errors import InputError
from metarl.figures import style
from metarl.figures.exact_audit import signed
from metarl.results import columns, rates, tables

STEPS = 5
LAG = np.subtract.outer(np.arange(STEPS), np.arange(STEPS))  # t - t'
CAUSAL = np.where(LAG <= 0, 1.0, 0.5)
KEEPS = {  # cells (t, t') of the weights, 1 as in LSF
    "lsf": (np.ones((STEPS, STEPS)), "every t'"),
    "dice": (CAUSAL, "every t', rewards from t on"),
    "loaded_dice": (CAUSAL * 0.75 ** np.abs(LAG), "every t', discounted by distance"),
    "lvc": (np.eye(STEPS), "t' = t only"),
    "maml": (np.zeros((STEPS, STEPS)), "none"),
    "fomaml": (np.zeros((STEPS, STEPS)), "none, nor the inner Jacobian"),
    "emaml": (np.zeros((STEPS, STEPS)), "none; mean reward / (N T) for all t"),
}
PROBLEM = "chain"


def numbers(paths: Sequence[Path | str]) -> pd.DataFrame:
    """A row an estimator of KEEPS that was audited.

    Its terms, its slopes on PROBLEM, and its difference to LSF at every simulated policy.

    Raises:
      InputError: as `tables.read_some`, or PROBLEM was not audited.
    """
    sampled = [path for path in paths if tables.is_of(columns.SAMPLED, path)]
    exact = tables.read_some(columns.EXACT, [path for path in paths if path not in sampled])
    audited = exact[exact["problem"] == PROBLEM]
    if audited.empty:
        raise InputError(f"no exact audit of {PROBLEM} given: give its parquet file too")
    simulated = tables.read_some(columns.SAMPLED, sampled)
    simulated = simulated[simulated["level"] == "mujoco"]
    table_rows = []
    for name, (_, terms) in KEEPS.items():
        rows = audited[audited["estimator"] == name]
        if rows.empty:
            continue
        row = {"estimator": name, "terms of LSF": terms}
        for column, head in (("relative_bias", "bias slope"), ("variance", "variance slope")):
            row[head] = signed(rates.fit(rows["sample_size"], rows[column]).slope)
        for place, of_place in simulated.groupby("problem"):
            chosen = of_place[of_place["estimator"] == name].sort_values("sample_size")
            if not chosen.empty:
                row[f"{place}, N = {chosen['sample_size'].iloc[-1]}"] = (
                    f"{chosen['difference_to_lsf'].iloc[-1]:.2f}"
                )
        table_rows.append(row)
    return pd.DataFrame(table_rows).fillna("")


def table(paths: Sequence[Path | str]) -> str:
    """The numbers as a Markdown table."""
    frame = numbers(paths)
    rows = [list(frame.columns), ["---"] * frame.shape[1], *frame.to_numpy().tolist()]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(["# Practical estimators beside LSF", "", *lines]) + "\n"


def draw(paths: Sequence[Path | str]) -> Figure:
    """Draws the figure from exact and simulated audit files.

    Raises:
      InputError: as `numbers`.
    """
    frame = numbers(paths)
    names = list(frame["estimator"])
    policies = [column for column in frame.columns if ", N = " in column]
    heads = [
        "bias slope",
        "variance slope",
        *(policy.replace(" policy", "") for policy in policies),
    ]
    with style.context():
        height = 1.1 + 0.14 * len(heads)
        figure = Figure(figsize=(style.DOUBLE_COLUMN, height))
        figure.set_layout_engine("none")
        cell = 0.62 / style.DOUBLE_COLUMN
        bottom = (0.14 * len(heads) + 0.15) / height
        for place, (_, row) in enumerate(frame.iterrows()):
            axis = figure.add_axes(
                ((2.0 + 0.685 * place) / style.DOUBLE_COLUMN, bottom, cell, 0.62 / height)
            )
            cells, _ = KEEPS[row["estimator"]]
            axis.imshow(cells, cmap="Greys", vmin=0, vmax=1.3)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.grid(False)
            axis.spines[:].set_visible(True)
            axis.set_title(names[place], color=style.looks(names)[names[place]].colour)
            values = [row["bias slope"], row["variance slope"], *(row[p] or "-" for p in policies)]
            for line, (head, value) in enumerate(zip(heads, values, strict=True), start=1):
                height_of_line = (bottom * height - 0.14 * line) / height
                left, _, width, _ = axis.get_position().bounds
                figure.text(left + width / 2, height_of_line, value, ha="center", va="center")
                if place == 0:
                    figure.text(left - 0.01, height_of_line, head, ha="right", va="center")
        figure.text(
            0.01,
            bottom + 0.31 / height,
            "rows: score of t\ncolumns: $A_{t'}\\,d_{t'}$",
            va="center",
        )
    return figure
