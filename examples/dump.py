"""Dumps a gradient with the scores it was computed from, so that `metarl identify` can name it.

    cd examples
    python dump.py with_numpy:dice dice.npz && metarl identify dice.npz

Any function of this folder's signature will do; it is called with random data. Scores say nothing
of the policy's architecture, so yours may be any: what to copy is `bundle`.
"""

import importlib
import sys

import numpy as np

TASKS, TRAJECTORIES, HORIZON, STATES, ACTIONS = 4, 6, 3, 2, 3
INNER_LEARNING_RATE = 0.5


def sample(draw, count):
    """Random data of one task; yours comes from an environment."""
    shape = (count, HORIZON)
    return {
        "observations": np.eye(STATES)[draw.integers(STATES, size=shape)],
        "actions": np.eye(ACTIONS)[draw.integers(ACTIONS, size=shape)],
        "rewards": draw.normal(size=shape),
        "mask": np.ones(shape),
    }


def probabilities(theta):
    table = theta.reshape(STATES, ACTIONS)
    return np.exp(table) / np.exp(table).sum(axis=1, keepdims=True)


def scores(theta, batch):
    """grad log pi(a | s) of every step, [N, T, P]."""
    errors = batch["actions"] - batch["observations"] @ probabilities(theta)
    products = np.einsum("nts,nta->ntsa", batch["observations"], errors)
    return products.reshape(*errors.shape[:2], -1)


def task_arrays(theta, inner, outer):
    """What a bundle of scores holds of one task."""
    before = scores(theta, inner)
    advantages, later = (np.cumsum(x["rewards"][:, ::-1], 1)[:, ::-1] for x in (inner, outer))
    step = np.einsum("nt,ntp->p", advantages, before) / TRAJECTORIES
    adapted = theta + INNER_LEARNING_RATE * step
    v = np.einsum("nt,ntp->p", later, scores(adapted, outer))
    # (grad f_i)^T v: the Hessian of log pi in a state is -(diag(pi) - pi pi^T)
    pi, table = probabilities(theta), v.reshape(STATES, ACTIONS)
    bent = -pi * (table - (pi * table).sum(axis=1, keepdims=True))
    weights = np.einsum("nt,nts->s", advantages, inner["observations"]) / TRAJECTORIES
    return {
        "step0/scores": before,
        "step0/advantages": advantages,
        "step0/rewards": inner["rewards"],
        "step1/rewards": outer["rewards"],
        "outer_gradient": v,
        "inner_jacobian_vector": INNER_LEARNING_RATE * (weights[:, None] * bent).ravel(),
    }


def bundle(gradient):
    """The mean over tasks of a gradient function, and what it was computed from."""
    draw = np.random.default_rng(0)
    theta = draw.normal(size=STATES * ACTIONS)
    tasks = [(sample(draw, TRAJECTORIES), sample(draw, 1)) for _ in range(TASKS)]
    arrays = [task_arrays(theta, *task) for task in tasks]
    return {key: np.stack([its[key] for its in arrays]) for key in arrays[0]} | {
        "gradient": np.mean([gradient(theta, *its, INNER_LEARNING_RATE) for its in tasks], axis=0),
        "inner_learning_rate": np.array(INNER_LEARNING_RATE),
        "averaging": np.array("trajectories"),
        "sign": np.array("ascent"),
    }


if __name__ == "__main__":
    module, function = sys.argv[1].split(":")
    np.savez(sys.argv[2], **bundle(getattr(importlib.import_module(module), function)))
