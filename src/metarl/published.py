"""The archive of runs that reproduce published numbers: too long to be made anew every time.

An environment's archive is four files: ENVIRONMENT_returns.parquet, the held-out returns with the
published ones beside them; ENVIRONMENT_curves.parquet, the learning curves;
ENVIRONMENT_paths.parquet, where the bodies went (of the first seed); ENVIRONMENT.json, the settings
they came from, with the versions and the machine of whoever archived them.
"""

import json
import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd

from metarl.errors import InputError
from metarl.results import columns, tables
from metarl.results.writer import write_table
from metarl.settings import require
from metarl.storage import require_writable, unpack_arrays, write_parquet, write_text

PACKAGES = ("metarl", "mujoco", "gymnasium", "tensorflow", "tensorflow-probability", "numpy")


def archive(
    evaluations: Sequence[Path],
    curves: Sequence[Path],
    policies: Sequence[Path],
    benchmarks: Sequence[Path],
    paths: Path,
    published_returns: Sequence[float],
    published_deviations: Sequence[float],
    source: str,
    output: Path,
) -> None:
    """Writes an environment's archive.

    Args:
      evaluations: parquet files of `metarl evaluate`, a seed each.
      curves: parquet files of `metarl train`, likewise.
      policies: the policies (.npz), which tell the settings, likewise.
      benchmarks: Snakemake's benchmark files (.tsv) of the training runs, which tell the
        core-hours, likewise.
      paths: parquet file of `metarl evaluate --paths`, of one seed.
      published_returns: mean over held-out tasks after 0, 1, 2, ... inner steps.
      published_deviations: their standard deviations over tasks.
      source: where the published numbers stand.
      output: folder.

    Raises:
      InputError: a file that is missing or damaged, files of several environments, of different
        seeds, or another number of published numbers than one an inner step.
    """
    returns = tables.read_some(columns.EVALUATION, evaluations)
    training = tables.read_some(columns.TRAINING, curves)
    positions = tables.read_some(columns.paths(task_size=1, position_size=1), [paths])
    settings = [unpack_arrays(path)[1] for path in policies]
    names = sorted(
        {str(of_run.get("environment")) for of_run in settings}
        | {*returns["environment"], *training["environment"], *positions["environment"]}
    )
    require(len(names) == 1, "the files' environment", ", ".join(names), "files of one environment")
    seeds = {of_run.get("seed") for of_run in settings}
    for kind, frame in (("evaluations", returns), ("curves", training)):
        given = set(frame["seed"])
        allowed = f"those of the policies, {seeds}"
        require(given == seeds, f"the {kind}' seeds", sorted(given), allowed)
    steps = int(returns["inner_step"].max()) + 1
    for name, numbers in (
        ("published_returns", published_returns),
        ("published_deviations", published_deviations),
    ):
        require(len(numbers) == steps, name, list(numbers), f"{steps} numbers, one an inner step")
    files = {
        end: output / f"{names[0]}{end}"
        for end in ("_returns.parquet", "_curves.parquet", "_paths.parquet", ".json")
    }
    require_writable(*files.values(), inputs=[*evaluations, *curves, *policies, *benchmarks, paths])
    described = {
        "source": source,
        "settings": settings,
        "core_hours": [cpu_seconds(path) / 3600.0 for path in benchmarks],
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in PACKAGES},
        "machine": {"processor": processor(), "cores": os.cpu_count()},
    }
    step = returns["inner_step"].to_numpy()
    returns["published_return"] = np.asarray(published_returns)[step]
    returns["published_deviation"] = np.asarray(published_deviations)[step]
    write_table(columns.PUBLISHED, returns, files["_returns.parquet"])
    write_table(columns.TRAINING, training, files["_curves.parquet"])
    write_parquet(pd.read_parquet(paths), files["_paths.parquet"])
    write_text(json.dumps(described, indent=2) + "\n", files[".json"])


def cpu_seconds(benchmark: Path) -> float:
    """The processor time of a job, from Snakemake's benchmark file.

    Raises:
      InputError: no such file, or without the column.
    """
    try:
        return float(pd.read_csv(benchmark, sep="\t")["cpu_time"].iloc[0])
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise InputError(
            f"{str(benchmark)!r} has no cpu_time ({error}); give Snakemake's benchmark file of a "
            "training run"
        ) from None


def processor() -> str:
    """The processor's name, or the architecture where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()
