"""The meta-gradients that estimators give on a bundle's data, by the code that training runs.

Estimators with the same losses share inner chain and v, and a call into TensorFlow costs more than
the arithmetic of a small bundle. So E estimators on V bundles are one computation on copies of the
tasks: the task axis is [E * V * K].
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import tensorflow as tf

from metarl.estimators import Estimator, InnerStep, meta_gradient
from metarl.estimators.algebra import inner_chain
from metarl.identify.bundle import Bundle
from metarl.objectives import kl_gradient
from metarl.outer_values import Loss, Sampled
from metarl.policies import Policy
from metarl.progress import Progress
from metarl.settings import InnerSettings
from metarl.trajectories import Trajectories, step_weights

LEFT_OUT = ("leave_one_out", "lsf2")
"""Entries that need V near theta' for every trajectory: slow, out of reach of dumped scores."""

ALONE = (*LEFT_OUT, "unbiased_baseline")
"""Entries to compute on one bundle at a time: the last one's tasks see each other."""

MOST_STEPS = 300_000
"""Environment steps, copies included, of one computation: bounds memory to a few GB."""

LARGE = 20_000
"""Environment steps of a bundle from which on progress is printed."""


def reference_gradients(bundle: Bundle, entries: Sequence[Estimator]) -> dict[str, np.ndarray]:
    """The meta-gradient [P] of every entry on the bundle's data, in float64.

    Entries that the bundle lacks data for are left out.
    """
    if bundle.outer_gradient is not None:
        entries = [entry for entry in entries if entry.name not in LEFT_OUT]
    gradients = {name: rows[0] for name, rows in gradients_of_all([bundle], entries).items()}
    return {name: gradient for name, gradient in gradients.items() if np.isfinite(gradient).all()}


