"""`pyro.infer.util.Dice` of Pyro, differentiated twice through sampling.

    cd examples/published
    metarl audit exact --gradient pyro_dice:gradient --problem chain --sample-sizes 4 8 16 \\
      --output pyro.parquet

Pyro orders sites and costs by sets: what is a subset is upstream. A step's set is that of the plate
of trajectories and all steps up to it.
"""

import pyro
import torch
from pyro import distributions, poutine
from pyro.infer.util import Dice
from pyro.poutine.util import prune_subsample_sites

torch.set_num_threads(1)  # arrays of a few numbers gain nothing from more


def expected_return(logits, batch):
    """The expected return, whose gradients are the package's."""
    count, horizon = batch["rewards"].shape

    def act():
        with pyro.plate("trajectories", count):
            for t in range(horizon):
                policy = distributions.OneHotCategorical(
                    logits=batch["observations"][:, t] @ logits
                )
                pyro.sample(f"step_{t}", policy.mask(batch["mask"][:, t] > 0))

    taken = {f"step_{t}": batch["actions"][:, t] for t in range(horizon)}
    trace = poutine.trace(poutine.condition(act, data=taken)).get_trace()
    trace = prune_subsample_sites(trace)
    trace.compute_score_parts()
    trace.pack_tensors()
    plate = trace.plate_to_symbol["trajectories"]
    ordering, costs = {}, {}
    for t in range(horizon):
        ordering[f"step_{t}"] = frozenset([plate, *(f"step_{b}" for b in range(t + 1))])
        reward = batch["rewards"][:, t] / count
        reward._pyro_dims = plate
        costs[ordering[f"step_{t}"]] = [reward]
    return Dice(trace, ordering).compute_expectation(costs)


def gradient(parameters, inner, outer, inner_learning_rate):
    inner, outer = (
        {key: torch.from_numpy(array) for key, array in batch.items()} for batch in (inner, outer)
    )
    logits = torch.from_numpy(parameters).reshape(inner["observations"].shape[-1], -1)
    logits.requires_grad_()
    (step,) = torch.autograd.grad(expected_return(logits, inner), logits, create_graph=True)
    after = expected_return(logits + inner_learning_rate * step, outer)
    return torch.autograd.grad(after, logits)[0].ravel().numpy()
