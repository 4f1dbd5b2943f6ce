"""Checkpoints of a training run: atomic, checksummed, keyed by settings and code.

A checkpoint holds everything that the rest of the run depends on: parameters, the optimizer's memory, the number of
finished iterations (all random streams are derived from seed and iteration) and the curves so far.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from metarl.errors import InputError
from metarl.sources import environment_module, sources
from metarl.storage import pack_arrays, unpack_arrays, write_bytes

ROOT = Path(__file__).parents[1]


def checkpoint_path(folder: Path, settings: Mapping) -> Path:
    """Where the run with these settings, under this code, keeps its checkpoint.

    Another setting or another line of code is another run: it finds no checkpoint and starts afresh.
    The file of an estimator or environment from outside counts too, what it imports from there does
    not.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    environment = environment_module(settings["environment"])
    files = sources("metarl.training.train", environment, root=str(ROOT))
    plug_in, colon, _ = settings["estimator"].partition(":")
    if colon:  # imported already, or there would be no run; what is built into Python has no file
        files += filter(None, [getattr(sys.modules[plug_in], "__file__", None)])
    for source in files:
        digest.update(Path(source).read_bytes())
    return folder / f"{digest.hexdigest()[:32]}.npz"


def save(path: Path, arrays: Mapping[str, np.ndarray], rows: list[dict], settings: Mapping) -> None:
    """Replaces the checkpoint; after a kill at any moment the file is the old one or the new one."""
    write_bytes(pack_arrays(arrays, {"rows": rows, "settings": dict(settings)}), path)


def load(path: Path) -> tuple[dict[str, np.ndarray], list[dict]] | None:
    """The checkpoint's arrays and curves, or None where there is none that can be trusted."""
    if not path.exists():
        return None
    try:
        arrays, stored = unpack_arrays(path)
    except InputError as error:
        print(f"ignoring checkpoint: {error}; starting afresh", file=sys.stderr)
        return None
    return arrays, stored["rows"]
