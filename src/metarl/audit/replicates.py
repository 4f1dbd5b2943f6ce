"""Bias and variance from replicates, where not every sample can be had: anyone's function on random
samples, and anyone's dumped gradients.

A replicate of a function is an inner sample X of N trajectories of a finite problem or of a random
Markov decision process. The reference is `leave_one_out` on the same sample with the exact V and
grad V, so that it has no bias and no noise but that of X, and

    bias = || E[g_hat - reference] ||,  variance = Var_X E[g_hat | X],
    outer_variance = E_X Var[g_hat | X] with one outer trajectory

The outer trajectories of a finite problem are enumerated; a process draws them from p_theta'.
Squares are estimated as in `metarl.audit.sampled`: without bias, with percentile intervals over
replicates.

A dump is a file (.npz) with `gradients` [R, P], R independent gradients of one setting, and
optionally `reference`: [P], the gradient that they should have as their mean, or [R, P], an
unbiased estimate of it on each of the same samples, re-simulated say.
"""

import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import softmax

from metarl.audit import sampled
from metarl.audit.black_box import KEYS, Enumeration, Gradient, require_one_step
from metarl.audit.memory import require_replicates
from metarl.audit.monte_carlo import MDP, random_mdp, sample
from metarl.audit.problems import problem
from metarl.audit.settings import LARGEST, MINIMUM_REPLICATES, ExactSettings
from metarl.audit.text import aligned, text
from metarl.errors import InputError, shortened
from metarl.progress import Progress
from metarl.randomness import generator
from metarl.results.statistics import percentile_interval
from metarl.settings import require_list
from metarl.storage import require_writable, write_parquet

OUTER_SAMPLE_SIZE = 32  # outer trajectories a replicate, where they are drawn; even
PARTS = 8  # lines of progress an N


class FiniteReplicates:
    """Random samples of a finite problem, whose outer trajectories are enumerated.

    Raises:
      InputError: `leave_one_out` is no reference there.
    """

    def __init__(self, name: str):
        self.name, self.finite = name, problem(name)
        require_one_step(self.finite)
        if self.finite.averaging == "steps":
            raise InputError(
                f"{name} takes a mean over steps, whose divisor is the sample's own: there is no "
                "unbiased reference; leave out --replicates"
            )
        self.enumeration = Enumeration(self.finite)
        self.parameters = self.finite.parameters
        self.inner_learning_rate = self.finite.inner_learning_rate
        self.calls = 2 * len(self.finite.rewards)

    def inner(self, sample_size: int, draw: np.random.Generator) -> dict[str, np.ndarray]:
        """N trajectories of p_theta."""
        chances = self.enumeration.probabilities(self.parameters)
        rows = draw.choice(len(chances), sample_size, p=chances / chances.sum())
        return self._batch(rows)

    def _batch(self, rows: Sequence[int]) -> dict[str, np.ndarray]:
        return {key: getattr(self.finite, key)[rows] for key in KEYS}

    def values(self, parameters: np.ndarray) -> np.ndarray:
        """V of logits [..., P]: [...]."""
        return self.enumeration.probabilities(parameters) @ self.finite.rewards.sum(axis=1)

    def value_gradient(self, parameters: np.ndarray) -> np.ndarray:
        """grad V at logits [P]."""
        finite = self.finite
        weights = self.enumeration.probabilities(parameters) * finite.rewards.sum(axis=1)
        return weights @ scores(parameters, self._batch(slice(None)))[0]

    def halves(
        self,
        gradient: Callable[[dict[str, np.ndarray]], np.ndarray],
        adapted: np.ndarray,
        draw: np.random.Generator,
    ) -> tuple[np.ndarray, float]:
        """E[g_hat | X] twice, [2, P], and Var[g_hat | X].

        From two calls each: their function may have noise of its own, which no half shares.
        """
        weights = self.enumeration.probabilities(adapted)
        called = np.array(
            [[gradient(self._batch([m])) for m in range(len(weights))] for _ in range(2)]
        )
        means = np.einsum("m,hmp->hp", weights, called)
        squares = np.square(called - means.mean(axis=0)).sum(axis=-1)
        return means, float(np.mean(squares @ weights))


