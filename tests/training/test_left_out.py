"""Training whose leave_one_out simulates the outer batch again, without a trajectory."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from metarl.advantages import fit, trajectories
from metarl.errors import InputError
from metarl.estimators import estimator, meta_gradient
from metarl.outer_values import Resimulated, Sampled
from metarl.randomness import generator
from metarl.settings import TrainingSettings
from metarl.training import train
from metarl.training.iteration import MetaIteration

SETTINGS = TrainingSettings(
    environment="ReacherGoal",
    estimator="leave_one_out",
    algorithm="leave_one_out",
    seed=3,
    iterations=2,
    tasks=4,  # two shards
    trajectories=3,
    horizon=6,
    hidden_sizes=(4,),
    outer_optimizer="trpo",
    left_out=3,  # all
)


def test_differences_are_those_of_rollouts_without_each_trajectory():
    """One shard by hand: theta' without i, the outer batch there, V under the baseline at theta'.

    And the gradient is that of estimates which take them for differences.
    """
    iterate = MetaIteration(SETTINGS, estimator("leave_one_out"), threads=1)
    state = iterate.start()
    _, iteration = iterate(state, 0)
    policy, theta = iterate.samplers[0].policy, tf.tile(state.parameters[None], [2, 1])
    tasks = iterate.samplers[0].environment.sample_tasks(generator(3, "tasks", 0), 4)
    gradients = []
    for shard in range(2):
        inner, outer = iteration.shards[shard]
        rollout = iteration.rollouts[shard][1]
        baseline = fit(rollout, SETTINGS.advantage)

        def adapted(counted, inner=inner):
            with tf.GradientTape() as tape:
                tape.watch(theta)
                outputs = policy.outputs(theta, inner.observations)
                log_probs = policy.distribution(outputs).log_prob(inner.actions)
                total = tf.reduce_sum(counted[:, None] * inner.advantages * log_probs)
            return theta + 0.1 / (3 * 6) * tape.gradient(total, theta)

        def value(parameters, shard=shard, baseline=baseline):
            draw = generator(3, "rollout", 0, shard, 1)
            of_shard = np.split(tasks, 2)[shard]
            again = iterate.samplers[shard].collect(parameters, of_shard, draw)
            batch = trajectories(again, SETTINGS.advantage, baseline)
            return batch.score_rewards.numpy().mean(axis=(1, 2))

        after = adapted(np.ones(3, np.float32))
        expected = [value(after) - value(adapted(x)) for x in 1.0 - np.eye(3, dtype=np.float32)]
        np.testing.assert_allclose(outer.left_out, np.transpose(expected), rtol=1e-3, atol=1e-4)

        def values_after(parameters, outer=outer, left_out=outer.left_out):
            plain = outer._replace(left_out=())
            sampled = Sampled(policy, plain, SETTINGS.averaging, None, parameters)
            return Resimulated(sampled, tf.transpose(left_out))

        gradients.append(
            meta_gradient(
                policy,
                estimator("leave_one_out"),
                theta,
                [inner],
                SETTINGS.inner,
                values_after,
                tf.zeros(2),
            )
        )
    whole = iterate.objective.gradient(state.parameters, iteration.shards).mean
    np.testing.assert_allclose(whole, np.mean(gradients, axis=(0, 1)), rtol=1e-4, atol=1e-6)


def test_environment_steps_count_what_is_simulated_again(tmp_path):
    settings = dataclasses.replace(SETTINGS, left_out=2)
    files = [train.RunFiles(tmp_path / "run.parquet", tmp_path / "run.npz")]
    train.train(settings, files, tmp_path / "checkpoints")
    table = pd.read_parquet(tmp_path / "run.parquet")
    an_iteration = 4 * 4 * 3 * 6  # inner, outer and two again; tasks, trajectories, steps
    assert list(table["environment_steps"].unique()) == [an_iteration, 2 * an_iteration]
    assert table["effective_sample_size"].isna().all()  # no importance weights


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"left_out": 4}, "left_out is 4; give an integer from 0 to trajectories, 3"),
        ({"left_out": -1}, "left_out is -1; give an integer from 0 to trajectories, 3"),
        (
            {"outer_optimizer": "adam", "outer_epochs": 2},
            "outer_epochs, with left_out, is 2; give 1: what is simulated holds for the first one",
        ),
    ],
)
def test_what_cannot_be_simulated_is_one_line(changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(SETTINGS, **changes)
