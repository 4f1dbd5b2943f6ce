"""Meta-gradients of a tabular softmax in JAX: maml, lvc and dice through one inner step.

    cd examples
    metarl audit exact --gradient with_jax:maml with_jax:lvc with_jax:dice --problem chain \\
      --sample-sizes 4 8 16 --output jax.parquet

The three differ in the inner loss alone: log-likelihood (Finn et al. 2017 as coded), likelihood
ratio (Rothfuss et al. 2019) and magic box (Foerster et al. 2018). `jax.grad` of the outer loss
goes through the inner loop, a scan.
"""

import functools

import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)
INNER_STEPS = 1


def log_prob(parameters, batch):
    """log pi(a | s), [N, T], 0 after an episode's end."""
    observations = batch["observations"]
    log_probs = jax.nn.log_softmax(observations @ parameters.reshape(observations.shape[-1], -1))
    return batch["mask"] * jnp.sum(batch["actions"] * log_probs, axis=-1)


def to_go(rewards):
    return jnp.cumsum(rewards[:, ::-1], axis=1)[:, ::-1]


def log_likelihood_loss(parameters, batch):
    weighted = to_go(batch["rewards"]) * log_prob(parameters, batch)
    return -weighted.sum(axis=-1).mean()


def likelihood_ratio_loss(parameters, batch):
    log_probs = log_prob(parameters, batch)
    ratios = jnp.exp(log_probs - jax.lax.stop_gradient(log_probs))
    return -(to_go(batch["rewards"]) * ratios).sum(axis=-1).mean()


def magic_box_loss(parameters, batch):
    causes = jnp.cumsum(log_prob(parameters, batch), axis=-1)
    box = jnp.exp(causes - jax.lax.stop_gradient(causes))
    return -(batch["rewards"] * box).sum(axis=-1).mean()


@functools.partial(jax.jit, static_argnums=0)
def meta_gradient(inner_loss, parameters, inner, outer, inner_learning_rate):
    """Minus the gradient of the outer loss, so an ascent direction."""

    def inner_step(theta, _):
        return theta - inner_learning_rate * jax.grad(inner_loss)(theta, inner), None

    def outer_loss(theta):
        adapted, _ = jax.lax.scan(inner_step, theta, length=INNER_STEPS)
        return log_likelihood_loss(adapted, outer)

    return -jax.grad(outer_loss)(parameters)


def maml(parameters, inner, outer, inner_learning_rate):
    return meta_gradient(log_likelihood_loss, parameters, inner, outer, inner_learning_rate)


def lvc(parameters, inner, outer, inner_learning_rate):
    return meta_gradient(likelihood_ratio_loss, parameters, inner, outer, inner_learning_rate)


def dice(parameters, inner, outer, inner_learning_rate):
    return meta_gradient(magic_box_loss, parameters, inner, outer, inner_learning_rate)
