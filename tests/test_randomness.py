"""Random streams: reproducible, and apart from one another."""

import itertools

import numpy as np

from metarl.randomness import generator, seed_sequence


def first_bytes(*stream) -> bytes:
    return generator(*stream).bytes(64)


def test_a_stream_is_its_seed_and_its_name_alone():
    alone = first_bytes(3, "rollout", 5, 0)
    generator(3, "tasks", 5).normal(size=100)
    assert first_bytes(3, "rollout", 5, 0) == alone


def test_a_stream_keeps_its_numbers():
    """Another algorithm or another derivation of names would change every stored result."""
    assert generator(0, "tasks", 1).integers(1000, size=4).tolist() == [380, 541, 243, 689]


def test_names_and_seeds_make_streams_of_their_own():
    """False-fail rate: 66 pairs of 64 random bytes coincide with probability 66 / 2^512."""
    names = ["tasks", "rollout", 0, 1, 2**32 - 1]
    streams = [
        (0,),
        (1,),
        (2**40,),
        *((0, name) for name in names),
        (0, "rollout", 1),
        (0, 1, "rollout"),
        (0, "rollout", 0, 1),
        (0, "rollout", 1, 0),
    ]
    values = {first_bytes(*stream) for stream in streams}
    assert len(values) == len(streams)


def test_streams_are_uncorrelated():
    """Every pair among 8 streams of 10,000 normal numbers.

    A correlation of 0.1 fails; false-fail rate: 28 pairs x P(6 sigma) = 28 x 2e-9 = 6e-8.
    """
    draws = [
        generator(seed, name, index).normal(size=10_000)
        for seed, name, index in itertools.product((0, 1), ("tasks", "rollout"), (0, 1))
    ]
    correlations = np.corrcoef(draws) - np.eye(8)
    assert np.abs(correlations).max() < 0.06


def test_the_sequence_carries_the_seed():
    sequence = seed_sequence(12, "tasks", 7)
    assert sequence.entropy == 12
    assert sequence.spawn_key[-1] == 7
    assert len(sequence.spawn_key) == 2
