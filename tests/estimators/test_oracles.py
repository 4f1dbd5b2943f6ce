"""The catalogue against gradients of published code."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from metarl.adaptation import adapt
from metarl.estimators import CATALOGUE, meta_gradient
from metarl.outer_values import Sampled
from metarl.policies import GaussianMLPPolicy
from metarl.settings import InnerSettings
from metarl.trajectories import Trajectories

ORACLES = Path(__file__).parents[1] / "oracles"
PUBLISHED = {
    "maml": "trpo_maml_loglik__lr0.1_s1.npz",
    "lvc": "trpo_maml_lratio__lr0.1_s1.npz",
    "dice": "dice_maml__lr0.1_s1.npz",
}
POLICY = GaussianMLPPolicy(4, 2, (8, 8))
SETTINGS = InnerSettings(0.1, "steps")


def oracle(name: str):
    return np.load(ORACLES / name, allow_pickle=False)


def batch(file, step: int, parameters: tf.Tensor) -> Trajectories:
    """The oracle's batch of inner step `step`, as sampled under `parameters` [K, P]."""

    def tensor(name: str) -> tf.Tensor:
        return tf.constant(file[f"step{step}/{name}"], parameters.dtype)

    tasks, rows, _ = file[f"step{step}/mask"].shape
    return Trajectories(
        observations=tensor("obs"),
        actions=tensor("act"),
        advantages=tensor("adv"),
        rewards=tensor("adjusted_rewards"),
        score_rewards=tensor("adj_avg_rewards"),
        mask=tensor("mask"),
        behaviour=POLICY.outputs(parameters, tensor("obs")),
        weights=tf.fill([tasks, rows], tf.constant(1.0 / rows, parameters.dtype)),
        sample_size=tf.constant(float(rows), parameters.dtype),
    )


def estimate(file, name: str, dtype: tf.DType) -> np.ndarray:
    parameters = tf.repeat(tf.constant(file["theta_flat"], dtype)[None], 3, axis=0)
    before = batch(file, 0, parameters)
    after = batch(file, 1, adapt(POLICY, parameters, before, SETTINGS))

    @tf.function(jit_compile=True)
    def gradient(parameters):
        return meta_gradient(
            POLICY,
            CATALOGUE[name],
            parameters,
            [before],
            SETTINGS,
            partial(Sampled, POLICY, after, "steps", None),
        )

    return gradient(parameters).numpy().mean(axis=0)


def relative_difference(estimate: np.ndarray, reference: np.ndarray) -> float:
    return np.abs(estimate - reference).max() / np.abs(reference).max()


@pytest.mark.parametrize(("dtype", "tolerance"), [(tf.float64, 1e-10), (tf.float32, 1e-5)])
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_code(name, dtype, tolerance):
    file = oracle(PUBLISHED[name])
    key = "grad_flat" if dtype == tf.float64 else "f32/grad_flat"
    result = estimate(file, name, dtype)
    assert relative_difference(result, -file[key]) < tolerance
    others = [other for other in PUBLISHED if other != name]
    assert all(
        relative_difference(result, -file[f"explicit/{o}_loss_grad_flat"]) > 0.05 for o in others
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(tf.float64, 1e-10), (tf.float32, 1e-5)])
def test_lsf_formula(dtype, tolerance):
    file = oracle("explicit_lsf__lr0.1_s1.npz")
    assert relative_difference(estimate(file, "lsf", dtype), file["g_lsf"]) < tolerance


def test_fomaml_is_the_outer_gradient_alone():
    file = oracle("explicit_lsf__lr0.1_s1.npz")
    assert relative_difference(estimate(file, "fomaml", tf.float64), file["v"].mean(axis=0)) < 1e-10


def test_emaml_adds_the_mean_reward_times_the_mean_score():
    file = oracle("explicit_lsf__lr0.1_s1.npz")
    mean_rewards = file["step1/adj_avg_rewards"].mean(axis=(1, 2))
    mean_scores = file["step0/scores"].mean(axis=(1, 2))
    expected = file["g_maml"] + (mean_rewards[:, None] * mean_scores).mean(axis=0)
    assert relative_difference(estimate(file, "emaml", tf.float64), expected) < 1e-10


def test_unbiased_adds_the_value_times_the_summed_scores():
    file = oracle("explicit_lsf__lr0.1_s1.npz")
    values = file["step1/adj_avg_rewards"].mean(axis=(1, 2))
    scores = file["step0/scores"].sum(axis=(1, 2))
    expected = file["g_maml"] + (values[:, None] * scores).mean(axis=0)
    assert relative_difference(estimate(file, "unbiased", tf.float64), expected) < 1e-10
    baselines = (values.sum() - values) / 2
    expected = file["g_maml"] + ((values - baselines)[:, None] * scores).mean(axis=0)
    assert relative_difference(estimate(file, "unbiased_baseline", tf.float64), expected) < 1e-10


def test_leave_one_out_reweights_the_outer_batch():
    """W_i from its definition, one left-out trajectory and one outer trajectory at a time."""
    file = oracle("explicit_lsf__lr0.1_s1.npz")
    shares = 0.1 / 5 * file["step0/f"]
    adapted = file["adapted_flat"][0]
    observations, actions = (file[f"step1/{name}"] for name in ("obs", "act"))
    rewards = file["step1/adjusted_rewards"]

    def log_probs(parameters: np.ndarray, k: int, n: int) -> np.ndarray:
        """Gaussian log density of every step of outer trajectory n, by hand: [T]."""
        kernels, rest = [], parameters
        for i, o in ((4, 8), (8, 8), (8, 2)):
            kernels.append((rest[: i * o].reshape(i, o), rest[i * o : i * o + o]))
            rest = rest[i * o + o :]
        hidden = np.tanh(
            np.tanh(observations[k, n] @ kernels[0][0] + kernels[0][1]) @ kernels[1][0]
            + kernels[1][1]
        )
        deviations = (actions[k, n] - hidden @ kernels[2][0] - kernels[2][1]) / np.exp(rest)
        return (-0.5 * deviations**2 - rest - 0.5 * np.log(2 * np.pi)).sum(axis=-1)

    expected = np.zeros(132)
    for k in range(3):
        for i in range(5):
            weight = 0.0
            for n in range(5):
                change = log_probs(adapted[k] - shares[k, i], k, n) - log_probs(adapted[k], k, n)
                weight += ((1.0 - np.exp(np.cumsum(change))) * rewards[k, n]).sum() / 35
            expected += weight * file["step0/s"][k, i] / 3
    assert (
        relative_difference(estimate(file, "leave_one_out", tf.float64), file["g_maml"] + expected)
        < 1e-10
    )
