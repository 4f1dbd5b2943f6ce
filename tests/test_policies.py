"""Policies against scipy and plain loops, one step at a time."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from metarl.errors import InputError
from metarl.policies import (
    GaussianMLPPolicy,
    HeldStdGaussianMLPPolicy,
    SoftmaxMLPPolicy,
    StateStdGaussianMLPPolicy,
    TabularSoftmaxPolicy,
    log_prob,
    split_parameters,
)

TASKS, ROWS, HORIZON = 2, 3, 2
INDICES = list(itertools.product(range(TASKS), range(ROWS), range(HORIZON)))


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def by_hand(
    sizes: tuple[int, ...], parameters: np.ndarray, observation: np.ndarray, activation=math.tanh
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel, bias, ..., log_std, number by number: kernel[i, o] is number i * out + o."""
    numbers = iter(parameters)
    values = list(observation)
    for layer, (size_in, size_out) in enumerate(itertools.pairwise(sizes)):
        kernel = [[next(numbers) for _ in range(size_out)] for _ in range(size_in)]
        bias = [next(numbers) for _ in range(size_out)]
        values = [
            bias[o] + sum(values[i] * kernel[i][o] for i in range(size_in)) for o in range(size_out)
        ]
        if layer < len(sizes) - 2:
            values = [activation(value) for value in values]
    log_std = list(numbers)
    return np.array(values), np.array(log_std)


@pytest.mark.parametrize("hidden_sizes", [(), (4,), (4, 5)])
def test_gaussian_outputs_and_log_prob(hidden_sizes):
    policy = GaussianMLPPolicy(3, 2, hidden_sizes)
    parameters = 0.5 * normal(0, TASKS, policy.parameter_size)
    observations, actions = normal(1, TASKS, ROWS, HORIZON, 3), normal(2, TASKS, ROWS, HORIZON, 2)
    means, log_stds = policy.outputs(tf.constant(parameters), tf.constant(observations))
    log_probs = log_prob(
        policy, tf.constant(parameters), tf.constant(observations), tf.constant(actions)
    )
    assert log_probs.shape == (TASKS, ROWS, HORIZON)
    for index in INDICES:
        mean, log_std = by_hand((3, *hidden_sizes, 2), parameters[index[0]], observations[index])
        np.testing.assert_allclose(means[index], mean, rtol=1e-12)
        np.testing.assert_array_equal(log_stds[index], log_std)
        expected = stats.norm.logpdf(actions[index], mean, np.exp(log_std)).sum()
        np.testing.assert_allclose(log_probs[index], expected, rtol=1e-12)


def test_relu():
    policy = GaussianMLPPolicy(3, 2, (4, 5), "relu")
    parameters = normal(0, TASKS, policy.parameter_size)
    observations = normal(1, TASKS, ROWS, HORIZON, 3)
    means, _ = policy.outputs(tf.constant(parameters), tf.constant(observations))
    for index in INDICES:
        mean, _ = by_hand(
            (3, 4, 5, 2), parameters[index[0]], observations[index], lambda x: max(x, 0.0)
        )
        np.testing.assert_allclose(means[index], mean, rtol=1e-12)


