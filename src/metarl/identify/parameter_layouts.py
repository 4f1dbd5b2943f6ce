"""Other orders of the numbers in `parameters` and `gradient`."""

import itertools
import math
from collections.abc import Iterator

import numpy as np

from metarl.identify.bundle import Bundle
from metarl.identify.variants import Variant
from metarl.policies import GaussianMLPPolicy


def layout_variants(bundle: Bundle) -> Iterator[Variant]:
    """Other orders of the numbers in parameters, in the gradient, or in both."""
    orders = layouts(bundle)
    read = {
        name: bundle._replace(
            parameters=_reordered(bundle.parameters, order),
            evaluation_parameters=_reordered(bundle.evaluation_parameters, order),
        )
        for name, order in orders.items()
    }
    pairs = [  # those of one bundle together, the likeliest first
        (first, second) for first in orders for second in sorted(orders, key=first.__ne__)
    ]
    for first, second in pairs:
        changes = tuple(dict.fromkeys((*first, *second)))
        if not changes:
            continue
        where = "parameters and gradient"
        if first != second:
            where = " and ".join(
                f"{' and '.join(changed).replace('_', ' ') or 'nothing'} in {name}"
                for changed, name in ((first, "parameters"), (second, "gradient"))
            )
        yield Variant(changes, where, read[first], _reordered(bundle.gradient, orders[second]))


def layouts(bundle: Bundle) -> dict[tuple[str, ...], np.ndarray]:
    """By what differs from the README's order: where each number of its order stands [P]."""
    policy, size = bundle.policy, len(bundle.gradient)
    shapes = policy.shapes
    has_log_std = isinstance(policy, GaussianMLPPolicy) and size == policy.parameter_size
    orders = {}
    for transposed, first in itertools.product((False, True), (False, True)):
        if first and not has_log_std:
            continue
        changes = ("log_std_first",) * first + ("transposed_kernels",) * transposed
        order, start = [], policy.action_size if first else 0
        for shape in shapes:
            block = np.arange(start, start + math.prod(shape))
            if transposed and len(shape) == 2:
                block = block.reshape(shape[::-1]).T.ravel()
            order.append(block)
            start += math.prod(shape)
        if first:
            order[-1] = np.arange(policy.action_size)
        orders[changes] = np.concatenate(order)[:size]
    same = np.arange(size)
    return {
        changes: order
        for changes, order in orders.items()
        if not changes or not np.array_equal(order, same)
    }


def _reordered(vector: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The numbers of `order`, then those that no dump contains (a fixed std)."""
    return np.concatenate([vector[order], vector[len(order) :]])
