"""Charts to explore: learning curves, and the exact audit against N.

Colours, marks and lines are those of `metarl.figures.style`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from plotly import offline
from plotly.graph_objects import Figure, Scatter
from plotly.subplots import make_subplots

from metarl.figures import style
from metarl.figures.exact_audit import EXACTLY_ZERO, LABELS, UNITS, catalogue_rows, named_problems
from metarl.report_page.markup import element, enclose, escape
from metarl.results import tables

CURVES_NOTE = (
    "Return after adaptation (the sum of rewards after the last inner step) against environment"
    " steps. Thick: the mean over seeds, which breaks off where a seed's return is not finite;"
    " thin: each seed. Click a name to hide it, double-click to see it alone, drag to zoom,"
    " double-click to zoom out."
)
AUDITS_NOTE = (
    "By enumeration of every possible sample, so without sampling error. Both axes are logarithmic:"
    " a rate N^s is a line of slope s. A bias that is zero but for rounding has no place there and"
    " is left out. Click a name to hide it."
)
MOST_POINTS = 200  # of a line
MARKS = 8
SYMBOLS = {
    "o": "circle",
    "s": "square",
    "D": "diamond",
    "d": "diamond-tall",
    "^": "triangle-up",
    "v": "triangle-down",
    "<": "triangle-left",
    ">": "triangle-right",
    "h": "hexagon",
    "p": "pentagon",
    "P": "cross",
    "X": "x",
    "*": "star",
    "1": "y-down",
    "2": "y-up",
    "3": "y-left",
}
DASHES = {
    "-": "solid",
    style.DASHED: "dash",
    style.DOTTED: "dot",
    style.DASHDOTTED: "dashdot",
    style.LONG: "longdash",
}
FRAME = {
    "template": "plotly_white",
    "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#1d2129"},
    "margin": {"l": 70, "r": 20, "t": 60, "b": 60},
    "title": {"yref": "paper", "y": 1.0, "yanchor": "bottom", "pad": {"b": 10}},  # below the tools
    # Below the axes, since beside them it leaves no room on a telephone.
    "legend": {
        "title": {"text": ""},
        "groupclick": "togglegroup",
        "font": {"size": 12},
        "orientation": "h",
        "yref": "container",
        "y": 0.0,
        "yanchor": "bottom",
    },
    "height": 520,
}
AUDIT_HEIGHT = 860  # bias above variance
CONFIGURATION = {
    "responsive": True,
    "displaylogo": False,
    "modeBarButtonsToRemove": ["sendChartToCloud", "select2d", "lasso2d"],  # the first uploads
    "plotlyServerURL": "",
}


def library() -> str:
    """plotly.js, whole."""
    return offline.get_plotlyjs()


def render(anchor: str, charts: Sequence[Figure], note: str) -> str:
    """The charts as HTML, without plotly.js; nothing where there is none."""
    if not charts:
        return ""
    parts = [element("p", note, class_="quiet")]
    for number, chart in enumerate(charts):
        drawn = chart.to_html(
            config=CONFIGURATION,
            include_plotlyjs=False,
            full_html=False,
            div_id=f"{anchor}-{number}",
            default_height=chart.layout.height,
        )
        parts.append(enclose("div", drawn, class_="chart"))
    return "\n".join(parts)


def learning_curves(training: pd.DataFrame) -> list[Figure]:
    """A chart an environment: each algorithm's mean over seeds and, thin, its seeds."""
    if training.empty:
        return []
    post = tables.post_adaptation(training)
    looks = style.algorithm_looks(post)
    return [
        _environment_chart(environment, rows, looks)
        for environment, rows in post.groupby("environment")
    ]


def _environment_chart(environment: str, rows: pd.DataFrame, looks: dict) -> Figure:
    figure = Figure(layout=FRAME)
    for algorithm, look in looks.items():
        chosen = rows[rows["algorithm"] == algorithm]
        if not chosen.empty:
            figure.add_traces(_curves(algorithm, chosen, look))
    figure.update_layout(title_text=escape(environment), hovermode="closest")
    figure.update_xaxes(title="environment steps", rangemode="tozero")
    figure.update_yaxes(title="return after adaptation")
    return figure