def gradients_of_all(
    bundles: Sequence[Bundle], entries: Sequence[Estimator]
) -> dict[str, np.ndarray]:
    """The meta-gradients [V, P] of every entry on V bundles, which differ in their numbers alone.

    With several bundles none of ALONE. Prints progress where there are many steps.
    """
    steps = step_count(bundles[0])
    many = max(1, MOST_STEPS // steps)
    parts = [bundles[start : start + many] for start in range(0, len(bundles), many)]
    split = groups(entries, max(1, many // len(parts[0])))
    jobs = [(group, part) for group in split for part in parts]
    costs = [steps * len(group) * len(part) for group, part in jobs]
    progress, told = Progress("part", costs), steps >= LARGE or len(parts) > 1
    gradients = {}
    for group, part in jobs:
        for entry, rows in zip(group, _compute(part, group), strict=True):
            gradients.setdefault(entry.name, []).append(rows)
        if told and len(jobs) > 1:
            progress.advance("references")
    return {entry.name: np.concatenate(gradients[entry.name]) for entry in entries}


def step_count(bundle: Bundle) -> int:
    """Of all batches, padding included."""
    return sum(step["mask"].size for step in bundle.steps)


def groups(entries: Sequence[Estimator], most: int) -> list[list[Estimator]]:
    """Estimators that may be computed together, at most `most` at a time."""

    def kind(entry: Estimator) -> tuple:
        alone = entry.name if entry.name in ALONE else None
        return entry.inner_loss, entry.outer_loss, entry.inner_jacobian, alone

    by_kind = {}
    for entry in entries:
        by_kind.setdefault(kind(entry), []).append(entry)
    return [
        group[start : start + most]
        for group in by_kind.values()
        for start in range(0, len(group), most)
    ]


def _compute(bundles: Sequence[Bundle], group: Sequence[Estimator]) -> np.ndarray:
    """[E, V, P] for estimators of one kind."""
    first, copies = bundles[0], len(group)
    policy, settings, tasks = first.policy, first.settings, len(first.steps[0]["mask"])
    composite = stacked(group)

    def per_task(name: str) -> tf.Tensor:
        return tf.constant(np.repeat([getattr(bundle, name) for bundle in bundles], tasks, axis=0))

    steps = [
        {
            name: tf.constant(np.concatenate([bundle.steps[s][name] for bundle in bundles]))
            for name in first.steps[s]
        }
        for s in range(len(first.steps))
    ]
    batches = _batches(policy, composite, per_task("parameters"), steps, settings)

    class Dumped(Sampled):
        """With the bundles' own v or entropy bonus, where they have one."""

        def gradient(self, loss: Loss) -> tf.Tensor:
            if first.outer_gradient is not None:
                given = np.concatenate([bundle.outer_gradient for bundle in bundles])
                return tf.constant(np.tile(given, (copies, 1)))
            direction = super().gradient(loss)
            if first.entropy_coefficient:
                entropy = entropy_gradient(policy, self.parameters, self.batch)
                direction += first.entropy_coefficient * entropy
            return direction

    def inner_penalty(number: int, parameters: tf.Tensor, inner: Trajectories) -> tf.Tensor:
        # the code takes the mean over inner steps
        return first.kl_coefficient / (len(steps) - 1) * kl_gradient(policy, parameters, inner)

    def copied(x: tf.Tensor) -> tf.Tensor:
        return tf.tile(x, [copies, *[1] * (len(x.shape) - 1)])

    *inner_batches, outer_batch = (_by_task(batch, copied) for batch in batches)
    gradients = meta_gradient(
        policy,
        composite,
        copied(per_task("evaluation_parameters")),
        inner_batches,
        settings,
        partial(Dumped, policy, outer_batch, settings.averaging, first.clip),
        inner_penalty=inner_penalty if first.kl_coefficient else None,
    )
    gradients = gradients.numpy().reshape(copies, len(bundles), tasks, -1)
    if first.inner_jacobian_vector is not None and group[0].inner_jacobian:
        gradients += np.stack([bundle.inner_jacobian_vector for bundle in bundles])
    return gradients.mean(axis=2)[..., : len(first.gradient)]


def stacked(group: Sequence[Estimator]) -> Estimator:
    """One estimator whose weights are the group's, each on its part of the task axis."""
    if len(group) == 1:
        return group[0]

    def weights(step: InnerStep) -> tf.Tensor:
        shape = step.batch.mask.shape
        owner = tf.repeat(tf.range(len(group)), shape[0] // len(group))[:, None, None]
        total = tf.zeros(shape, tf.float64)
        for number, entry in enumerate(group):
            total = tf.where(owner == number, entry.weights(step), total)
        return total

    return group[0]._replace(weights=weights)


def entropy_gradient(policy: Policy, parameters: tf.Tensor, batch: Trajectories) -> tf.Tensor:
    """The gradient of the policy's mean entropy in the batch's states: [K, P]."""
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        entropies = policy.distribution(policy.outputs(parameters, batch.observations)).entropy()
        mean = tf.reduce_sum(step_weights(batch, "steps") * entropies)
    return tape.gradient(mean, parameters)


def _batches(
    policy: Policy,
    entry: Estimator,
    acting: tf.Tensor,
    steps: Sequence[dict[str, tf.Tensor]],
    settings: InnerSettings,
) -> list[Trajectories]:
    """The steps as trajectories; who acted, where not given, is the adaptation chain's policy."""
    batches = [_batch(step) for step in steps]
    for number, step in enumerate(steps):
        if "mean" in step:
            behaviour = step["mean"], step["log_std"]
        else:
            chain, _ = inner_chain(policy, entry, acting, batches[:number], settings)
            behaviour = policy.outputs(chain[-1], batches[number].observations)
        batches[number] = batches[number]._replace(behaviour=behaviour)
    return batches


def _batch(step: dict[str, tf.Tensor]) -> Trajectories:
    """A step's arrays as trajectories of equal weight, whose behaviour is still to be filled in."""
    names = ("observations", "actions", "advantages", "rewards", "score_rewards", "mask")
    tasks, rows, _ = step["mask"].shape
    return Trajectories(
        *(step[name] for name in names),
        behaviour=(),
        weights=tf.fill([tasks, rows], tf.constant(1.0 / rows, tf.float64)),
        sample_size=tf.constant(float(rows), tf.float64),
    )


def _by_task(batch: Trajectories, change: Callable[[tf.Tensor], tf.Tensor]) -> Trajectories:
    """The batch with every tensor that has a task axis changed."""
    changed = tf.nest.map_structure(change, batch._replace(sample_size=()))
    return changed._replace(sample_size=batch.sample_size)
