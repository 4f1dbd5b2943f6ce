"""What practical estimators keep of LSF: score weights as matrices, and the distance in numbers.

LSF weighs the score of step t with A_t' d_t' of every step t' of the trajectory. A cell (t, t') is
dark where an estimator has that term; half dark where it has it with A_t in the place of A_t', the
rewards before t left out, whose terms have mean 0; paler where it is discounted. In
numbers: the exact slopes of bias and variance on the chain, and the relative difference to LSF on
the same samples at the largest N (the mean over samples of ||g - g_lsf|| / ||g_lsf||) at each
simulated policy. The table beside the figure (STEM.md) has the numbers.
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
    "loaded_dice": (CAUSAL * 0.9 ** np.abs(LAG), "every t', discounted by distance"),
    "lvc": (np.eye(STEPS), "t' = t only"),
    "maml": (np.zeros((STEPS, STEPS)), "none"),
    "fomaml": (np.zeros((STEPS, STEPS)), "none, nor the inner Jacobian"),
    "emaml": (np.zeros((STEPS, STEPS)), "none; mean reward / (N T) for all t"),
}
PROBLEM = "chain"
NAMES, CELL, LINE, COLUMN = 0.82, 0.42, 0.5, 0.37  # inches: the figure's columns and rows
LETTER = 0.062  # inches, about, of a letter of a head


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
    places = [column for column in frame.columns if ", N = " in column]
    heads = ["bias slope", "variance slope", *(place.replace(" policy", "") for place in places)]
    looks = style.looks(frame["estimator"])
    top = 0.1 + LETTER * max(map(len, heads))  # in inches from here on; heads stand upright
    height = top + LINE * len(frame) + 0.45
    centers = NAMES + CELL + 0.1 + COLUMN * (np.arange(len(heads)) + 0.5)
    with style.context():
        figure = Figure(figsize=(style.SINGLE_COLUMN, height))
        figure.set_layout_engine("none")

        def write(x: float, y: float, text: str, **how) -> None:
            figure.text(x / style.SINGLE_COLUMN, 1.0 - y / height, text, **how)

        for center, head in zip(centers, heads, strict=True):
            write(center, top - 0.05, head, rotation=90, ha="center", va="bottom")
        for number, (_, row) in enumerate(frame.iterrows()):
            middle = top + LINE * (number + 0.5)
            name = row["estimator"]
            write(NAMES - 0.08, middle, name, ha="right", va="center", color=looks[name].colour)
            axis = figure.add_axes(
                (
                    NAMES / style.SINGLE_COLUMN,
                    1.0 - (middle + CELL / 2) / height,
                    CELL / style.SINGLE_COLUMN,
                    CELL / height,
                )
            )
            axis.imshow(KEEPS[name][0], cmap="Greys", vmin=0, vmax=1.3)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.grid(False)
            axis.spines[:].set_visible(True)
            values = [row["bias slope"], row["variance slope"], *(row[p] or "-" for p in places)]
            for center, value in zip(centers, values, strict=True):
                write(center, middle, value, ha="center", va="center")
        write(
            NAMES,
            height - 0.35,
            "of a square, rows: score of t,\ncolumns: $A_{t'}\\,d_{t'}$",
            va="top",
        )
    return figure
