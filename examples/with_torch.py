"""Meta-gradients of a tabular softmax in PyTorch: maml, lvc and dice through one inner step.

    cd examples
    metarl audit exact --gradient with_torch:maml with_torch:lvc with_torch:dice --problem chain \\
      --sample-sizes 4 8 16 --output torch.parquet

The three differ in the inner loss alone: log-likelihood (Finn et al. 2017 as coded), likelihood
ratio (Rothfuss et al. 2019) and magic box (Foerster et al. 2018). The inner gradient keeps its
graph; the outer one goes through it.
"""

import torch
from torch.func import functional_call

torch.set_num_threads(1)  # arrays of a few numbers gain nothing from more


class Softmax(torch.nn.Module):
    """log pi(. | s), [N, T, A], from one row of logits a state."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(logits)

    def forward(self, observations):
        return torch.log_softmax(observations @ self.logits, dim=-1)


def log_prob(policy, parameters, batch):
    """log pi(a | s), [N, T], 0 after an episode's end."""
    log_probs = functional_call(policy, parameters, (batch["observations"],))
    return batch["mask"] * (batch["actions"] * log_probs).sum(dim=-1)


def to_go(rewards):
    return rewards.flip(-1).cumsum(-1).flip(-1)


def log_likelihood_loss(log_probs, rewards):
    return -(to_go(rewards) * log_probs).sum(dim=-1).mean()


def likelihood_ratio_loss(log_probs, rewards):
    ratios = torch.exp(log_probs - log_probs.detach())
    return -(to_go(rewards) * ratios).sum(dim=-1).mean()


def magic_box_loss(log_probs, rewards):
    causes = log_probs.cumsum(dim=-1)
    return -(rewards * torch.exp(causes - causes.detach())).sum(dim=-1).mean()


def meta_gradient(inner_loss, parameters, inner, outer, inner_learning_rate):
    """Minus the gradient of the outer loss, so an ascent direction."""
    inner, outer = (
        {key: torch.from_numpy(array) for key, array in batch.items()} for batch in (inner, outer)
    )
    states = inner["observations"].shape[-1]
    policy = Softmax(torch.from_numpy(parameters).reshape(states, -1))
    theta = dict(policy.named_parameters())
    loss = inner_loss(log_prob(policy, theta, inner), inner["rewards"])
    (gradient,) = torch.autograd.grad(loss, theta.values(), create_graph=True)
    adapted = {"logits": policy.logits - inner_learning_rate * gradient}
    log_likelihood_loss(log_prob(policy, adapted, outer), outer["rewards"]).backward()
    return -policy.logits.grad.ravel().numpy()


def maml(parameters, inner, outer, inner_learning_rate):
    return meta_gradient(log_likelihood_loss, parameters, inner, outer, inner_learning_rate)


def lvc(parameters, inner, outer, inner_learning_rate):
    return meta_gradient(likelihood_ratio_loss, parameters, inner, outer, inner_learning_rate)


def dice(parameters, inner, outer, inner_learning_rate):
    return meta_gradient(magic_box_loss, parameters, inner, outer, inner_learning_rate)
