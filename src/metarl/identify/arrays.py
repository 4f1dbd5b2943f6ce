"""The arrays of an .npz, and checks that say in one line what is wrong with one of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from metarl.audit.settings import LARGEST
from metarl.errors import InputError

Arrays = Mapping[str, np.ndarray]


MOST_BYTES = 2**31
"""Of a bundle's arrays once they are unpacked: more than all data of a real training iteration."""


def load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz, of MOST_BYTES at most."""
    if not Path(path).is_file():
        raise InputError("no such file; give an .npz bundle")
    try:
        file = np.load(path, allow_pickle=False)
        names, size = file.files, sum(member.file_size for member in file.zip.infolist())
    except Exception as error:  # on damaged bytes zipfile and NumPy raise almost anything
        raise InputError("not a readable .npz; save the bundle again with numpy.savez") from error
    arrays = {}
    with file:
        if size > MOST_BYTES:
            raise InputError(
                f"{size / 2**30:.3g} GB of arrays; give at most {MOST_BYTES / 2**30:.3g} GB: fewer "
                "tasks or trajectories show the same"
            )
        for name in names:
            try:
                arrays[name] = np.asarray(file[name])
            except Exception as error:
                raise InputError(
                    f"{name} is damaged or an object array; save plain numbers with numpy.savez"
                ) from error
    return arrays


def floats(arrays: Arrays, key: str, shape: Sequence[int | None]) -> np.ndarray:
    """The finite floats under `key`, as float64; None in `shape` is any positive size."""
    array = arrays[key]
    if array.dtype.kind != "f" or array.dtype.itemsize not in (4, 8):
        raise InputError(f"{key} is {array.dtype}; give float32 or float64")
    _require_shape(array, key, shape)
    if not np.abs(array).max() <= LARGEST:
        raise InputError(
            f"{key} has a NaN or an infinity, or a number above {LARGEST:g}; give finite numbers"
        )
    return np.ascontiguousarray(array, np.float64)


def integers(arrays: Arrays, key: str, shape: Sequence[int | None]) -> np.ndarray:
    """The integers >= 0 under `key`."""
    array = arrays[key]
    _require_shape(array, key, shape)
    if array.min() < 0:
        raise InputError(f"{key} has {array.min()}; number the actions 0, 1, ...")
    return array


def _require_shape(array: np.ndarray, key: str, shape: Sequence[int | None]) -> None:
    fits = array.ndim == len(shape) and all(
        size > 0 and size == (size if wanted is None else wanted)
        for size, wanted in zip(array.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise InputError(f"{key} has shape {list(array.shape)}; give [{wanted}]")


def mask(arrays: Arrays, key: str, shape: Sequence[int]) -> np.ndarray:
    """Ones up to each episode's end and zeros after it; booleans and integers will do."""
    given = arrays[key]
    if given.dtype.kind in "biu":
        given = given.astype(np.float64)
    steps = floats({key: given}, key, shape)
    if not np.isin(steps, (0.0, 1.0)).all():
        raise InputError(f"{key} has values other than 0 and 1; give 1 for steps that happened")
    if (np.diff(steps, axis=-1) > 0).any() or not steps[..., 0].all():
        raise InputError(
            f"{key} has a 1 after a 0; give ones up to each episode's end, at least one"
        )
    return steps


def numbers(arrays: Arrays, key: str, size: int, positive: bool) -> list[float]:
    """One number, or `size` of them."""
    array = arrays[key]
    if array.dtype.kind not in "fiu" or not (array.size == 1 or array.shape == (size,)):
        many = f" or {size}" if size > 1 else ""
        raise InputError(f"{key} is {brief(array)}; give one number{many}")
    values = [float(value) for value in array.ravel()]
    for value in values:
        if not 0 <= value <= LARGEST or (positive and value == 0):
            least = "> 0" if positive else ">= 0"
            raise InputError(f"{key} is {value}; give a number {least}, at most {LARGEST:g}")
    return values


def word(arrays: Arrays, key: str, allowed: Sequence[str]) -> str:
    """The word under `key`; the first allowed one where the key is absent."""
    if key not in arrays:
        return allowed[0]
    array = arrays[key]
    if array.size != 1 or array.dtype.kind not in "US":
        raise InputError(f"{key} is {brief(array)}; give {' or '.join(map(repr, allowed))}")
    given = array.reshape(()).item()
    given = given.decode("utf-8", "replace") if isinstance(given, bytes) else given
    if given not in allowed:
        raise InputError(f"{key} is {given!r}; give {' or '.join(map(repr, allowed))}")
    return given


def brief(array: np.ndarray) -> str:
    return f"{array.dtype} of shape {list(array.shape)}"
