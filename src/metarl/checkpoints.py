"""Checkpoints of long work: atomic, checksummed, keyed by settings and code.

A checkpoint holds everything that the rest of the work depends on. Of a training run: parameters,
the optimizer's memory, the number of finished iterations (all random streams are derived from seed
and iteration) and the curves so far. Of an audit: the finished rows and how many units made them.
"""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from metarl.errors import InputError
from metarl.sources import environment_module, sources
from metarl.storage import pack_arrays, unpack_arrays, write_bytes

ROOT = Path(__file__).parents[1]


def run_identity(settings: Mapping, initial_policy: str | None = None) -> dict:
    """What a training run is but for its length: a longer one goes on where a shorter one ended.

    Args:
      settings: of the run.
      initial_policy: digest of the file that it starts from, if it does.
    """
    identity = {name: value for name, value in settings.items() if name != "iterations"}
    return identity | ({"initial_policy": initial_policy} if initial_policy else {})


def checkpoint_path(folder: Path, settings: Mapping) -> Path:
    """Where the training run with this `run_identity`, under this code, keeps its checkpoint."""
    modules = ("metarl.training.train", environment_module(settings["environment"]))
    return keyed_path(folder, settings, modules, [settings["estimator"]])


def keyed_path(
    folder: Path, settings: Mapping, modules: Sequence[str], estimators: Sequence[str]
) -> Path:
    """Where work with these settings, under this code, keeps its checkpoint.

    Another setting or another line of code is other work: it has no checkpoint and starts afresh.

    Args:
      folder: of checkpoints.
      settings: all that the numbers depend on but for the code.
      modules: the code, with all that it imports below src; an environment from outside is one.
      estimators: imported names. The file of one from outside counts too, what it imports does not.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    files = sources(*modules, root=str(ROOT))
    for name in estimators:
        plug_in, colon, _ = name.partition(":")
        if colon:  # what is built into Python has no file
            files += filter(None, [getattr(sys.modules[plug_in], "__file__", None)])
    for source in files:
        digest.update(Path(source).read_bytes())
    return folder / f"{digest.hexdigest()[:32]}.npz"


def save(path: Path, arrays: Mapping[str, np.ndarray], rows: list[dict], settings: Mapping) -> None:
    """Replaces the checkpoint; after a kill at any moment the file is the old or the new one."""
    write_bytes(pack_arrays(arrays, {"rows": rows, "settings": dict(settings)}), path)


def load(path: Path, settings: Mapping) -> tuple[dict[str, np.ndarray], list[dict]] | None:
    """The checkpoint's arrays and rows, or None where there is none that can be trusted.

    Args:
      path: of the checkpoint.
      settings: of the work; a file with others is another run's, whatever its name.
    """
    if not path.exists():
        return None
    try:
        arrays, stored = unpack_arrays(path)
    except InputError as error:
        print(f"ignoring checkpoint: {error}; starting afresh", file=sys.stderr)
        return None
    if stored.get("settings") != json.loads(json.dumps(settings)):
        print(
            f"ignoring checkpoint: {str(path)!r} holds other work than its name says; starting"
            " afresh",
            file=sys.stderr,
        )
        return None
    return arrays, stored["rows"]
