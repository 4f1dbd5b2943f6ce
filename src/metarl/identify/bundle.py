"""A bundle: an .npz of the data that a gradient was computed from, and the gradient itself.

Its keys are those of `KEYS` and `STEP_KEYS`, with K tasks, N trajectories, T steps, observations of
size O, actions of size A, P parameters. A bundle describes the policy by its network, or, for
policies that are none of `metarl.policies`, by scores and two vectors (`SCORES`).
"""

import difflib
import math
import re
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np

from metarl.errors import InputError
from metarl.identify.arrays import Arrays, brief, floats, integers, load, mask, numbers, word
from metarl.identify.scores import LinearPolicy
from metarl.policies import (
    GaussianMLPPolicy,
    HeldStdGaussianMLPPolicy,
    Policy,
    SoftmaxMLPPolicy,
    StateStdGaussianMLPPolicy,
)
from metarl.settings import Activation, Averaging, InnerSettings

SCORES = ("outer_gradient", "inner_jacobian_vector")
NETWORK = ("hidden_sizes", "parameters")
OPTIONAL = (
    "evaluation_parameters",
    "activation",
    "log_std",
    "clip",
    "kl_coefficient",
    "entropy_coefficient",
    "averaging",
)
KEYS = ("inner_learning_rate", "gradient", "sign", *NETWORK, *SCORES, *OPTIONAL)
SIGNALS = ("advantages", "rewards", "score_rewards")
STEP_KEYS = (
    "observations",
    "actions",
    *SIGNALS,
    "mask",
    "mean",
    "log_std",
    "scores",
)
"""Those of each of step0/, step1/, ...; the last step is the outer batch."""


class Bundle(NamedTuple):
    """A gradient and what it was computed from; arrays are float64.

    Attributes:
      policy: as the bundle describes it.
      parameters: [P], the policy that collected step 0.
      evaluation_parameters: [P], where the gradient was taken.
      steps: arrays of each step by the names of STEP_KEYS; the optional mean and log_std may be
        absent.
      gradient: of the first parameters, an ascent direction; a fixed std has no entries.
      settings: inner learning rate and averaging.
      clip: PPO's, or None.
      kl_coefficient: of ProMP's inner KL penalty; 0: none.
      entropy_coefficient: of an entropy bonus in the outer objective; 0: none.
      dtype: "float32" or "float64", what the gradient was computed in.
      std_given: False where the std is fixed and not in the bundle.
      outer_gradient, inner_jacobian_vector: [K, P], v and eta mean_i[(grad f_i)^T v] of a bundle of
        scores; else None.
    """

    policy: Policy | LinearPolicy
    parameters: np.ndarray
    evaluation_parameters: np.ndarray
    steps: list[dict[str, np.ndarray]]
    gradient: np.ndarray
    settings: InnerSettings
    clip: float | None
    kl_coefficient: float
    entropy_coefficient: float
    dtype: str
    std_given: bool = True
    outer_gradient: np.ndarray | None = None
    inner_jacobian_vector: np.ndarray | None = None


def read_bundle(path: Path) -> Bundle:
    """Reads and checks a bundle.

    Raises:
      InputError: one line that names the file, the key and what is wrong with it.
    """
    try:
        return _bundle(load(path))
    except InputError as error:
        raise InputError(f"{str(path)!r}: {error}") from None


def _bundle(arrays: Arrays) -> Bundle:
    of_scores = any(key in SCORES or key.endswith("/scores") for key in arrays)
    count = _count_steps(arrays, least=1 if of_scores else 2)
    _require_known(arrays, count)
    required = ["inner_learning_rate", "gradient", "sign", *(SCORES if of_scores else NETWORK)]
    if of_scores:
        required += [f"step0/{name}" for name in ("scores", "advantages", "rewards")]
    else:
        names = ("observations", "actions", "advantages", "rewards")
        required += [f"step{s}/{name}" for s in range(count) for name in names]
    for key in required:
        if key not in arrays:
            raise InputError(f"no key {key!r}; a bundle {'of scores ' * of_scores}needs it")
    if not of_scores:
        arrays = _numbered_actions(arrays, count)
    bundle = (_bundle_of_scores if of_scores else _bundle_of_network)(arrays, count)
    return _with_learning_rates(
        bundle, numbers(arrays, "inner_learning_rate", len(bundle.steps) - 1, positive=True)
    )


