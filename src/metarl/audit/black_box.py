"""The black-box audit: anyone's meta-gradient as it runs, in any framework. A function

    gradient(parameters, inner, outer, inner_learning_rate) -> [P]

is called with every possible inner sample X of N trajectories and every outer trajectory Y of a
finite problem. parameters [P], P = S * A, are the logits of a tabular softmax. inner (N
trajectories) and outer (one) are dicts of float64 NumPy arrays: observations [N, T, S] and actions
[N, T, A], one-hot, rewards [N, T], and mask [N, T], 0 after an episode's end. It returns the
gradient of a return to be raised. All arrays are copies: what it writes into them is lost.

Outer trajectories are weighed by p_theta'(Y), theta' = theta + eta mean_i f_i, where f_i = sum_t
A_it g_it of A = reward-to-go (on `stopping` the mean is over all steps), so that

    bias = || E g_hat - grad J_N ||
    variance = Var_X E[g_hat | X],  outer_variance = E_X Var[g_hat | X] with one outer trajectory

Nothing of theirs passes through TensorFlow. grad J_N and the catalogue that it is compared with are
those of `metarl.audit.exact`.
"""

import contextlib
import importlib
import math
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from metarl.audit.exact import (
    ExactAudit,
    all_samples,
    measures,
    require_enumerable,
)
from metarl.audit.problems import PROBLEMS, FiniteProblem, problem
from metarl.audit.settings import LARGEST, ExactSettings
from metarl.audit.text import text
from metarl.errors import InputError, shortened
from metarl.estimators import CATALOGUE
from metarl.plug_ins import definition, line
from metarl.progress import Progress, announce
from metarl.randomness import generator
from metarl.storage import require_writable, write_parquet

KEYS = ("observations", "actions", "rewards", "mask")
REPEATS = 4  # inputs that are given twice before an audit and once after it
PART = 10.0  # seconds between two lines of progress
CALLED = (
    "it is called as gradient(parameters, inner, outer, inner_learning_rate), see metarl audit "
    "exact --help"
)
SAME = 1e-9  # relative difference of entries that are one on this problem
FAR = 0.5  # relative difference above which no entry is near


class Gradient:
    """Anyone's gradient function: what it does wrong is one line that names the line of their file.

    Args:
      name: `package.module:function`, from the working folder or installed.

    Raises:
      InputError: it cannot be imported, or is no function.
    """

    def __init__(self, name: str):
        module, colon, function = name.partition(":")
        if not (module and colon and function):
            raise InputError(f"--gradient is {name!r}; give package.module:function")
        self.name, self.folder = name, Path.cwd()
        if os.getcwd() not in sys.path:  # as `python -m` has it: people try out a file of their own
            sys.path.insert(0, os.getcwd())
        with self.blamed("cannot be imported", "give package.module:function"):
            imported = importlib.import_module(module)
        file = getattr(imported, "__file__", None)
        self.folder = Path(file).parent if file else self.folder
        if not callable(getattr(imported, function, None)):
            raise InputError(f"{name}: {file or module} has no function {function!r}; give one")
        self.function: Callable = getattr(imported, function)

    def __call__(
        self,
        parameters: np.ndarray,
        inner: Mapping[str, np.ndarray],
        outer: Mapping[str, np.ndarray],
        inner_learning_rate: float,
    ) -> np.ndarray:
        """The gradient [P] as a float64 array of its own.

        Raises:
          InputError: the function fails, or returns anything but P finite floating-point numbers.
        """
        size = parameters.shape
        with self.blamed("failed", CALLED):
            returned = self.function(
                parameters.copy(), dict(inner), dict(outer), inner_learning_rate
            )
        try:
            gradient = np.asarray(returned)
        except Exception as error:
            raise self.wrong(f"a {type(returned).__name__} ({error})", size) from error
        if gradient.dtype.kind != "f" or gradient.shape != size:
            raise self.wrong(f"{gradient.dtype} {list(gradient.shape)}", size)
        if not np.abs(gradient).max() <= LARGEST:
            raise self.wrong(f"NaN, infinity or numbers above {LARGEST:g}", size)
        return np.array(gradient, np.float64)

    def wrong(self, returned: str, size: tuple[int]) -> InputError:
        """What to say of a result that is no gradient."""
        place = definition(self.function) or "it"
        return InputError(
            f"{self.name}: {place} returns {shortened(returned)}; give a NumPy array of {size[0]} "
            "finite floating-point numbers"
        )

    @contextlib.contextmanager
    def blamed(self, what: str, advice: str) -> Iterator[None]:
        """Turns what their code raises, sys.exit too, into one line; Ctrl-C stays what it is."""
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            place = line(error, self.folder) or definition(getattr(self, "function", None))
            at = f" at {place}" if place else ""
            said = f"{type(error).__name__}: {error}".rstrip(": ")
            raise InputError(f"{self.name} {what}{at} ({shortened(said)}); {advice}") from error


