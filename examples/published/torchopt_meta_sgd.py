"""`torchopt.MetaSGD` of TorchOpt, its differentiable inner update, on a log-likelihood inner loss.

    cd examples/published
    metarl audit exact --gradient torchopt_meta_sgd:gradient --problem chain \\
      --sample-sizes 4 8 16 --output torchopt.parquet

The package differentiates the update, not the sampling: what the inner loss leaves out stays out.
"""

import torch
import torchopt

torch.set_num_threads(1)  # arrays of a few numbers gain nothing from more


class Softmax(torch.nn.Module):
    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(logits)

    def loss(self, batch):
        """Minus the mean over trajectories of sum_t (reward-to-go) log pi."""
        log_probs = torch.log_softmax(batch["observations"] @ self.logits, dim=-1)
        log_probs = batch["mask"] * (batch["actions"] * log_probs).sum(dim=-1)
        to_go = batch["rewards"].flip(-1).cumsum(-1).flip(-1)
        return -(to_go * log_probs).sum(dim=-1).mean()


def gradient(parameters, inner, outer, inner_learning_rate):
    inner, outer = (
        {key: torch.from_numpy(array) for key, array in batch.items()} for batch in (inner, outer)
    )
    policy = Softmax(torch.from_numpy(parameters).reshape(inner["observations"].shape[-1], -1))
    start = policy.logits
    torchopt.MetaSGD(policy, lr=inner_learning_rate).step(policy.loss(inner))
    (descent,) = torch.autograd.grad(policy.loss(outer), start)
    return -descent.ravel().numpy()
