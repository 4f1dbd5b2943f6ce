"""Figures: tidy parquet files in, one picture out. Nothing here imports TensorFlow.

Each figure is a module with `draw(paths) -> matplotlib Figure`. They share one visual language
(`style`), one reader (`tables`) and one set of statistics (`statistics`).
"""

import importlib
from collections.abc import Sequence
from pathlib import Path

from metarl.errors import InputError
from metarl.storage import write_bytes

NAMES = (
    "exact_audit",
    "sampled_audit",
    "estimator_matrix",
    "published_code",
    "budget",
    "convergence",
    "learning_curves",
    "sample_sizes",
    "adaptation",
    "published_returns",
    "point_paths",
    "torso_positions",
)


def draw(name: str, inputs: Sequence[Path | str], stem: Path | str) -> None:
    """Draws figure `name` from the parquet files `inputs` into `stem`.svg and `stem`.png.

    A figure that has a table as well writes it to `stem`.md. The same inputs give the same bytes.

    Raises:
      InputError: there is no figure of this name, or an input is missing, unreadable, empty or
        lacks a column. Nothing is written.
    """
    if name not in NAMES:
        raise InputError(f"there is no figure {name!r}: choose one of {', '.join(NAMES)}")
    # Imported here because matplotlib costs half a second, which no other command should pay.
    from metarl.figures import style

    module = importlib.import_module(f"metarl.figures.{name}")
    figure = module.draw(inputs)
    files = {suffix: style.render(figure, suffix) for suffix in ("svg", "png")}
    if hasattr(module, "table"):
        files["md"] = module.table(inputs).encode()
    for suffix, data in files.items():
        write_bytes(data, f"{stem}.{suffix}")