@pytest.mark.parametrize("hidden_sizes", [(), (4,), (5, 3)])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_acting_is_the_gaussian_of_the_outputs(hidden_sizes, activation):
    policy = GaussianMLPPolicy(3, 2, hidden_sizes, activation)
    draw = np.random.default_rng(0).standard_normal
    parameters, observations = draw((2, policy.parameter_size)), draw((2, 5, 3))
    noise = draw((2, 5, 2))
    act, log_stds = policy.actor(tf.constant(parameters))
    actions, means = act(observations, noise)
    mean, log_std = policy.outputs(tf.constant(parameters), tf.constant(observations))
    np.testing.assert_allclose(means, mean, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(actions, mean + np.exp(log_std) * noise, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(np.broadcast_to(log_stds[:, None], log_std.shape), log_std)


def test_gaussian_parameter_order():
    policy = GaussianMLPPolicy(3, 2, (4, 5))
    assert policy.shapes == ((3, 4), (4,), (4, 5), (5,), (5, 2), (2,), (2,))
    assert policy.parameter_size == 12 + 4 + 20 + 5 + 10 + 2 + 2


def test_split_parameters_in_c_order():
    first, second = split_parameters(tf.range(16.0)[None] + [[0.0], [100.0]], ((2, 3), (10,)))
    np.testing.assert_array_equal(first[0], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(first[1], [[100, 101, 102], [103, 104, 105]])
    np.testing.assert_array_equal(second[1], np.arange(106, 116))


def test_gaussian_outputs_take_any_axes_between_task_and_observation():
    policy = GaussianMLPPolicy(3, 2, (4,))
    parameters = tf.constant(normal(0, TASKS, policy.parameter_size))
    observations = normal(1, TASKS, ROWS, HORIZON, 3)
    whole = policy.outputs(parameters, tf.constant(observations))
    for t in range(HORIZON):
        at_once = policy.outputs(parameters, tf.constant(observations[:, :, t]))
        for part, full in zip(at_once, whole, strict=True):
            np.testing.assert_allclose(part, full[:, :, t], rtol=1e-14)


def test_gaussian_keeps_float32():
    policy = GaussianMLPPolicy(3, 2, (4,))
    parameters = tf.constant(normal(0, TASKS, policy.parameter_size), tf.float32)
    observations = tf.constant(normal(1, TASKS, ROWS, 3), tf.float32)
    mean, log_std = policy.outputs(parameters, observations)
    assert mean.dtype == log_std.dtype == tf.float32
    assert log_prob(policy, parameters, observations, mean).dtype == tf.float32


def test_gaussian_initial_parameters():
    """Of 4096 kernel entries the largest is within 1 % of Glorot's limit.

    A limit wrong by 1 % fails; false-fail rate 2 x 0.995^4096 = 2e-9.
    """
    policy = GaussianMLPPolicy(64, 3, (64,))
    initial = policy.initial_parameters(np.random.default_rng(0))
    assert initial.dtype == np.float64
    again = policy.initial_parameters(np.random.default_rng(0))
    np.testing.assert_array_equal(initial, again)
    kernel_1, bias_1, kernel_2, bias_2, log_std = np.split(
        initial, np.cumsum([64 * 64, 64, 64 * 3, 3])
    )
    limit = math.sqrt(6.0 / (64 + 64))
    assert 0.99 * limit < kernel_1.max() <= limit
    assert -limit <= kernel_1.min() < -0.99 * limit
    assert np.abs(kernel_2).max() <= math.sqrt(6.0 / (64 + 3))
    assert np.abs(kernel_2).max() > limit  # fewer connections, wider
    for zeros in (bias_1, bias_2, log_std):
        np.testing.assert_array_equal(zeros, 0.0)


@pytest.mark.parametrize(
    "policy",
    [
        GaussianMLPPolicy(3, 2, ()),
        GaussianMLPPolicy(3, 2, (4, 5)),
        GaussianMLPPolicy(3, 2, (4, 5), "relu"),
        HeldStdGaussianMLPPolicy(3, 2, (4,), "tanh", (True, False)),
        StateStdGaussianMLPPolicy(3, 2, (4, 5)),
        SoftmaxMLPPolicy(3, 2, (4,), "relu"),
        TabularSoftmaxPolicy(3, 2),
    ],
)
def test_directional_derivatives_against_forward_mode(policy):
    """By TensorFlow's own forward-mode accumulator: of the outputs and of log pi."""
    parameters = tf.constant(0.5 * normal(0, TASKS, policy.parameter_size))
    vectors = tf.constant(normal(1, TASKS, policy.parameter_size))
    observations = tf.constant(normal(2, TASKS, ROWS, HORIZON, 3))
    actions = tf.constant(normal(3, TASKS, ROWS, HORIZON, 2))
    with tf.autodiff.ForwardAccumulator(parameters, vectors) as forward:
        expected = policy.outputs(parameters, observations)
        log_probs = log_prob(policy, parameters, observations, actions)
    outputs, changes = policy.directional(parameters, observations, vectors)
    for found, output in zip(
        (*outputs, *changes), (*expected, *map(forward.jvp, expected)), strict=True
    ):
        np.testing.assert_allclose(found, output, rtol=1e-12, atol=1e-12)
    if not isinstance(policy, TabularSoftmaxPolicy | SoftmaxMLPPolicy):
        found = policy.log_prob_change(outputs, changes, actions)
        np.testing.assert_allclose(found, forward.jvp(log_probs), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("sizes", [(0, 2, (4,)), (3, 0, (4,)), (3, 2, (4, 0)), (3, 2, (-1,))])
def test_sizes_must_be_positive(sizes):
    with pytest.raises(InputError, match="every size must be a positive integer"):
        GaussianMLPPolicy(*sizes)


def softmax_by_hand(logits: np.ndarray, action: int) -> float:
    return math.log(math.exp(logits[action]) / sum(math.exp(logit) for logit in logits))


def test_tabular_log_prob():
    policy = TabularSoftmaxPolicy(states=4, actions=3)
    assert policy.parameter_size == 12
    parameters = normal(0, TASKS, 12)
    generator = np.random.default_rng(1)
    states = generator.integers(4, size=(TASKS, ROWS, HORIZON))
    actions = generator.integers(3, size=(TASKS, ROWS, HORIZON))
    observations, one_hot = tf.constant(np.eye(4)[states]), tf.constant(np.eye(3)[actions])
    log_probs = log_prob(policy, tf.constant(parameters), observations, one_hot)
    (outputs,) = policy.outputs(tf.constant(parameters), observations)
    assert log_probs.shape == (TASKS, ROWS, HORIZON)
    for index in INDICES:
        state = states[index]
        logits = parameters[
            index[0], 3 * state : 3 * state + 3
        ]  # C order: a state's actions together
        expected = [softmax_by_hand(logits, action) for action in range(3)]
        np.testing.assert_allclose(outputs[index], expected, rtol=1e-12)
        np.testing.assert_allclose(log_probs[index], expected[actions[index]], rtol=1e-12)


def test_tabular_parameters_out_of_reach_of_exp():
    policy = TabularSoftmaxPolicy(states=1, actions=2)
    logits, state = tf.constant([[1000.0, 0.0]], tf.float64), tf.ones([1, 1, 1, 1], tf.float64)
    (outputs,) = policy.outputs(logits, state)
    np.testing.assert_array_equal(outputs[0, 0, 0], [0.0, -1000.0])


def test_softmax_network_log_prob():
    policy = SoftmaxMLPPolicy(3, 4, (5,))
    assert policy.shapes == ((3, 5), (5,), (5, 4), (4,))
    parameters = normal(0, TASKS, policy.parameter_size)
    observations = normal(1, TASKS, ROWS, HORIZON, 3)
    actions = np.random.default_rng(2).integers(4, size=(TASKS, ROWS, HORIZON))
    log_probs = log_prob(
        policy, tf.constant(parameters), tf.constant(observations), tf.constant(np.eye(4)[actions])
    )
    for index in INDICES:
        logits, rest = by_hand((3, 5, 4), parameters[index[0]], observations[index])
        assert rest.size == 0
        expected = softmax_by_hand(logits, actions[index])
        np.testing.assert_allclose(log_probs[index], expected, rtol=1e-12)


def test_std_of_the_state_is_the_other_half_of_the_last_layer():
    policy = StateStdGaussianMLPPolicy(3, 2, (5,))
    assert policy.shapes == ((3, 5), (5,), (5, 4), (4,))
    parameters = 0.5 * normal(0, TASKS, policy.parameter_size)
    observations = normal(1, TASKS, ROWS, HORIZON, 3)
    means, log_stds = policy.outputs(tf.constant(parameters), tf.constant(observations))
    for index in INDICES:
        expected, _ = by_hand((3, 5, 4), parameters[index[0]], observations[index])
        np.testing.assert_allclose([*means[index], *log_stds[index]], expected, rtol=1e-12)


def test_held_log_stds_are_constants():
    """The same outputs as learned ones; no gradient reaches those that are held."""
    sizes = 3, 2, (4,), "tanh"
    learned, held = GaussianMLPPolicy(*sizes), HeldStdGaussianMLPPolicy(*sizes, (True, False))
    parameters = tf.constant(normal(0, TASKS, learned.parameter_size))
    observations = tf.constant(normal(1, TASKS, ROWS, HORIZON, 3))
    actions = tf.constant(normal(2, TASKS, ROWS, HORIZON, 2))
    gradients = []
    for policy in (learned, held):
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            total = tf.reduce_sum(log_prob(policy, parameters, observations, actions))
        gradients.append(tape.gradient(total, parameters).numpy())
    assert (gradients[0][:, -2] != 0).all()
    np.testing.assert_array_equal(gradients[1][:, -2], 0.0)
    others = np.delete(np.arange(learned.parameter_size), -2)
    np.testing.assert_allclose(gradients[1][:, others], gradients[0][:, others], rtol=1e-13)
