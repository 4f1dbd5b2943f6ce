"""metarl.memory: what is certainly held at one time, and one line where the machine has less."""

import dataclasses

import numpy as np
import pytest

from metarl import memory
from metarl.errors import InputError
from metarl.settings import TrainingSettings

RUN = TrainingSettings(
    environment="HalfCheetahDir",
    estimator="lsf",
    algorithm="label",
    tasks=3,
    trajectories=2,
    horizon=5,
    hidden_sizes=(8, 4),
    inner_steps=2,
)


def test_the_policy_has_as_many_numbers_as_the_real_one():
    from metarl.rollouts import make_sampler

    assert memory.policy_size(RUN) == make_sampler(RUN, threads=1).policy.parameter_size


def test_a_batch_has_as_many_numbers_as_the_real_one():
    import tensorflow as tf

    from metarl.advantages import trajectories
    from metarl.rollouts import make_sampler

    sampler = make_sampler(RUN, threads=1)
    draw = np.random.default_rng(0)
    parameters = tf.zeros((3, sampler.policy.parameter_size))
    tasks = sampler.environment.sample_tasks(draw, 3)
    rollout = sampler.collect(parameters, tasks, draw)
    batch = trajectories(rollout, RUN.advantage)
    held = [*rollout[:4], rollout.behaviour[0]]  # log standard deviations are a view
    held += [x for x in tf.nest.flatten(batch) if len(x.shape) > 2]
    assert 3 * memory.batch_size(RUN, 2) == sum(int(np.prod(x.shape)) for x in held)


def test_bytes_grow_with_every_size():
    sizes = {"tasks": 6, "trajectories": 4, "horizon": 10, "hidden_sizes": (8, 8), "inner_steps": 3}
    for name, value in sizes.items():
        larger = dataclasses.replace(RUN, **{name: value})
        assert memory.training_bytes(larger) > memory.training_bytes(RUN)


def test_what_the_machine_does_not_have_is_one_line(monkeypatch):
    needed = memory.training_bytes(RUN)
    monkeypatch.setattr(memory, "machine_bytes", lambda: needed)
    memory.require_training(RUN)
    monkeypatch.setattr(memory, "machine_bytes", lambda: needed - 1)
    with pytest.raises(InputError, match=r"are 3, 2, 5, \(8, 4\), 2, 100: at least .* of memory, "):
        memory.require_training(RUN)


def test_a_size_in_words():
    sizes = [0, 999, 1536, 25_000_000_000, 10**40]
    assert [memory.in_words(size) for size in sizes] == [
        *("0 bytes", "999 bytes", "1.54 kB", "25 GB", "1e+22 EB"),
    ]
