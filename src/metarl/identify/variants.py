"""A changed bundle, as the search for what is wrong with a gradient passes it on."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from metarl.identify.bundle import Bundle


class Family(NamedTuple):
    """Changed bundles that differ in one number x.

    Attributes:
      name: what x is, as far as the bundle's other families are something else.
      at: x -> bundle.
      detail: x -> the change in words.
      start: the x that was tried.
    """

    name: str
    at: Callable[[float], Bundle]
    detail: Callable[[float], str]
    start: float


class Variant(NamedTuple):
    """A changed bundle.

    Attributes:
      changes: one or several names of `metarl.identify.hints.Hint.change`.
      detail: in words.
      bundle: the data; those of one kind differ in numbers alone and are computed together.
      gradient: [P], what to compare with it.
      family: bundles of other numbers, where any might be the one.
    """

    changes: tuple[str, ...]
    detail: str
    bundle: Bundle
    gradient: np.ndarray
    family: Family | None = None
