"""A changed bundle, as the searches for what is wrong with a gradient pass it on."""

from typing import NamedTuple

import numpy as np

from metarl.identify.bundle import Bundle


class Variant(NamedTuple):
    """A changed bundle.

    Attributes:
      changes: one or several names of `Hint.change`.
      detail: in words.
      bundle: the data; those of one kind differ in numbers alone and are computed together.
      gradient: [P], what to compare with it.
      number: the one that was tried, where any might be it.
    """

    changes: tuple[str, ...]
    detail: str
    bundle: Bundle
    gradient: np.ndarray
    number: float | None = None
