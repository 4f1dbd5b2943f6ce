"""Atomic writes: a reader sees the old file or the new one, never half of one."""

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from metarl.errors import InputError


def require_writable(*paths: str | os.PathLike) -> None:
    """Checks, before long work, that its results will have a place; makes nothing.

    Raises:
      InputError: a path is a folder, or nothing can be made below its nearest folder that exists.
    """
    for path in map(Path, paths):
        try:
            reason = _obstacle(path)
        except OSError as error:  # a name that is too long, say
            reason = error.strerror
        if reason:
            raise _cannot_write(path, reason)


def _obstacle(path: Path) -> str | None:
    """Why no file can be made at `path`; None where one can."""
    if path.is_dir():
        return "it is a folder"
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        return f"{str(folder)!r} is not a folder"
    if not os.access(folder, os.W_OK):
        return f"{str(folder)!r} is not yours to write to"
    return None


def _cannot_write(path: Path, reason: str | None) -> InputError:
    return InputError(
        f"cannot write {str(path)!r} ({reason}); give a path in a folder you can write to"
    )


def write_bytes(data: bytes, path: str | os.PathLike) -> None:
    """Replaces the file at `path` by `data`, all at once, on disk when this returns.

    Raises:
      InputError: `path` is a folder, or its folder cannot be made or written to.
    """
    path = Path(path)
    require_writable(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise _cannot_write(path, error.strerror) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp's 0600 would hide results from colleagues
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_text(text: str, path: str | os.PathLike) -> None:
    """Replaces the file at `path` by `text`, UTF-8."""
    write_bytes(text.encode(), path)


def write_parquet(frame: pd.DataFrame, path: str | os.PathLike) -> None:
    """Replaces the file at `path` by `frame`, without its index."""
    write_bytes(frame.to_parquet(None, index=False), path)


def pack_arrays(arrays: Mapping[str, np.ndarray], settings: Mapping) -> bytes:
    """Arrays and JSON settings as the bytes of an .npz that carries its own SHA-256 digest."""
    contents = dict(arrays, settings=np.array(json.dumps(settings, sort_keys=True)))
    buffer = io.BytesIO()
    np.savez(buffer, sha256=np.array(_digest(contents)), **contents)
    return buffer.getvalue()


def unpack_arrays(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict]:
    """The arrays and settings that `pack_arrays` packed into the file at `path`.

    Raises:
      InputError: there is no such file, or it is damaged, truncated or not one of ours.
    """
    if not Path(path).is_file():
        raise InputError(f"no file {str(path)!r}; give a file that metarl wrote")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        digest = str(arrays.pop("sha256"))
        intact = digest == _digest(arrays)
        settings = json.loads(str(arrays.pop("settings")))
    except Exception as error:  # on damaged bytes zipfile and NumPy raise almost anything
        raise InputError(f"{str(path)!r} is not a readable metarl file; write it anew") from error
    if not intact:
        raise InputError(f"{str(path)!r} does not match its checksum, it is damaged; write it anew")
    return arrays, settings


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
