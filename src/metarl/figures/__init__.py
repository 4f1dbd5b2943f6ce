"""Figures: tidy parquet files in, one picture out. Nothing here imports TensorFlow.

FIGURES is the one list of them. A figure is a row of it, the module of its name and a caption,
workflow/report/NAME.rst. The module has `draw(paths) -> matplotlib Figure`, or, if the figure shows
intervals, `draw(paths, confidence)`; and `table(paths) -> Markdown` if it has a table as well. They
share one visual language (`metarl.figures.style`), one reader (`metarl.results.tables`) and one set
of statistics (`metarl.results.statistics`).
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metarl.errors import InputError
from metarl.results.columns import CONFIDENCE


@dataclass(frozen=True)
class Drawing:
    """A row of FIGURES.

    Attributes:
      name: of the figure, its module and its caption.
      inputs: kinds of tables that it shows; workflow/rules/figures.smk says which files these are.
        Archived paths are of the kind of the figure that the configuration gives them.
      category, label: where the report lists it, and as what.
      intervals: whether it shows intervals, so depends on a confidence.
      table: whether it has a table in Markdown beside the picture.
    """

    name: str
    inputs: tuple[str, ...]
    category: str
    label: str
    intervals: bool = False
    table: bool = False

    @property
    def formats(self) -> tuple[str, ...]:
        """Endings of its files."""
        return ("svg", "png", "md") if self.table else ("svg", "png")


FIGURES = (
    Drawing("exact_audit", ("exact", "limit"), "Audit", "Bias and variance, exact"),
    Drawing("sampled_audit", ("sampled",), "Audit", "Bias and variance, sampled", intervals=True),
    Drawing(
        "estimator_matrix",
        ("exact", "mujoco"),
        "Audit",
        "What practical estimators keep of LSF",
        table=True,
    ),
    Drawing("published_code", ("exact",), "Audit", "What practical code estimates", table=True),
    Drawing("budget", ("judged",), "Audit", "Which estimator for which budget"),
    Drawing("convergence", ("convergence",), "Training", "Convergence of SGD", intervals=True),
    Drawing("learning_curves", ("training",), "Training", "Learning curves", intervals=True),
    Drawing("sample_sizes", ("studied",), "Training", "Returns against N", intervals=True),
    Drawing(
        "adaptation", ("evaluation",), "Training", "Adaptation to held-out tasks", intervals=True
    ),
    Drawing(
        "published_returns",
        ("archived_returns",),
        "Published numbers",
        "Returns beside published ones",
    ),
    Drawing("comparison", ("compared",), "Published numbers", "ProMP's comparison of algorithms"),
    Drawing("point_paths", ("point_paths",), "Published numbers", "Paths of the point"),
    Drawing(
        "torso_positions", ("torso_positions",), "Published numbers", "How far the cheetahs run"
    ),
)
NAMES = tuple(figure.name for figure in FIGURES)


def draw(
    name: str,
    inputs: Sequence[Path | str],
    stem: Path | str,
    confidence: float = CONFIDENCE,
) -> None:
    """Draws figure `name` from the parquet files `inputs` into `stem`.svg and `stem`.png.

    A figure that has a table as well writes it to `stem`.md. The same inputs give the same bytes.

    Args:
      name: of FIGURES.
      inputs: parquet files.
      stem: path without ending.
      confidence: of the intervals, where it shows any.

    Raises:
      InputError: there is no figure of this name, an input is missing, unreadable, empty or does
        not fit its table, or the confidence is no probability. Nothing is written.
    """
    figure = next((figure for figure in FIGURES if figure.name == name), None)
    if figure is None:
        raise InputError(f"there is no figure {name!r}: choose one of {', '.join(NAMES)}")
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}: give a number between 0 and 1")
    # Imported here because matplotlib and pandas cost a second, which listing FIGURES should not.
    from metarl.figures import style
    from metarl.storage import require_writable, write_bytes

    require_writable(*(f"{stem}.{suffix}" for suffix in figure.formats), inputs=inputs)
    module = importlib.import_module(f"metarl.figures.{name}")
    picture = module.draw(inputs, confidence) if figure.intervals else module.draw(inputs)
    files = {suffix: style.render(picture, suffix) for suffix in ("svg", "png")}
    if figure.table:
        files["md"] = module.table(inputs).encode()
    for suffix, data in files.items():
        write_bytes(data, f"{stem}.{suffix}")
