"""A bundle: an .npz of the data that a gradient was computed from, and the gradient itself.

Its keys are those of `KEYS` and `STEP_KEYS`, with K tasks, N trajectories, T steps, observations of size O, actions of
size A, P parameters.
"""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metarl.errors import InputError
from metarl.policies import GaussianMLPPolicy
from metarl.settings import InnerSettings

KEYS = {
    "hidden_sizes": True,
    "inner_learning_rate": True,
    "gradient": True,
    "sign": True,
    "parameters": True,
    "evaluation_parameters": False,
    "clip": False,
    "kl_coefficient": False,
    "averaging": False,
}
"""Whether a bundle must have the key."""

STEP_KEYS = {
    "observations": True,
    "actions": True,
    "advantages": True,
    "rewards": True,
    "score_rewards": False,
    "mask": False,
    "mean": False,
    "log_std": False,
}
"""The same for each of step0/, step1/, ...; the last step is the outer batch."""


class Bundle(NamedTuple):
    """A gradient and what it was computed from; arrays are float64.

    Attributes:
      policy: tanh layers, linear mean, state-independent log standard deviations.
      parameters: [P], the policy that collected step 0.
      evaluation_parameters: [P], where the gradient was taken.
      steps: arrays of each step by the names of STEP_KEYS; the optional mean and log_std may be absent.
      gradient: [P], an ascent direction.
      settings: inner learning rate and averaging.
      clip: PPO's, or None.
      kl_coefficient: of ProMP's inner KL penalty; 0: none.
      dtype: "float32" or "float64", what the gradient was computed in.
    """

    policy: GaussianMLPPolicy
    parameters: np.ndarray
    evaluation_parameters: np.ndarray
    steps: list[dict[str, np.ndarray]]
    gradient: np.ndarray
    settings: InnerSettings
    clip: float | None
    kl_coefficient: float
    dtype: str


def read_bundle(path: Path) -> Bundle:
    """Reads and checks a bundle.

    Raises:
      InputError: one line that names the file, the key and what is wrong with it.
    """
    try:
        return _bundle(_load(path))
    except InputError as error:
        raise InputError(f"{str(path)!r}: {error}") from None