def _count_steps(arrays: Arrays, least: int) -> int:
    """S + 1, as the keys name steps 0..S."""
    named = {int(match[1]) for key in arrays if (match := re.match(r"step(\d{1,4})/", key))}
    count = max(named, default=-1) + 1
    if missing := sorted(set(range(count)) - named):
        raise InputError(f"no key of step{missing[0]}; number the steps 0, 1, ... without a gap")
    if count < least:
        wanted = "step0/" if least == 1 else "step0/ and, as the outer batch, step1/"
        raise InputError(f"fewer than {'two steps' if least == 2 else 'one step'}; give {wanted}")
    return count


def _require_known(arrays: Arrays, count: int) -> None:
    known = [*KEYS, *(f"step{s}/{name}" for s in range(count) for name in STEP_KEYS)]
    for key in arrays:
        if key not in known:
            nearest = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.0)[0]
            raise InputError(
                f"unknown key {key!r:.80}; did you mean {nearest!r}? else leave it out"
            )


def _numbered_actions(arrays: Arrays, count: int) -> Arrays:
    """One-hot actions as the integers that they stand for, if no step has any others."""
    actions = {f"step{s}/actions": f"step{s}/mask" for s in range(count)}
    one_hot = [key for key, mask in actions.items() if _is_one_hot(arrays[key], arrays.get(mask))]
    if any(arrays[key].ndim != 3 for key in actions if key not in one_hot):
        return arrays
    return arrays | {key: arrays[key].argmax(axis=-1) for key in one_hot}


def _is_one_hot(actions: np.ndarray, mask: np.ndarray | None) -> bool:
    """Whether actions [K, N, T, A] are; where the mask is 0, they may be all 0."""
    if actions.dtype.kind not in "fiub" or actions.ndim != 4 or actions.shape[-1] < 2:
        return False
    chosen = actions.sum(axis=-1)
    if mask is not None and mask.shape == chosen.shape:
        chosen = np.where(mask == 0, 1, chosen)
    return bool(np.isin(actions, (0, 1)).all() and (chosen == 1).all())


def _bundle_of_network(arrays: Arrays, count: int) -> Bundle:
    observations = floats(arrays, "step0/observations", (None,) * 4)
    policy = _policy(arrays, observations)
    held = isinstance(policy, HeldStdGaussianMLPPolicy)
    if "log_std" in arrays and not held:
        raise InputError(
            f"log_std is for a fixed std, but parameters [{policy.parameter_size}] are those of a "
            "policy without one; leave log_std out"
        )
    log_std = _fixed_log_std(arrays, policy.action_size) if held else np.zeros(0)
    size = policy.parameter_size - (policy.action_size if held else 0)

    def parameters(key: str) -> np.ndarray:
        constants = np.zeros(policy.parameter_size - size) if log_std is None else log_std
        return np.concatenate([floats(arrays, key, (size,)), constants])

    acting = parameters("parameters")
    moved = "evaluation_parameters" in arrays
    return Bundle(
        policy=policy,
        parameters=acting,
        evaluation_parameters=parameters("evaluation_parameters") if moved else acting,
        steps=[_step(arrays, s, observations.shape[0], policy) for s in range(count)],
        clip=numbers(arrays, "clip", 1, positive=True)[0] if "clip" in arrays else None,
        kl_coefficient=_coefficient(arrays, "kl_coefficient"),
        entropy_coefficient=_coefficient(arrays, "entropy_coefficient"),
        std_given=log_std is not None,
        **_common(arrays, size),
    )


