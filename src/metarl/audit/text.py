"""An audit as text: a line a sample size, and the slopes in N."""

import math

import pandas as pd

from metarl.results.rates import fit

COLUMNS = {
    "file": "file",
    "sample_size": "N",
    "replicates": "replicates",
    "bias": "bias",
    "relative_bias": "relative bias",
    "inner_variance": "inner variance",
    "variance": "variance",
    "outer_variance": "outer variance",
    "cosine": "cosine",
    "nearest": "nearest catalogue entry (relative difference)",
}
LEGEND = (
    "bias = ||E g_hat - grad J_N||, relative to ||grad J_N||; "
    "variance = E ||E[g_hat | X] - E g_hat||^2 of the inner sample X"
)
SAMPLED_LEGEND = (
    "relative bias = ||E[g_hat - reference]|| / ||E reference||; inner variance = Var E[g_hat | X] "
    "of the inner sample X; variance = inner + outer, of one outer batch"
)
NO_BIAS = 1e-9  # relative; what is left of an unbiased estimate is rounding


def text(table: pd.DataFrame) -> str:
    """The table of an audit, every estimator's slopes over the last octaves of N, and a legend.

    Args:
      table: problem, estimator, and those of COLUMNS that there are; a column with ends `_low` and
        `_high` is written with its interval.
    """
    lines = []
    for (problem, estimator), rows in table.groupby(["problem", "estimator"], sort=False):
        lines.append(f"{estimator} on {problem}")
        lines += [f"  {line}" for line in aligned(rows.sort_values("sample_size"))]
        lines.append(f"  {slopes(rows)}")
    return "\n".join([*lines, SAMPLED_LEGEND if "inner_variance" in table else LEGEND])


def limits(table: pd.DataFrame) -> str:
    """The table of `metarl audit limit`: what bias and variance approach, a line an estimator."""
    lines = []
    for row in table.itertuples():
        bias = power(row.bias_coefficient, row.bias_order) if row.bias_coefficient else "none"
        variance = power(row.variance_coefficient, row.variance_order)
        lines.append(f"{row.estimator} on {row.problem}: bias {bias}, variance {variance}")
    return "\n".join(lines)


def power(coefficient: float, order: int) -> str:
    """0.0045 / N^2 of a coefficient and the order -2."""
    size = {0: "", 1: "N"}.get(abs(order), f"N^{abs(order)}")
    return f"{coefficient:.4g}{' / ' if order < 0 else ' '}{size}".rstrip()


def aligned(rows: pd.DataFrame) -> list[str]:
    """A head and the rows, in columns of one width each."""
    columns = [name for name in COLUMNS if name in rows]
    lines = [[COLUMNS[name] for name in columns]]
    lines += [[written_out(row, name) for name in columns] for _, row in rows.iterrows()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def written_out(row: pd.Series, name: str) -> str:
    """One cell, with its interval if it has one."""
    value = row[name]
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "-"
    if not math.isnan(row.get(f"{name}_low", math.nan)):
        return f"{value:.3g} [{row[f'{name}_low']:.2g}, {row[f'{name}_high']:.2g}]"
    return f"{value:.4g}"


def slopes(rows: pd.DataFrame) -> str:
    """What bias and variance behave like in N, and where that was fitted.

    In sampled audits it is the inner variance, the one that N decides.
    """
    sampled = "inner_variance" in rows
    names = ("relative_bias", "inner_variance") if sampled else ("bias", "variance")
    bias, variance = (fit(rows["sample_size"], rows[name]) for name in names)
    if variance.points < 2:
        return "slopes: give at least two sample sizes"
    if rows[names[0]].isna().all():
        order = "not measured"
    elif (rows["relative_bias"] < NO_BIAS).all():
        order = "none: unbiased"
    else:
        order = power_of(bias.slope)
    where = f"over N = {variance.first} to {variance.last}"
    return f"slopes {where}: bias {order}, variance {power_of(variance.slope)}"


def power_of(slope: float) -> str:
    """N^-1.00; a value that is not positive leaves no slope."""
    return "not positive everywhere" if math.isnan(slope) else f"N^{slope:+.2f}"