class ProcessReplicates:
    """Random samples of a `random_mdp`, with outer trajectories drawn from theta'."""

    calls = OUTER_SAMPLE_SIZE

    def __init__(self, name: str, number: int):
        self.name, self.mdp = name, random_mdp(number)
        self.parameters = self.mdp.parameters
        self.inner_learning_rate = float(self.mdp.inner_learning_rate)

    def inner(self, sample_size: int, draw: np.random.Generator) -> dict[str, np.ndarray]:
        """N trajectories of p_theta; rewards are discounted."""
        return self._sampled(self.parameters, sample_size, draw)

    def _sampled(
        self, parameters: np.ndarray, count: int, draw: np.random.Generator
    ) -> dict[str, np.ndarray]:
        states_count, actions_count = self.mdp.rewards.shape
        uniforms = draw.uniform(size=(1, count, len(self.mdp.discounts), 2))
        (states,), (actions,) = sample(self.mdp, parameters[None], uniforms)
        return {
            "observations": np.eye(states_count)[states],
            "actions": np.eye(actions_count)[actions],
            "rewards": self.mdp.discounts * self.mdp.rewards[states, actions],
            "mask": np.ones(states.shape),
        }

    def values(self, parameters: np.ndarray) -> np.ndarray:
        """V of logits [..., P]: [...]."""
        return backward(self.mdp, parameters)[0][..., 0]

    def value_gradient(self, parameters: np.ndarray) -> np.ndarray:
        """grad V at logits [P], by the policy gradient theorem."""
        _, advantages = backward(self.mdp, parameters)
        policy = softmax(parameters.reshape(self.mdp.rewards.shape), axis=-1)
        visits, total = np.eye(len(policy))[0], np.zeros_like(policy)
        for advantage in advantages:
            visited = visits[:, None] * policy
            total += visited * advantage
            visits = np.einsum("sa,sax->x", visited, self.mdp.transitions)
        return total.ravel()

    def halves(
        self,
        gradient: Callable[[dict[str, np.ndarray]], np.ndarray],
        adapted: np.ndarray,
        draw: np.random.Generator,
    ) -> tuple[np.ndarray, float]:
        """Two independent estimates of E[g_hat | X], [2, P], and one of Var[g_hat | X]."""
        outer = self._sampled(adapted, OUTER_SAMPLE_SIZE, draw)
        called = np.array(
            [
                gradient({key: array[[row]] for key, array in outer.items()})
                for row in range(OUTER_SAMPLE_SIZE)
            ]
        )
        halves = called.reshape(2, -1, called.shape[1]).mean(axis=1)
        return halves, called.var(axis=0, ddof=1).sum()