def _bundle_of_scores(arrays: Arrays, count: int) -> Bundle:
    if count > 2:
        raise InputError(
            f"scores of {count - 1} inner steps; give those of one, or the network's keys instead"
        )
    if _coefficient(arrays, "kl_coefficient"):
        raise InputError(
            "kl_coefficient in a bundle of scores, which do not tell the inner KL; give the "
            "network's keys instead, or dump the gradient without it"
        )
    scores = floats(arrays, "step0/scores", (None,) * 4)
    tasks, *_, size = scores.shape
    inner = {"observations": scores, "actions": scores[..., :0]}
    inner |= _signals(arrays, 0, scores.shape[:3])
    nothing = np.zeros(size)
    return Bundle(
        policy=LinearPolicy(size),
        parameters=nothing,
        evaluation_parameters=nothing,
        steps=[inner, _outer_step(arrays, tasks, size)],
        clip=None,
        kl_coefficient=0.0,
        entropy_coefficient=0.0,
        outer_gradient=floats(arrays, "outer_gradient", (tasks, size)),
        inner_jacobian_vector=floats(arrays, "inner_jacobian_vector", (tasks, size)),
        **_common(arrays, size),
    )


def _outer_step(arrays: Arrays, tasks: int, size: int) -> dict[str, np.ndarray]:
    """The outer batch of a bundle of scores, of which rewards alone matter, if there is one."""
    given = [arrays[f"step1/{name}"] for name in SIGNALS if f"step1/{name}" in arrays]
    shape = (tasks, *given[0].shape[1:3]) if given and given[0].ndim == 3 else (tasks, 1, 1)
    empty = np.zeros((*shape, size))
    return {"observations": empty, "actions": empty[..., :0], **_signals(arrays, 1, shape)}


def _common(arrays: Arrays, size: int) -> dict:
    """What bundles of both kinds have; the inner learning rate is filled in at the end."""
    gradient = floats(arrays, "gradient", (size,))
    if not gradient.any():
        raise InputError("gradient has only zeros; dump it after the backward pass")
    ascent = word(arrays, "sign", ("ascent", "descent")) == "ascent"
    single = any(array.dtype.kind == "f" and array.dtype.itemsize == 4 for array in arrays.values())
    return {
        "gradient": gradient if ascent else -gradient,
        "settings": InnerSettings(math.nan, word(arrays, "averaging", get_args(Averaging))),
        "dtype": "float32" if single else "float64",
    }


def _with_learning_rates(bundle: Bundle, rates: list[float]) -> Bundle:
    """The first inner step's rate as eta; a later step's advantages and rewards carry the rest."""
    scales = [rate / rates[0] for rate in rates] if len(rates) > 1 else []
    steps = [dict(step) for step in bundle.steps]
    for step, scale in zip(steps, scales, strict=False):
        step["advantages"] = scale * step["advantages"]
        step["rewards"] = scale * step["rewards"]
    settings = bundle.settings._replace(learning_rate=rates[0])
    return bundle._replace(steps=steps, settings=settings)


def _coefficient(arrays: Arrays, key: str) -> float:
    return numbers(arrays, key, 1, positive=False)[0] if key in arrays else 0.0


def _policy(arrays: Arrays, observations: np.ndarray) -> Policy:
    """The policy whose network has as many parameters as the bundle gives."""
    hidden = arrays["hidden_sizes"]
    if hidden.ndim != 1 or (hidden.size and hidden.dtype.kind not in "iu"):
        raise InputError(f"hidden_sizes is {brief(hidden)}; give integers [L]")
    if (hidden < 1).any():
        raise InputError(f"hidden_sizes are {hidden.tolist()}; give integers >= 1")
    widths = tuple(int(width) for width in hidden)
    activation = word(arrays, "activation", get_args(Activation))
    size = floats(arrays, "parameters", (None,)).size
    if arrays["step0/actions"].dtype.kind in "iu":
        return _softmax_policy(arrays, observations, widths, activation, size)
    actions = floats(arrays, "step0/actions", (*observations.shape[:3], None))
    sizes = observations.shape[-1], actions.shape[-1], widths, activation
    learned = GaussianMLPPolicy(*sizes)
    of_state = StateStdGaussianMLPPolicy(*sizes)
    without_std = learned.parameter_size - learned.action_size
    if size == without_std:
        return HeldStdGaussianMLPPolicy(*sizes, (True,) * learned.action_size)
    for policy in (learned, of_state):
        if size == policy.parameter_size:
            return policy
    raise InputError(
        f"parameters has shape [{size}]; give [{learned.parameter_size}], [{without_std}] without "
        f"log_std (a fixed std) or [{of_state.parameter_size}] where the last layer gives mean and "
        f"log std; of any other network dump step0/scores, {' and '.join(SCORES)} instead"
    )


