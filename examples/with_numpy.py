"""Meta-gradients of a tabular softmax in plain NumPy: maml, lvc and dice through one inner step.

    cd examples
    metarl audit exact --gradient with_numpy:maml with_numpy:lvc with_numpy:dice --problem chain \\
      --sample-sizes 4 8 16 --output numpy.parquet

The three differ in the inner loss alone: log-likelihood (Finn et al. 2017 as coded), likelihood
ratio (Rothfuss et al. 2019) and magic box (Foerster et al. 2018). The outer gradient goes through
the inner update by complex steps: the imaginary part of f(theta + i h) is h f'(theta), exact to
rounding. "Stopped" parameters keep their real value.
"""

import numpy as np

STEP = 1e-30


def log_policy(parameters, batch):
    """log pi(a | s) of every step [N, T], and its gradient, the score, [N, T, S, A]."""
    observations, actions = batch["observations"], batch["actions"]
    logits = observations @ parameters.reshape(observations.shape[-1], -1)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    log_probs = batch["mask"] * np.log(np.sum(actions * probabilities, axis=-1))
    errors = batch["mask"][..., None] * (actions - probabilities)
    return log_probs, observations[..., :, None] * errors[..., None, :]


def to_go(x):
    """Sums over this step and all later ones, [N, T]."""
    return np.cumsum(x[:, ::-1], axis=1)[:, ::-1]


def log_likelihood(log_probs, stopped, rewards):
    """What multiplies the score of each step in the gradient of mean_i sum_t A_it log pi."""
    return to_go(rewards)


def likelihood_ratio(log_probs, stopped, rewards):
    """The same of mean_i sum_t A_it pi / stop(pi)."""
    return np.exp(log_probs - stopped) * to_go(rewards)


def magic_box(log_probs, stopped, rewards):
    """The same of mean_i sum_t r_it exp(tau_it - stop(tau_it)), tau_it = sum_{t' <= t} log pi."""
    return to_go(np.exp(np.cumsum(log_probs - stopped, axis=1)) * rewards)


def meta_gradient(weights, parameters, inner, outer, inner_learning_rate):
    """The gradient of the outer surrogate at theta' = theta + eta grad(inner objective)."""
    stopped, _ = log_policy(parameters, inner)

    def objective(theta):
        log_probs, scores = log_policy(theta, inner)
        step = np.einsum("nt,ntsa->sa", weights(log_probs, stopped, inner["rewards"]), scores)
        adapted = theta + inner_learning_rate * step.ravel() / len(scores)
        log_probs, _ = log_policy(adapted, outer)
        return np.sum(to_go(outer["rewards"]) * log_probs)

    axes = np.eye(len(parameters))
    return np.array([objective(parameters + 1j * STEP * axis).imag / STEP for axis in axes])


def maml(parameters, inner, outer, inner_learning_rate):
    return meta_gradient(log_likelihood, parameters, inner, outer, inner_learning_rate)


def lvc(parameters, inner, outer, inner_learning_rate):
    return meta_gradient(likelihood_ratio, parameters, inner, outer, inner_learning_rate)


def dice(parameters, inner, outer, inner_learning_rate):
    return meta_gradient(magic_box, parameters, inner, outer, inner_learning_rate)