def backward(mdp: MDP, parameters: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """V of every state at the first step, [..., S], and every step's Q - V, T times [..., S, A]."""
    policy = softmax(parameters.reshape(*parameters.shape[:-1], *mdp.rewards.shape), axis=-1)
    values, advantages = np.zeros(policy.shape[:-1]), []
    for discount in mdp.discounts[::-1]:
        following = np.einsum("sax,...x->...sa", mdp.transitions, values)
        action_values = discount * mdp.rewards + following
        values = np.sum(policy * action_values, axis=-1)
        advantages.append(action_values - values[..., None])
    return values, advantages[::-1]


def scores(
    parameters: np.ndarray, batch: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """s_i and f_i, [N, P] each, and sum_it A_it of every state, [S], for logits [P]."""
    observations, mask = batch["observations"], batch["mask"]
    policy = softmax(parameters.reshape(observations.shape[-1], -1), axis=-1)
    steps = mask[..., None] * (batch["actions"] - observations @ policy)
    to_go = mask * np.cumsum(batch["rewards"][:, ::-1], axis=1)[:, ::-1]
    sums, weighted = (
        np.einsum("nt,nts,nta->nsa", weight, observations, steps).reshape(len(mask), -1)
        for weight in (mask, to_go)
    )
    return sums, weighted, np.einsum("nt,nts->s", to_go, observations)


def reference(
    source: FiniteReplicates | ProcessReplicates, batch: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """theta' [P], and `leave_one_out`'s g_hat [P] with the exact V and v = grad V."""
    theta = source.parameters
    constant = source.inner_learning_rate / len(batch["mask"])
    sums, gradients, weights = scores(theta, batch)
    adapted = theta + constant * gradients.sum(axis=0)
    v = source.value_gradient(adapted)
    policy = softmax(theta.reshape(len(weights), -1), axis=-1)
    table = v.reshape(policy.shape)
    # the Hessian of log pi at a state is -(diag(pi) - pi pi^T)
    bent = -policy * (table - np.sum(policy * table, axis=-1, keepdims=True))
    differences = source.values(adapted) - source.values(adapted - constant * gradients)
    jacobian = constant * (weights[:, None] * bent).ravel()
    return adapted, v + jacobian + differences @ sums


def replicate(
    source: FiniteReplicates | ProcessReplicates,
    gradient: Gradient,
    sample_size: int,
    draw: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, float]:
    """One inner sample: their halves [2, P], the reference [P] and Var[g_hat | X]."""
    batch = source.inner(sample_size, draw)
    adapted, exact = reference(source, batch)

    def at(outer: dict[str, np.ndarray]) -> np.ndarray:
        copies = {key: array.copy() for key, array in batch.items()}
        return gradient(source.parameters, copies, outer, source.inner_learning_rate)

    halves, outer_variance = source.halves(at, adapted, draw)
    return halves, exact, outer_variance


def measures(
    halves: np.ndarray, references: np.ndarray | None, counts: np.ndarray
) -> dict[str, np.ndarray]:
    """Every measure in every draw of replicates.

    Args:
      halves: g_hat [2, R, P], independent of each other given the inner sample.
      references: [R, P] on the same samples; None where there is none.
      counts: [B, R], see `metarl.results.statistics.resampled_counts`.

    Returns:
      [B] for each of variance and, with references, bias, relative_bias, gradient_norm and cosine.
    """
    center = halves.mean(axis=0)
    variance = sampled.resampled_mean(np.sum(np.prod(halves, axis=0), axis=1), counts)
    variance = variance - sampled.product_of_means(*halves, counts)
    if references is None:
        return {"variance": variance}

    def inner_product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return sampled.product_of_means(first, second, counts)

    bias = sampled.root(inner_product(center - references, center - references))
    norm = sampled.root(inner_product(references, references))
    length = sampled.root(inner_product(center, center))
    return {
        "bias": bias,
        "relative_bias": sampled.over(bias, norm),
        "variance": variance,
        "gradient_norm": norm,
        "cosine": sampled.over(inner_product(center, references), length * norm),
    }


def with_intervals(draws: Mapping[str, np.ndarray], confidence: float) -> dict[str, float]:
    """Every measure, its estimate, and the ends _low and _high of its interval."""
    row = {}
    for name, values in draws.items():
        low, high = percentile_interval(values[1:], confidence)
        row |= {name: float(values[0]), f"{name}_low": low, f"{name}_high": high}
    return row


def audit(settings: ExactSettings, output: Path) -> None:
    """Audits gradient functions on random samples and writes a tidy parquet.

    Args:
      settings: problem (or `random_mdp_1`, `random_mdp_2`, ...), gradient functions, sample sizes,
        replicates R at each N and the seed of the samples.
      output: parquet file with columns problem, estimator, sample_size, replicates, and bias,
        relative_bias, variance, gradient_norm, cosine and outer_variance with their intervals.

    Raises:
      InputError: an unknown problem, or anything that a function does wrong; nothing is written.
    """
    require_writable(output)
    require_replicates(settings)
    (name,) = settings.problem
    number = re.fullmatch(r"random_mdp_([0-9]+)", name)
    source = ProcessReplicates(name, int(number[1])) if number else FiniteReplicates(name)
    theirs = [Gradient(given) for given in settings.gradient]
    rows = [
        row
        for gradient in theirs
        for row in audited(
            source,
            gradient,
            settings.sample_sizes,
            settings.replicates,
            settings.seed,
            settings.confidence,
        )
    ]
    table = pd.DataFrame(rows)
    write_parquet(table, output)
    print(text(table))


def audited(
    source: FiniteReplicates | ProcessReplicates,
    gradient: Gradient,
    sample_sizes: Sequence[int],
    replicates: int,
    seed: int,
    confidence: float,
) -> list[dict]:
    """The rows of one function, an N each; says before what they cost."""
    ordered = sorted(sample_sizes)
    started = [time.monotonic()]
    for size in ordered:  # the first call may compile
        for _ in range(2):
            replicate(source, gradient, size, generator(seed, "cost"))
            started.append(time.monotonic())
    seconds = np.diff(started)[1::2]
    print(
        f"{gradient.name} on {source.name}: {replicates * source.calls * len(ordered)} calls, "
        f"{1e3 * seconds.mean() / source.calls:.2g} ms each, about "
        f"{replicates * seconds.sum():.0f} s",
        file=sys.stderr,
        flush=True,
    )
    parts = np.array_split(np.arange(replicates), min(replicates, PARTS))
    costs = [len(part) * cost for cost in seconds for part in parts]
    progress = Progress("part", costs)
    rows = []
    for size in ordered:
        collected = []
        for part in parts:
            for r in part:  # a replicate's draws depend on seed, problem, N and its number alone
                draw = generator(seed, "replicates", source.name, size, int(r))
                collected.append(replicate(source, gradient, size, draw))
            progress.advance(f"{gradient.name} on {source.name}: N = {size}")
        halves, references, outer = (np.array(x) for x in zip(*collected, strict=True))
        counts = sampled.replicate_counts(generator(seed, "bootstrap", size), replicates)
        draws = measures(np.swapaxes(halves, 0, 1), references, counts)
        draws["outer_variance"] = sampled.resampled_mean(outer, counts)
        keys = {"problem": source.name, "estimator": gradient.name, "sample_size": size}
        intervals = with_intervals(draws, confidence)
        rows.append(keys | {"replicates": replicates} | intervals)
    return rows


def audit_dumps(paths: Sequence[Path], confidence: float) -> None:
    """Prints a line a dump: the variance, and bias and cosine where it has a reference.

    Args:
      paths: of the dumps.
      confidence: of the intervals.

    Raises:
      InputError: a file that is no such dump; nothing is printed.
    """
    require_list("dump", paths)
    rows = []
    for path, (gradients, expected) in zip(paths, map(read_dump, paths), strict=True):
        counts = sampled.replicate_counts(generator(0, "dumped replicates"), len(gradients))
        references = None if expected is None else np.broadcast_to(expected, gradients.shape)
        draws = measures(np.stack([gradients, gradients]), references, counts)
        row = {"file": str(path), "replicates": len(gradients)}
        rows.append(row | with_intervals(draws, confidence))
    print("\n".join(aligned(pd.DataFrame(rows))))


def read_dump(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """`gradients` [R, P] and `reference` [P], [R, P] or None, float64.

    Raises:
      InputError: it cannot be read, or its arrays are not these.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file}
    except Exception as error:  # on damaged bytes zipfile and NumPy raise almost anything
        said = shortened(str(error))
        raise InputError(f"{path} cannot be read ({said}); give an .npz of `gradients`") from error
    unknown = sorted(set(arrays) - {"gradients", "reference"})
    if unknown or "gradients" not in arrays:
        raise InputError(
            f"{path} has {', '.join(arrays) or 'no arrays'}; give gradients [R, P] and, if there "
            "is one, reference [P] or [R, P]"
        )
    gradients, expected = arrays["gradients"], arrays.get("reference")
    least = MINIMUM_REPLICATES
    if gradients.ndim != 2 or len(gradients) < least or not gradients.shape[1]:
        raise InputError(
            f"{path}: gradients is {list(gradients.shape)}; give [R, P] with R >= {least}"
        )
    if expected is not None and expected.shape not in (gradients.shape[1:], gradients.shape):
        size = gradients.shape[1]
        raise InputError(
            f"{path}: reference is {list(expected.shape)}; give [P] = [{size}], or [R, P] on the"
            " same samples"
        )
    for key, array in arrays.items():
        if array.dtype.kind != "f" or not np.abs(array).max() <= LARGEST:
            raise InputError(
                f"{path}: {key} is {array.dtype}, or has a NaN, an infinity or a number above "
                f"{LARGEST:g}; give finite floating-point numbers"
            )
    return gradients.astype(float), None if expected is None else expected.astype(float)
