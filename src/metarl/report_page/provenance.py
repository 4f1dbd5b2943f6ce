"""What made a page: settings, versions, machine and processor time."""

import math
import platform
from collections import defaultdict
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from metarl import published
from metarl.errors import InputError
from metarl.report_page.markup import cells, element, escape, fold, table

PACKAGES = (*published.PACKAGES, "matplotlib", "pandas", "plotly", "pyarrow", "scipy")
FOLDERS = 2  # of a benchmark file that tell jobs apart: train/PointGoal


def benchmark_files(folder: Path | None) -> dict[Path, str]:
    """Snakemake's benchmark files below a folder, each with the jobs that it is of.

    Raises:
      InputError: there is no such folder.
    """
    if folder is None:
        return {}
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder; give that of Snakemake's benchmark files")
    files = sorted(Path(folder).rglob("*.tsv"))
    return {path: "/".join(path.relative_to(folder).parts[:-1][:FOLDERS]) for path in files}


def describe(scale: str, settings: str, benchmarks: dict[Path, str]) -> str:
    """The section's content.

    Raises:
      InputError: a file that is no benchmark file.
    """
    parts = [_machine()]
    if benchmarks:
        parts += [element("h3", "Processor time"), _processor_time(benchmarks)]
    parts += [element("h3", "Versions"), _versions()]
    if settings:
        text = element("pre", settings, tabindex="0")
        parts += [element("h3", "Settings"), fold(f"all settings of the scale {scale}", text)]
    return "\n".join(parts)


def _machine() -> str:
    machine = published.machine()
    processor, cores = machine["processor"], machine["cores"]
    return element("p", f"Made on {processor}, {cores} core{'s'[: cores != 1]}.")


def _processor_time(benchmarks: dict[Path, str]) -> str:
    """Core-minutes of the jobs of each kind, as last run."""
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for path, kind in benchmarks.items():
        used = published.cpu_seconds(path)
        seconds[kind].append(used if math.isfinite(used) else 0.0)  # of a job too short to measure
    rows = [(kind, len(times), sum(times)) for kind, times in sorted(seconds.items())]
    rows.append(("all", len(benchmarks), sum(map(sum, seconds.values()))))
    heads = ["jobs", "files", "core-minutes"]
    return table(heads, [_time_row(*row) for row in rows], numbers=heads[1:])


def _time_row(kind: str, files: int, seconds: float) -> tuple[str, str]:
    return "", cells(escape(kind), str(files), f"{seconds / 60:.2f}", numbers=2)


def _versions() -> str:
    found = {"python": platform.python_version()} | _installed(PACKAGES)
    rows = [("", cells(escape(name), escape(version))) for name, version in found.items()]
    return fold(f"{len(rows)} packages", table(["package", "version"], rows))


def _installed(names: Sequence[str]) -> dict[str, str]:
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions
