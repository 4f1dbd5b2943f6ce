"""How tasks are drawn: the distributions that several environments share."""

import numpy as np


def directions(generator: np.random.Generator, count: int, balanced: bool) -> np.ndarray:
    """+1 and -1, [count, 1]: independently, each with probability 1/2, or balanced.

    Balanced ones come in random order, as many of each if count is even, so that the mean return of
    a batch does not depend on how many of its tasks run forwards.
    """
    if not balanced:
        return generator.choice([-1.0, 1.0], (count, 1))
    halves = np.resize(generator.permutation([-1.0, 1.0]), count)
    return generator.permutation(halves)[:, None]


def unit_vectors(generator: np.random.Generator, count: int) -> np.ndarray:
    """Directions in the plane, uniform on the circle: [count, 2]."""
    vectors = generator.standard_normal((count, 2))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def uniform(generator: np.random.Generator, count: int, low: float, high: float) -> np.ndarray:
    """One number each, [count, 1]."""
    return generator.uniform(low, high, (count, 1))


def in_disc(generator: np.random.Generator, count: int, radius: float) -> np.ndarray:
    """Points in the plane, uniform on a disc around the origin: [count, 2]."""
    angles = generator.uniform(0.0, 2.0 * np.pi, count)
    radii = radius * np.sqrt(generator.uniform(size=count))
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