def _curves(algorithm: str, rows: pd.DataFrame, look: style.Look) -> list[Scatter]:
    """The seeds, then the mean over them."""
    returns = tables.by_seed(rows, "environment_steps")  # [iterations, seeds]
    steps = returns.index.to_numpy()
    shown = np.unique(np.linspace(0, len(steps) - 1, MOST_POINTS).round().astype(int))
    finite = np.where(np.isfinite(returns), returns, np.nan)[shown]
    name, steps = escape(algorithm), steps[shown]
    seeds = [
        _curve(
            steps,
            heights,
            f"{name}, seed {seed}",
            name,
            line={"color": look.colour, "width": 0.8},
            mode="lines",
            opacity=0.35,
            showlegend=False,
        )
        for seed, heights in zip(returns.columns, finite.T, strict=True)
    ]
    mean = _curve(
        steps, finite.mean(axis=1), name, name, mode="lines+markers", **_marks(look, width=2.5)
    )
    mean.marker.maxdisplayed = MARKS
    return [*seeds, mean]


def _curve(x: np.ndarray, y: np.ndarray, name: str, group: str, **looks) -> Scatter:
    hover = "%{y:.4g} at %{x:,} steps<extra>" + name + "</extra>"
    return Scatter(x=x, y=y, name=name, legendgroup=group, hovertemplate=hover, **looks)


def _marks(look: style.Look, width: float) -> dict:
    hollow = "" if look.fill == "full" else "-open"
    return {
        "line": {"color": look.colour, "width": width, "dash": DASHES.get(look.line, "solid")},
        "marker": {"symbol": SYMBOLS.get(look.marker, "circle") + hollow, "size": 8},
    }


def exact_audits(audit: pd.DataFrame) -> list[Figure]:
    """A chart a named problem: relative bias and variance of each estimator against N."""
    if audit.empty:
        return []
    rows = catalogue_rows(named_problems(audit))
    looks = style.looks(rows["estimator"])
    return [_problem_chart(problem, of_it, looks) for problem, of_it in rows.groupby("problem")]


def _problem_chart(problem: str, rows: pd.DataFrame, looks: dict) -> Figure:
    figure = make_subplots(len(LABELS), 1, shared_xaxes=True, vertical_spacing=0.06)
    figure.update_layout(FRAME, height=AUDIT_HEIGHT)
    for place, column in enumerate(LABELS, start=1):
        for estimator, look in looks.items():
            chosen = rows[rows["estimator"] == estimator]
            smallest = EXACTLY_ZERO if column == "relative_bias" else 0.0
            drawn = chosen[chosen[column] > smallest]
            if not chosen.empty:
                trace = _audit_line(drawn, column, estimator, look)
                figure.add_trace(trace.update(showlegend=place == len(LABELS)), place, 1)
        heights = rows.loc[rows[column] > EXACTLY_ZERO, column]
        figure.update_yaxes(
            title=f"{LABELS[column]} ({UNITS[column]})",
            dtick=1 if _powers_within(heights) > 1 else None,  # else digits between them too
            row=place,
        )
    sizes = np.sort(rows["sample_size"].unique())
    powers = [int(size) for size in sizes if np.log2(size) % 1 == 0] or sizes.tolist()
    figure.update_xaxes(type="log", tickvals=powers)
    figure.update_xaxes(title="sample size N (trajectories)", row=len(LABELS))
    figure.update_yaxes(type="log", exponentformat="power")
    figure.update_layout(title_text=escape(problem))
    return figure


def _powers_within(heights: pd.Series) -> int:
    """How many powers of ten lie in the range of positive numbers."""
    if heights.empty:
        return 0
    return int(np.floor(np.log10(heights.max())) - np.ceil(np.log10(heights.min()))) + 1


def _audit_line(rows: pd.DataFrame, column: str, estimator: str, look: style.Look) -> Scatter:
    name = escape(estimator)
    return Scatter(
        x=rows["sample_size"].to_numpy(),
        y=rows[column].to_numpy(),
        name=name,
        legendgroup=name,
        mode="lines+markers",
        hovertemplate=f"{LABELS[column]} %{{y:.3g}} at N = %{{x}}<extra>{name}</extra>",
        **_marks(look, width=1.6),
    )
