"""The archive of runs that reproduce published results: too long to be made anew every time.

An environment's archive is ENVIRONMENT_curves.parquet, the learning curves, and ENVIRONMENT.json,
the settings they came from, with the versions and the machine of whoever archived them. Where
numbers were published, ENVIRONMENT_returns.parquet has the held-out returns with the published ones
beside them, and ENVIRONMENT_paths.parquet where the bodies went (of the first seed).
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
from metarl.settings import require
from metarl.storage import require_writable, unpack_arrays, write_parquet, write_text

PACKAGES = ("metarl", "mujoco", "gymnasium", "tensorflow", "tensorflow-probability", "numpy")


def archive(
    curves: Sequence[Path],
    policies: Sequence[Path],
    benchmarks: Sequence[Path],
    source: str,
    output: Path,
    evaluations: Sequence[Path] = (),
    paths: Path | None = None,
    published_returns: Sequence[float] = (),
    published_deviations: Sequence[float] = (),
) -> None:
    """Writes an environment's archive.

    Args:
      curves: parquet files of `metarl train`, a run each.
      policies: the policies (.npz), which tell the settings, likewise.
      benchmarks: Snakemake's benchmark files (.tsv) of the training jobs, which tell the
        core-hours, by the names of the files.
      source: where the published results stand.
      output: folder.
      evaluations: parquet files of `metarl evaluate`, a run each; none where no numbers were
        published.
      paths: parquet file of `metarl evaluate --paths`, of one seed.
      published_returns: mean over held-out tasks after 0, 1, 2, ... inner steps.
      published_deviations: their standard deviations over tasks.

    Raises:
      InputError: a file that is missing or damaged, files of several environments, of other runs
        than the policies, or another number of published numbers than one an inner step.
    """
    settings = [unpack_arrays(path)[1] for path in policies]
    kept = {"curves": tables.read_some(columns.TRAINING, curves)}
    published = published_returns, published_deviations
    if evaluations or any(published):
        returns = tables.read_some(columns.EVALUATION, evaluations)
        kept["returns"] = beside_published(returns, *published)
    runs = {f"{of_run.get('algorithm')} seed {of_run.get('seed')}" for of_run in settings}
    for kind, frame in kept.items():
        given = set(frame["algorithm"] + " seed " + frame["seed"].astype(str))
        if given != runs:
            raise InputError(
                f"the {kind} are of {', '.join(sorted(given))}; give those of the policies,"
                f" {', '.join(sorted(runs))}"
            )
    if paths:
        tables.read_some(columns.paths(task_size=1, position_size=1), [paths])  # the least it has
        kept["paths"] = pd.read_parquet(paths)
    names = sorted(
        {str(of_run.get("environment")) for of_run in settings}.union(
            *(frame["environment"] for frame in kept.values())
        )
    )
    require(len(names) == 1, "the files' environment", ", ".join(names), "files of one environment")
    files = {kind: output / f"{names[0]}_{kind}.parquet" for kind in kept}
    description = output / f"{names[0]}.json"
    inputs = [*evaluations, *curves, *policies, *benchmarks, *([paths] if paths else [])]
    require_writable(*files.values(), description, inputs=inputs)
    described = {
        "source": source,
        "settings": settings,
        "core_hours": {path.stem: cpu_seconds(path) / 3600.0 for path in benchmarks},
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in PACKAGES},
        "machine": machine(),
    }
    for kind, frame in kept.items():
        write_parquet(frame, files[kind])
    write_text(json.dumps(described, indent=2) + "\n", description)


def beside_published(
    returns: pd.DataFrame, means: Sequence[float], deviations: Sequence[float]
) -> pd.DataFrame:
    """The table columns.PUBLISHED: held-out returns and the published numbers of each inner step.

    Raises:
      InputError: another number of published numbers than one an inner step.
    """
    steps = int(returns["inner_step"].max()) + 1
    for name, numbers in (("published_returns", means), ("published_deviations", deviations)):
        require(len(numbers) == steps, name, list(numbers), f"{steps} numbers, one an inner step")
    step = returns["inner_step"].to_numpy()
    return returns.assign(
        published_return=np.asarray(means, float)[step],
        published_deviation=np.asarray(deviations, float)[step],
    )


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


def machine() -> dict[str, str | int | None]:
    """What this runs on: `processor`, by name or, where the system does not tell, architecture, and
    `cores`."""
    return {"processor": _processor(), "cores": os.cpu_count()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()
