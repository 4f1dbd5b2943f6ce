"""`tfp.monte_carlo.expectation` of TensorFlow Probability, differentiated twice through sampling.

    cd examples/published
    metarl audit exact --gradient tfp_expectation:gradient --problem chain --sample-sizes 4 8 16 \\
      --output tfp.parquet

With use_reparameterization=False it multiplies f by exp(log_prob - stop(log_prob)). Each reward is
an f of its own here, whose log_prob is that of the actions up to its step.
"""

import tensorflow as tf
import tensorflow_probability as tfp


def expected_return(logits, batch):
    """The sum over steps of the expected reward, whose gradients are the package's."""

    def log_prob(samples):
        observations, actions = samples
        policy = tfp.distributions.OneHotCategorical(logits=observations @ logits)
        return tf.cumsum(batch["mask"] * policy.log_prob(actions), axis=1)

    rewards = tfp.monte_carlo.expectation(
        f=lambda samples: batch["rewards"],
        samples=(batch["observations"], batch["actions"]),
        log_prob=log_prob,
        use_reparameterization=False,
    )
    return tf.reduce_sum(rewards)


@tf.function
def meta_gradient(logits, inner, outer, inner_learning_rate):
    with tf.GradientTape() as tape:
        tape.watch(logits)
        with tf.GradientTape() as inner_tape:
            inner_tape.watch(logits)
            before = expected_return(logits, inner)
        adapted = logits + inner_learning_rate * inner_tape.gradient(before, logits)
        after = expected_return(adapted, outer)
    return tape.gradient(after, logits)


def gradient(parameters, inner, outer, inner_learning_rate):
    inner, outer = (
        {key: tf.constant(array) for key, array in batch.items()} for batch in (inner, outer)
    )
    logits = tf.constant(parameters.reshape(inner["observations"].shape[-1], -1))
    found = meta_gradient(logits, inner, outer, tf.constant(inner_learning_rate, tf.float64))
    return found.numpy().ravel()
