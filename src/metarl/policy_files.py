"""Policy files: the parameters that `metarl train` ends with, and the settings of their run."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from metarl.errors import InputError
from metarl.settings import TrainingSettings
from metarl.storage import pack_arrays, unpack_arrays, write_bytes


def save_policy(
    parameters: np.ndarray, described: Mapping, path: Path, initial: np.ndarray | None = None
) -> None:
    """Writes parameters [P] and the settings of their run, as one .npz with a checksum.

    With `initial` [P], where the run started, if its seed does not tell.
    """
    arrays = {"parameters": parameters} | ({} if initial is None else {"initial": initial})
    write_bytes(pack_arrays(arrays, described), path)


def load_policy(path: Path) -> tuple[np.ndarray, TrainingSettings]:
    """The parameters [P] that `metarl train` wrote, and the settings it trained them with.

    Raises:
      InputError: no such file, or a damaged or foreign one.
    """
    arrays, stored = unpack_arrays(path)
    try:
        stored["hidden_sizes"] = tuple(stored["hidden_sizes"])
        return arrays["parameters"], TrainingSettings(**stored)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{str(path)!r} is not a policy of `metarl train`; give one of its .npz"
        ) from error


def load_initial(path: Path) -> np.ndarray | None:
    """Where the run that ended in this policy started [P]; None where its seed tells."""
    return unpack_arrays(path)[0].get("initial")