def _load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz."""
    if not Path(path).is_file():
        raise InputError("no such file; give an .npz bundle")
    try:
        file = np.load(path, allow_pickle=False)
        names = file.files
    except Exception as error:  # on damaged bytes zipfile and NumPy raise almost anything
        raise InputError("not a readable .npz; save the bundle again with numpy.savez") from error
    arrays = {}
    with file:
        for name in names:
            try:
                arrays[name] = np.asarray(file[name])
            except Exception as error:
                raise InputError(
                    f"{name} is damaged or an object array; save plain numbers with numpy.savez"
                ) from error
    return arrays


def _bundle(arrays: dict[str, np.ndarray]) -> Bundle:
    numbers = _step_numbers(arrays)
    known = [*KEYS, *(f"step{s}/{name}" for s in numbers for name in STEP_KEYS)]
    for key in arrays:
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.8)
        if key not in known and (close or key.startswith("step")):
            raise InputError(
                f"unknown key {key!r}; " + (f"did you mean {close[0]!r}?" if close else "remove it")
            )
    required = [key for key, needed in KEYS.items() if needed]
    required += [f"step{s}/{name}" for s in numbers for name, needed in STEP_KEYS.items() if needed]
    for key in required:
        if key not in arrays:
            raise InputError(f"no key {key!r}; a bundle needs it")

    hidden_sizes = arrays["hidden_sizes"]
    if hidden_sizes.ndim != 1 or (hidden_sizes.size and hidden_sizes.dtype.kind not in "iu"):
        raise InputError(f"hidden_sizes is {_brief(hidden_sizes)}; give integers [L]")
    if (hidden_sizes < 1).any():
        raise InputError(f"hidden_sizes are {hidden_sizes.tolist()}; give integers >= 1")
    averaging = _word(arrays, "averaging", ("steps", "trajectories"))
    sign = _word(arrays, "sign", ("ascent", "descent"))

    observations = _array(arrays, "step0/observations", (None,) * 4)
    actions = _array(arrays, "step0/actions", (*observations.shape[:3], None))
    policy = GaussianMLPPolicy(
        observations.shape[-1], actions.shape[-1], tuple(int(width) for width in hidden_sizes)
    )
    parameters = _array(arrays, "parameters", (policy.parameter_size,))
    evaluation_parameters = parameters
    if "evaluation_parameters" in arrays:
        evaluation_parameters = _array(arrays, "evaluation_parameters", (policy.parameter_size,))
    gradient = _array(arrays, "gradient", (policy.parameter_size,))
    steps = [_step(arrays, s, observations.shape[0], policy) for s in numbers]
    single = any(array.dtype.kind == "f" and array.dtype.itemsize == 4 for array in arrays.values())
    return Bundle(
        policy=policy,
        parameters=parameters,
        evaluation_parameters=evaluation_parameters,
        steps=steps,
        gradient=gradient if sign == "ascent" else -gradient,
        settings=InnerSettings(_scalar(arrays, "inner_learning_rate", positive=True), averaging),
        clip=_scalar(arrays, "clip", positive=True) if "clip" in arrays else None,
        kl_coefficient=(
            _scalar(arrays, "kl_coefficient", positive=False) if "kl_coefficient" in arrays else 0.0
        ),
        dtype="float32" if single else "float64",
    )


def _step_numbers(arrays: Mapping[str, np.ndarray]) -> list[int]:
    """0..S, as the keys name them."""
    found = {int(match[1]) for key in arrays if (match := re.match(r"step(\d{1,4})/", key))}
    numbers = list(range(max(found, default=-1) + 1))
    if missing := sorted(set(numbers) - found):
        raise InputError(f"no key of step{missing[0]}; number the steps 0, 1, ... without a gap")
    if len(numbers) < 2:
        raise InputError("fewer than two steps; give step0/ and, as the outer batch, step1/")
    return numbers


def _step(
    arrays: Mapping[str, np.ndarray], number: int, tasks: int, policy: GaussianMLPPolicy
) -> dict[str, np.ndarray]:
    """The arrays of one step, checked against each other."""
    prefix = f"step{number}/"
    observations = _array(
        arrays, f"{prefix}observations", (tasks, None, None, policy.observation_size)
    )
    shape = observations.shape[:3]
    step = {
        "observations": observations,
        "actions": _array(arrays, f"{prefix}actions", (*shape, policy.action_size)),
        "advantages": _array(arrays, f"{prefix}advantages", shape),
        "rewards": _array(arrays, f"{prefix}rewards", shape),
    }
    step["score_rewards"] = step["rewards"]
    if f"{prefix}score_rewards" in arrays:
        step["score_rewards"] = _array(arrays, f"{prefix}score_rewards", shape)
    step["mask"] = np.ones(shape)
    if f"{prefix}mask" in arrays:
        step["mask"] = _mask(arrays, f"{prefix}mask", shape)
    given = [name for name in ("mean", "log_std") if f"{prefix}{name}" in arrays]
    if len(given) == 1:
        raise InputError(f"{prefix}{given[0]} stands alone; give both {prefix}mean and log_std")
    for name in given:
        step[name] = _array(arrays, f"{prefix}{name}", (*shape, policy.action_size))
    return step


def _array(arrays: Mapping[str, np.ndarray], key: str, shape: Sequence[int | None]) -> np.ndarray:
    """The finite floating-point array under `key`, as float64; None in `shape` stands for any positive size."""
    array = arrays[key]
    if array.dtype.kind != "f" or array.dtype.itemsize not in (4, 8):
        raise InputError(f"{key} is {array.dtype}; give float32 or float64")
    fits = array.ndim == len(shape) and all(
        size > 0 and size == (size if wanted is None else wanted)
        for size, wanted in zip(array.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise InputError(f"{key} has shape {list(array.shape)}; give [{wanted}]")
    if not np.isfinite(array).all():
        raise InputError(f"{key} has a NaN or an infinity; give finite numbers")
    return np.ascontiguousarray(array, np.float64)


def _mask(arrays: Mapping[str, np.ndarray], key: str, shape: Sequence[int]) -> np.ndarray:
    """A mask of ones up to each episode's end and zeros after it; booleans and integers will do."""
    given = arrays[key]
    if given.dtype.kind in "biu":
        given = given.astype(np.float64)
    mask = _array({key: given}, key, shape)
    if not np.isin(mask, (0.0, 1.0)).all():
        raise InputError(f"{key} has values other than 0 and 1; give 1 for steps that happened")
    if (np.diff(mask, axis=-1) > 0).any() or not mask[..., 0].all():
        raise InputError(
            f"{key} has a 1 after a 0; give ones up to each episode's end, at least one"
        )
    return mask


def _scalar(arrays: Mapping[str, np.ndarray], key: str, positive: bool) -> float:
    array = arrays[key]
    if array.size != 1 or array.dtype.kind not in "fiu":
        raise InputError(f"{key} is {_brief(array)}; give one number")
    number = float(array.reshape(()))
    if not math.isfinite(number) or number < 0 or (positive and number == 0):
        raise InputError(f"{key} is {number}; give a number {'> 0' if positive else '>= 0'}")
    return number


def _word(arrays: Mapping[str, np.ndarray], key: str, allowed: Sequence[str]) -> str:
    """The word under `key`; the first allowed one where the key is absent."""
    if key not in arrays:
        return allowed[0]
    array = arrays[key]
    if array.size != 1 or array.dtype.kind not in "US":
        raise InputError(f"{key} is {_brief(array)}; give {' or '.join(map(repr, allowed))}")
    word = array.reshape(()).item()
    word = word.decode("utf-8", "replace") if isinstance(word, bytes) else word
    if word not in allowed:
        raise InputError(f"{key} is {word!r}; give {' or '.join(map(repr, allowed))}")
    return word


def _brief(array: np.ndarray) -> str:
    return f"{array.dtype} of shape {list(array.shape)}"
