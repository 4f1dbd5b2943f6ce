"""Outer (meta) optimizers: what is done with the meta-gradient, each a pair of start and update.

    memory = start(theta, settings)                                     before the first iteration
    theta, memory, measures = update(objective, theta, memory, shards)  once an iteration

The memory is the optimizer's alone: a structure of tensors, which a checkpoint keeps as it is.
"""

from types import ModuleType

from metarl.optimizers import adam, promp, trpo
from metarl.settings import TrainingSettings


def optimizer_of(settings: TrainingSettings) -> ModuleType:
    """The outer optimizer of a run: trpo, adam, or promp: adam with an inner KL penalty."""
    if settings.outer_optimizer == "adam" and settings.inner_kl_coefficient > 0:
        return promp
    return {"adam": adam, "trpo": trpo}[settings.outer_optimizer]
