"""Atomic writes: a reader sees the old file or the new one, never half of one."""

import glob
import hashlib
import io
import json
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from metarl.errors import InputError, RunError


def require_writable(*paths: str | os.PathLike, inputs: Sequence[str | os.PathLike] = ()) -> None:
    """Checks, before long work, that its results will have a place; makes nothing.

    Args:
      *paths: the files that will be written.
      inputs: the files that are read, which none of them may replace.

    Raises:
      InputError: two paths are one file or one of the inputs, one is in the other, a path is a
        folder or no regular file, or nothing can be made below its nearest folder that exists.
    """
    read, written, folders = set(map(os.path.realpath, inputs)), set(), set()
    for path in map(Path, paths):
        try:
            real = os.path.realpath(path)
            parents = set(map(str, Path(real).parents))
            if real in read:
                reason = "an input too"
            elif real in written:
                reason = "another output has this path too"
            elif real in folders:
                reason = "another output is to be in a folder of this path"
            elif written & parents:
                reason = "another output has the path of its folder"
            else:
                reason = _obstacle(path)
        except OSError as error:  # a name that is too long, say
            reason = error.strerror
        if reason:
            raise _cannot_write(path, reason)
        written.add(real)
        folders |= parents


def _obstacle(path: Path) -> str | None:
    """Why no file can be made at `path`; None where one can."""
    if path.is_dir():
        return "it is a folder"
    # what /dev/stdout stands for may be a file; the name itself is none
    if path.absolute().is_relative_to("/dev") or (path.exists() and not path.is_file()):
        return "it is a device or a pipe, which would be replaced"
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        return f"{str(folder)!r} is not a folder"
    try:  # permissions tell less: root has them all, and /proc takes no files from anyone
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return f"{str(folder)!r} takes no new files from you"
    return None


def _cannot_write(path: Path, reason: str | None) -> InputError:
    return InputError(
        f"cannot write {str(path)!r} ({reason}); give another path in a folder you can write to"
    )


def write_bytes(data: bytes, path: str | os.PathLike) -> None:
    """Replaces the file at `path` by `data`, all at once, on disk when this returns.

    What a process that was killed left of its writes to this path is removed.

    Raises:
      InputError: `path` is no place for a file: see `require_writable`.
      RunError: the write failed, on a full disk say; the old file stays whole.
    """
    require_writable(path)
    path = Path(os.path.realpath(path))  # a link stays one
    temporary = _temporary(path, os.getpid())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise RunError(
            f"cannot write {str(path)!r} ({error.strerror}); what stood there before is whole, "
            "make room and run again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(path: Path, process: int | str) -> Path:
    """Where a process of this machine writes what will be `path`: beside it."""
    name = hashlib.sha256(path.name.encode()).hexdigest()[:16]  # no longer than any name may be
    return path.with_name(f".{name}.{platform.node()}-{process}.part")


def _remove_abandoned(path: Path) -> None:
    """Removes what processes of this machine that are gone left of their writes to `path`."""
    for temporary in path.parent.glob(glob.escape(_temporary(path, "").stem) + "*.part"):
        process = temporary.stem.rpartition("-")[2]
        if process.isdigit() and not _runs(int(process)):
            temporary.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    """Whether a process of this machine is alive."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


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
