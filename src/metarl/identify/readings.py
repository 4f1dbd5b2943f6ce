"""What a bundle leaves open, and the ways to read it.

The first reading is the README's. The others are tried where nothing matches under it: an exact
match of P numbers under another one is no accident.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from metarl.estimators import CATALOGUE, Estimator
from metarl.identify.bundle import Bundle
from metarl.identify.fit import fit_numbers, relative_difference
from metarl.identify.references import ALONE, gradients_of_all
from metarl.policies import GaussianMLPPolicy, StateStdGaussianMLPPolicy

LOG_STDS = (0.0, -1.0, -0.5, 0.5, 1.0, -1.5, -2.0)
"""Where the search for a fixed std that the bundle does not give starts from."""


class Reading(NamedTuple):
    """A bundle, and how it was read where that is not the README's way."""

    bundle: Bundle
    how: str = ""


def readings(bundle: Bundle) -> Iterator[Reading]:
    """The bundle as the README says, then in other ways."""
    yield Reading(bundle)
    if bundle.inner_jacobian_vector is not None:
        eta, v = bundle.settings.learning_rate, bundle.outer_gradient
        vector = bundle.inner_jacobian_vector
        yield Reading(
            bundle._replace(inner_jacobian_vector=vector - v),
            "inner_jacobian_vector as v + eta mean_i[(grad f_i)^T v]",
        )
        yield Reading(
            bundle._replace(inner_jacobian_vector=eta * vector),
            "inner_jacobian_vector as mean_i[(grad f_i)^T v], without eta",
        )
    if isinstance(bundle.policy, StateStdGaussianMLPPolicy):
        order = two_heads(bundle.policy)
        yield Reading(
            bundle._replace(
                parameters=bundle.parameters[order],
                evaluation_parameters=bundle.evaluation_parameters[order],
                gradient=bundle.gradient[order],
            ),
            "the last layer as kernel and bias of the mean, then those of the log std",
        )
    if not bundle.std_given:
        yield from fitted_stds(bundle)


def two_heads(policy: StateStdGaussianMLPPolicy) -> np.ndarray:
    """Where the parameters [P] stand if mean and log std are layers of their own, one by one."""
    kernel, bias = policy.shapes[-2:]
    width, size = kernel[0], policy.action_size
    start = policy.parameter_size - kernel[0] * kernel[1] - bias[0]
    head = np.arange(start, policy.parameter_size).reshape(2, -1)
    kernels = head[:, : width * size].reshape(2, width, size)
    biases = head[:, width * size :]
    return np.concatenate(
        [np.arange(start), np.concatenate(kernels, axis=1).ravel(), biases.ravel()]
    )


def fitted_stds(bundle: Bundle) -> Iterator[Reading]:
    """A std that is no parameter and not given: constant, or adapted but left out of the dump."""
    size = bundle.policy.action_size
    learned = GaussianMLPPolicy(
        bundle.policy.observation_size, size, bundle.policy.hidden_sizes, bundle.policy.activation
    )
    entries = [entry for name, entry in CATALOGUE.items() if name not in ALONE]
    for policy, kind in (
        (bundle.policy, "fixed"),
        (learned, "adapted in the inner loop, left out of parameters and gradient"),
    ):

        def at(log_std: np.ndarray, policy: GaussianMLPPolicy = policy) -> Bundle:
            return bundle._replace(
                policy=policy,
                parameters=np.concatenate([bundle.parameters[:-size], log_std]),
                evaluation_parameters=np.concatenate(
                    [bundle.evaluation_parameters[:-size], log_std]
                ),
            )

        starts = [np.full(size, value) for value in LOG_STDS]
        for entry, start in _nearest(bundle.gradient, list(map(at, starts)), starts, entries):
            log_std = fit_numbers(at, entry, start, any_scale=False)
            values = ", ".join(f"{value:.6g}" for value in log_std)
            yield Reading(at(log_std), f"log std [{values}], which fits {entry.name} best, {kind}")


def _nearest(
    gradient: np.ndarray, bundles: list[Bundle], starts: list[np.ndarray], entries: list[Estimator]
) -> list[tuple[Estimator, np.ndarray]]:
    """The two entries that come nearest to the gradient on one of the bundles, and on which."""
    references = gradients_of_all(bundles, entries)
    nearest = []
    for entry in entries:
        differences = [relative_difference(gradient, row) for row in references[entry.name]]
        best = int(np.argmin(differences))
        nearest.append((differences[best], entry, starts[best]))
    nearest.sort(key=lambda row: row[0])
    return [(entry, start) for _, entry, start in nearest[:2]]
