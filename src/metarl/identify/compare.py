"""Which estimator does a gradient come from? Compares a meta-gradient dumped from any code base with every entry.

The references are computed in float64 by the code that training and the audits run.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from metarl.estimators import CATALOGUE, Estimator, meta_gradient
from metarl.estimators.algebra import inner_chain
from metarl.identify.bundle import Bundle
from metarl.objectives import clipped_gradient, kl_gradient
from metarl.trajectories import Trajectories

FLOAT32_TOLERANCE = 1e-4
"""The least tolerance of a float32 bundle: summing thousands of float32 steps loses up to about 1e-5 of a gradient."""


def compare(path: Path, bundle: Bundle, tolerance: float) -> dict:
    """How far a bundle's gradient is from every entry of the catalogue, and which entries it matches.

    Args:
      path: of the bundle.
      bundle: what was read from it.
      tolerance: the largest relative difference of a match; a float32 bundle gets at least FLOAT32_TOLERANCE.

    Returns:
      file, dtype, tolerance (the one used), matches (names, nearest first; several where they agree on this data)
      and differences (by name, nearest first): max |g - reference| / max |reference|.
    """
    if bundle.dtype == "float32":
        tolerance = max(tolerance, FLOAT32_TOLERANCE)
    found = {
        name: relative_difference(bundle.gradient, reference_gradient(bundle, entry))
        for name, entry in CATALOGUE.items()
    }
    # rounded, so that entries that agree stand in the catalogue's order
    differences = dict(sorted(found.items(), key=lambda item: float(f"{max(item[1], 1e-12):.6e}")))
    return {
        "file": str(path),
        "dtype": bundle.dtype,
        "tolerance": tolerance,
        "matches": [name for name, value in differences.items() if value <= tolerance],
        "differences": differences,
    }


def relative_difference(gradient: np.ndarray, reference: np.ndarray) -> float:
    """max |g - reference| / max |reference|; infinite for a reference that is zero or not finite."""
    scale = np.abs(reference).max()
    if not np.isfinite(scale) or scale == 0:
        return math.inf
    return float(np.abs(gradient - reference).max() / scale)


def reference_gradient(bundle: Bundle, entry: Estimator) -> np.ndarray:
    """The meta-gradient [P] that the entry gives on the bundle's data."""
    policy, settings = bundle.policy, bundle.settings
    tasks = len(bundle.steps[0]["mask"])
    batches = [batch(step) for step in bundle.steps]
    acting = tf.repeat(tf.constant(bundle.parameters)[None], tasks, axis=0)
    for number, step in enumerate(bundle.steps):
        if "mean" in step:
            behaviour = (tf.constant(step["mean"]), tf.constant(step["log_std"]))
        else:
            chain, _ = inner_chain(policy, entry, acting, batches[:number], settings)
            behaviour = policy.outputs(chain[-1], batches[number].observations)
        batches[number] = batches[number]._replace(behaviour=behaviour)

    def outer_gradient(parameters: tf.Tensor, outer: Trajectories) -> tf.Tensor:
        return clipped_gradient(policy, parameters, outer, settings.averaging, bundle.clip)

    def inner_penalty(number: int, parameters: tf.Tensor, inner: Trajectories) -> tf.Tensor:
        share = bundle.kl_coefficient / (
            len(batches) - 1
        )  # the code takes the mean over inner steps
        return share * kl_gradient(policy, parameters, inner)

    per_task = meta_gradient(
        policy,
        entry,
        tf.repeat(tf.constant(bundle.evaluation_parameters)[None], tasks, axis=0),
        batches,
        settings,
        outer_gradient,
        inner_penalty=inner_penalty if bundle.kl_coefficient else None,
    )
    return per_task.numpy().mean(axis=0)


def batch(step: Mapping[str, np.ndarray]) -> Trajectories:
    """A step's arrays as trajectories of equal weight, whose behaviour is still to be filled in."""
    names = ("observations", "actions", "advantages", "rewards", "score_rewards", "mask")
    tasks, rows, _ = step["mask"].shape
    return Trajectories(
        *(tf.constant(step[name]) for name in names),
        behaviour=(),
        weights=tf.fill([tasks, rows], tf.constant(1.0 / rows, tf.float64)),
        sample_size=tf.constant(float(rows), tf.float64),
    )