def _softmax_policy(
    arrays: Arrays,
    observations: np.ndarray,
    widths: tuple[int, ...],
    activation: Activation,
    size: int,
) -> SoftmaxMLPPolicy:
    """The policy of integer actions; their number is that of the last layer's outputs."""
    least = int(integers(arrays, "step0/actions", observations.shape[:3]).max()) + 1
    smaller, larger = (
        SoftmaxMLPPolicy(observations.shape[-1], number, widths, activation).parameter_size
        for number in (1, 2)
    )
    number, rest = divmod(size - smaller, larger - smaller)
    number += 1
    if rest or number < least:
        raise InputError(
            f"parameters has shape [{size}]; for {least} or more actions give "
            f"[{smaller + (least - 1) * (larger - smaller)}] or {larger - smaller} more for each "
            f"further action; of any other network dump step0/scores, {' and '.join(SCORES)}"
        )
    return SoftmaxMLPPolicy(observations.shape[-1], int(number), widths, activation)


def _fixed_log_std(arrays: Arrays, size: int) -> np.ndarray | None:
    """The constants [A] of a fixed std, by their key or as the policy that acted had them."""
    if "log_std" in arrays:
        return floats(arrays, "log_std", (size,))
    if "step0/log_std" in arrays:
        return floats(arrays, "step0/log_std", (None, None, None, size))[0, 0, 0]
    return None


def _step(arrays: Arrays, number: int, tasks: int, policy: Policy) -> dict[str, np.ndarray]:
    """The arrays of one step, checked against each other."""
    prefix = f"step{number}/"
    observations = floats(
        arrays, f"{prefix}observations", (tasks, None, None, policy.observation_size)
    )
    shape = observations.shape[:3]
    step = {"observations": observations} | _signals(arrays, number, shape)
    given = [name for name in ("mean", "log_std") if f"{prefix}{name}" in arrays]
    if isinstance(policy, SoftmaxMLPPolicy):
        if given:
            raise InputError(f"{prefix}{given[0]} is of no use to integer actions; leave it out")
        if arrays[f"{prefix}actions"].dtype.kind not in "iu":
            kind = brief(arrays[f"{prefix}actions"])
            raise InputError(f"{prefix}actions is {kind}; give integers as in step0")
        actions = integers(arrays, f"{prefix}actions", shape)
        if actions.max() >= policy.action_size:
            raise InputError(
                f"{prefix}actions has {actions.max()}; the network has {policy.action_size}"
                " outputs: number actions from 0, or correct hidden_sizes or parameters"
            )
        return step | {"actions": np.eye(policy.action_size)[actions]}
    step["actions"] = floats(arrays, f"{prefix}actions", (*shape, policy.action_size))
    if len(given) == 1:
        raise InputError(f"{prefix}{given[0]} stands alone; give both {prefix}mean and log_std")
    for name in given:
        step[name] = floats(arrays, f"{prefix}{name}", (*shape, policy.action_size))
    return step


def _signals(arrays: Arrays, number: int, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Advantages, rewards, score_rewards and mask of one step; NaN for those that are absent."""
    prefix = f"step{number}/"
    signals = {
        name: (
            floats(arrays, f"{prefix}{name}", shape)
            if f"{prefix}{name}" in arrays
            else np.full(shape, math.nan)
        )
        for name in SIGNALS
    }
    if f"{prefix}score_rewards" not in arrays:
        signals["score_rewards"] = signals["rewards"]
    has_mask = f"{prefix}mask" in arrays
    signals["mask"] = mask(arrays, f"{prefix}mask", shape) if has_mask else np.ones(shape)
    return signals