class Enumeration:
    """A finite problem as their function meets it: NumPy alone.

    Args:
      finite: the problem, of one inner step.
    """

    def __init__(self, finite: FiniteProblem):
        self.finite = finite
        self.gradients = self._trajectory_gradients()

    def log_policy(self, parameters: np.ndarray) -> np.ndarray:
        """log pi of logits [..., P]: [..., S, A]."""
        shape = (self.finite.policy.states, self.finite.policy.actions)
        logits = parameters.reshape(*parameters.shape[:-1], *shape)
        return logits - logsumexp(logits, axis=-1, keepdims=True)

    def probabilities(self, parameters: np.ndarray) -> np.ndarray:
        """p(trajectory) under logits [..., P]: [..., M]."""
        finite = self.finite
        log_probs = np.einsum(
            "mts,mta,...sa->...mt",
            finite.observations,
            finite.actions,
            self.log_policy(parameters),
        )
        return np.exp(np.sum(finite.mask * log_probs, axis=-1) + finite.log_transitions)

    def _trajectory_gradients(self) -> np.ndarray:
        """f of every trajectory, sum_t (reward-to-go) grad log pi: [M, P]."""
        finite = self.finite
        scores = finite.actions - finite.observations @ np.exp(self.log_policy(finite.parameters))
        to_go = finite.mask * np.cumsum(finite.rewards[:, ::-1], axis=1)[:, ::-1]
        gradients = np.einsum("mt,mts,mta->msa", to_go, finite.observations, scores)
        return gradients.reshape(len(gradients), -1)

    def adapted(self, counts: np.ndarray) -> np.ndarray:
        """theta' [C, P] of samples with these counts [C, M]."""
        finite = self.finite
        averaged = finite.mask.sum(axis=1) if finite.averaging == "steps" else 1.0
        mean = counts @ self.gradients / np.sum(counts * averaged, axis=1, keepdims=True)
        return finite.parameters + finite.inner_learning_rate * mean

    def call(self, gradient: Gradient, counts: np.ndarray, outer: int) -> np.ndarray:
        """Their gradient [P] for the sample with counts [M] and for one outer trajectory."""
        rows = np.repeat(np.arange(len(counts)), counts.astype(int))
        return gradient(
            self.finite.parameters,
            *({key: getattr(self.finite, key)[some] for key in KEYS} for some in (rows, [outer])),
            self.finite.inner_learning_rate,
        )

    def estimates(self, gradient: Gradient, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """E[g_hat | X] [C, P] and Var[g_hat | X] [C] of samples with these counts [C, M]."""
        means, variances = np.zeros((len(counts), self.gradients.shape[1])), np.zeros(len(counts))
        weights = self.probabilities(self.adapted(counts))
        for row, (sample, weight) in enumerate(zip(counts, weights, strict=True)):
            called = np.array([self.call(gradient, sample, m) for m in range(len(sample))])
            means[row] = weight @ called
            variances[row] = weight @ np.square(called - means[row]).sum(axis=1)
        return means, variances


class Repeats:
    """Some inputs, given again: a function of its arguments alone returns the same.

    Args:
      enumeration: of the problem.
      gradient: theirs.
      counts: every sample of one N, [C, M].

    Attributes:
      seconds: of a call.
      drawn: the generators, shared with everyone, that the calls drew from.

    Raises:
      InputError: the second call returns another gradient than the first.
    """

    def __init__(self, enumeration: Enumeration, gradient: Gradient, counts: np.ndarray):
        self.enumeration, self.gradient = enumeration, gradient
        draw = generator(0, "black box repeats")
        chosen = counts[draw.integers(len(counts), size=REPEATS)]
        self.inputs = [(sample, int(draw.integers(counts.shape[1]))) for sample in chosen]
        self.first = [enumeration.call(gradient, *given) for given in self.inputs]
        self.drawn: set[str] = set()
        started = time.monotonic()
        self.check()
        self.seconds = (time.monotonic() - started) / REPEATS  # a call; the first ones compile

    def check(self) -> None:
        """Raises InputError where a call returns another gradient than the first time."""
        for given, first in zip(self.inputs, self.first, strict=True):
            before = random_states()
            again = self.enumeration.call(self.gradient, *given)
            after = random_states()
            drawn = [name for name in before if before[name] != after.get(name)]
            self.drawn.update(drawn)
            difference = np.linalg.norm(again - first) / max(np.linalg.norm(first), 1e-300)
            if difference > 1e-4:  # far above float32 sums in another order
                source = f"draws from {' and '.join(drawn)}" if drawn else "has a state of its own"
                raise InputError(
                    f"{self.gradient.name} returns another gradient for the same arguments "
                    f"(relative difference {difference:.1e}): it {source} (dropout? sampling?); "
                    "give a function of its arguments alone, or --replicates"
                )


def random_states() -> dict[str, tuple | bytes]:
    """The states of the generators that code shares with everyone, to compare."""
    kind, keys, *position = np.random.get_state()
    states = {"random": random.getstate(), "numpy.random": (kind, keys.tobytes(), *position)}
    if "torch" in sys.modules:
        states["torch"] = sys.modules["torch"].get_rng_state().numpy().tobytes()
    return states


def nearest(
    estimates: np.ndarray, probabilities: np.ndarray, catalogue: Mapping[str, np.ndarray]
) -> str:
    """The catalogue's entries with the least relative difference, their scale, and that difference.

    It is (E ||g_hat - s entry||^2 / E ||g_hat||^2)^(1/2) over samples at the best scale s, not a
    distance of means, in which all unbiased entries are one. "none" where it is above `FAR`.

    Args:
      estimates: g_hat [C, P] of every sample.
      probabilities: of the samples, [C].
      catalogue: g_hat [C, P] of every entry.
    """

    def product(x: np.ndarray, y: np.ndarray) -> float:
        return float(probabilities @ (x * y).sum(axis=1))

    squared = product(estimates, estimates)
    if squared == 0.0:
        return "none: it is 0"
    scales = {name: product(estimates, its) / product(its, its) for name, its in catalogue.items()}
    remains = {name: estimates - scales[name] * its for name, its in catalogue.items()}
    distances = {name: math.sqrt(product(x, x) / squared) for name, x in remains.items()}
    least = min(distances.values())
    if least > FAR:
        return f"none ({least:.1e})"
    names = [name for name, distance in distances.items() if distance <= least + SAME]
    scale = scales[names[0]]
    times = "" if abs(scale - 1.0) < SAME + least else f"{scale:.3g} times "
    return f"{times}{', '.join(names)} ({least:.1e})"


def audit(settings: ExactSettings, output: Path) -> None:
    """Audits gradient functions on one problem and writes a tidy parquet.

    Args:
      settings: problem, sample sizes and gradient functions.
      output: parquet file with columns problem, estimator, sample_size, bias, relative_bias,
        variance, gradient_norm, counterpart (empty), outer_variance.

    Raises:
      InputError: an unknown name, an N that cannot be enumerated, or anything that a function
        does wrong; nothing is written.
    """
    require_writable(output)
    finite, sample_sizes = problem(settings.problem[0]), settings.sample_sizes
    require_one_step(finite)
    for sample_size in sample_sizes:
        require_enumerable(finite, sample_size)
    theirs = [Gradient(name) for name in settings.gradient]
    enumeration = Enumeration(finite)
    counts = {size: all_samples(finite, size)[0][:, 0] for size in sorted(sample_sizes)}
    repeats = [  # of all functions, before the time of any is spent
        {size: Repeats(enumeration, gradient, some) for size, some in counts.items()}
        for gradient in theirs
    ]
    for gradient, its in zip(theirs, repeats, strict=True):
        drawn = sorted({name for of_size in its.values() for name in of_size.drawn})
        if drawn:
            announce(
                f"warning: {gradient.name} draws from {' and '.join(drawn)}; what was tried twice"
                " came out the same, but the audit is of a function of its arguments alone"
            )
    estimates = {
        gradient.name: called(enumeration, gradient, counts, its)
        for gradient, its in zip(theirs, repeats, strict=True)
    }
    announce(f"compiling the catalogue on {finite.name}, to tell the nearest entry ...")
    exact = ExactAudit(finite, list(CATALOGUE.values()))
    rows, entries = [], []
    for size in counts:
        probabilities, truth, known = exact.estimates(size)
        catalogue = dict(zip(CATALOGUE, known, strict=True))
        for gradient, of_size in estimates.items():
            means, variances = of_size[size]
            rows.append(
                {
                    "problem": finite.name,
                    "estimator": gradient,
                    "sample_size": size,
                    **measures(means, probabilities, truth),
                    "counterpart": "",
                    "outer_variance": probabilities @ variances,
                }
            )
            entries.append(nearest(means, probabilities, catalogue))
    table = pd.DataFrame(rows)
    write_parquet(table, output)
    print(text(table.assign(nearest=entries)))


def require_one_step(finite: FiniteProblem) -> None:
    """Raises InputError for a problem of several inner steps, which the signature cannot hold."""
    if finite.inner_steps > 1:
        others = ", ".join(name for name in PROBLEMS if problem(name).inner_steps == 1)
        raise InputError(
            f"{finite.name} has {finite.inner_steps} inner steps, --gradient takes one inner "
            f"sample; choose one of {others}"
        )


def called(
    enumeration: Enumeration,
    gradient: Gradient,
    counts: Mapping[int, np.ndarray],
    repeats: Mapping[int, Repeats],
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """`Enumeration.estimates` of the samples [C, M] of every N; says before what it costs."""
    name = enumeration.finite.name
    calls = {size: some.size for size, some in counts.items()}  # samples times trajectories
    seconds = {size: repeats[size].seconds * calls[size] for size in counts}
    print(
        f"{gradient.name} on {name}: {sum(calls.values())} calls, "
        f"{1e3 * sum(seconds.values()) / sum(calls.values()):.2g} ms each, about "
        f"{sum(seconds.values()):.0f} s",
        file=sys.stderr,
        flush=True,
    )
    parts = [
        (size, part)
        for size, some in counts.items()
        for part in np.array_split(some, min(len(some), int(seconds[size] / PART) + 1))
    ]
    progress = Progress("part", [part.size * repeats[size].seconds for size, part in parts])
    collected: dict[int, list] = {size: [] for size in counts}
    for size, part in parts:
        collected[size].append(enumeration.estimates(gradient, part))
        progress.advance(f"{gradient.name} on {name}: N = {size}")
    for again in repeats.values():
        again.check()
    return {
        size: tuple(np.concatenate(x) for x in zip(*some, strict=True))
        for size, some in collected.items()
    }
