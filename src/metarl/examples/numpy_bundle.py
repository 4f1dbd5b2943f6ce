"""Dumps a meta-gradient from a code base that knows nothing of metarl: MAML in plain NumPy.

    python -m metarl.examples.numpy_bundle bundle.npz && metarl identify bundle.npz

The gradient of the outer objective through the inner update is taken by complex steps, which are
exact to rounding. Yours comes from your own code; what to copy is `bundle`.
"""

import sys

import numpy as np

OBSERVATION, HIDDEN, ACTION = 3, 5, 2
TASKS, TRAJECTORIES, HORIZON = 4, 6, 8
INNER_LEARNING_RATE = 0.1
ENDS = np.cumsum([OBSERVATION * HIDDEN, HIDDEN, HIDDEN * ACTION, ACTION, ACTION])


def forward(theta, observations):
    """Hidden units, mean and log standard deviation of a Gaussian policy with one tanh layer."""
    kernel_1, bias_1, kernel_2, bias_2, log_std = np.split(theta, ENDS[:-1])
    hidden = np.tanh(observations @ kernel_1.reshape(OBSERVATION, HIDDEN) + bias_1)
    return hidden, hidden @ kernel_2.reshape(HIDDEN, ACTION) + bias_2, log_std


def log_prob(theta, observations, actions):
    """log pi(a | s), up to a constant."""
    _, mean, log_std = forward(theta, observations)
    return np.sum(-0.5 * ((actions - mean) / np.exp(log_std)) ** 2 - log_std, axis=-1)


def policy_gradient(theta, data):
    """The gradient of mean(A log pi) over all steps, by hand."""
    observations, actions = (
        data[key].reshape(-1, data[key].shape[-1]) for key in ("observations", "actions")
    )
    hidden, mean, log_std = forward(theta, observations)
    weights = data["advantages"].reshape(-1, 1) / len(observations)
    errors = (actions - mean) / np.exp(log_std) ** 2
    into_mean = weights * errors
    kernel_2 = theta[ENDS[1] : ENDS[2]].reshape(HIDDEN, ACTION)
    into_hidden = into_mean @ kernel_2.T * (1.0 - hidden**2)
    parts = (
        observations.T @ into_hidden,
        into_hidden.sum(axis=0),
        hidden.T @ into_mean,
        into_mean.sum(axis=0),
        (weights * (errors * (actions - mean) - 1.0)).sum(axis=0),
    )
    return np.concatenate([part.ravel() for part in parts])


def loss(theta, before, after):
    """Minus the mean over tasks of mean(A log pi) after one inner step on `before`."""
    total = 0.0
    for pre_update, post_update in zip(before, after, strict=True):
        adapted = theta + INNER_LEARNING_RATE * policy_gradient(theta, pre_update)
        log_probs = log_prob(adapted, post_update["observations"], post_update["actions"])
        total -= np.mean(post_update["advantages"] * log_probs)
    return total / len(before)


def gradient(function, theta):
    """By complex steps: Im f(theta + i h) is h f'(theta), without cancellation."""
    step = 1e-30
    axes = np.eye(len(theta))
    return np.array([function(theta + 1j * step * axis).imag / step for axis in axes])


def sample(generator):
    """Random data of one task and one step; yours comes from an environment."""
    shape = (TRAJECTORIES, HORIZON)
    rewards = generator.normal(size=shape)
    return {
        "observations": generator.normal(size=(*shape, OBSERVATION)),
        "actions": generator.normal(size=(*shape, ACTION)),
        "rewards": rewards,
        "advantages": np.cumsum(rewards[:, ::-1], axis=1)[:, ::-1],
    }


def bundle():
    """The gradient, and the data that it was computed from."""
    generator = np.random.default_rng(0)
    theta = 0.3 * generator.normal(size=ENDS[-1])
    steps = [[sample(generator) for _ in range(TASKS)] for _ in range(2)]
    arrays = {
        f"step{number}/{key}": np.stack([task[key] for task in tasks])
        for number, tasks in enumerate(steps)
        for key in ("observations", "actions", "rewards", "advantages")
    }
    return arrays | {
        "hidden_sizes": np.array([HIDDEN]),
        "inner_learning_rate": np.array(INNER_LEARNING_RATE),
        "parameters": theta,
        "gradient": gradient(lambda at: loss(at, *steps), theta),
        "sign": np.array("descent"),
    }


if __name__ == "__main__":
    np.savez(sys.argv[1] if len(sys.argv) > 1 else "bundle.npz", **bundle())
