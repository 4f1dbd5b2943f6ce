"""Named, independent random streams spawned from one integer seed.

A stream depends on the seed and on its name alone: not on the order in which streams are made, on
the number of threads, nor on where an interrupted run resumed.
"""

import zlib

import numpy as np


def seed_sequence(seed: int, *names: str | int) -> np.random.SeedSequence:
    """The seed sequence of the stream called `names`; integers (an iteration, say) stand for
    themselves."""
    keys = [zlib.crc32(name.encode()) if isinstance(name, str) else int(name) for name in names]
    return np.random.SeedSequence(entropy=seed, spawn_key=keys)


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """A NumPy Generator (Philox) over the stream called `names`."""
    return np.random.Generator(np.random.Philox(seed_sequence(seed, *names)))
