"""Every entry of the catalogue as anyone would write it: NumPy loops, from the arguments alone.

The functions have the signature of `metarl.audit.black_box`. Formulas are those of the papers, for
advantages that are rewards-to-go; V(theta'), v = grad V(theta') and whatever else comes from after
the adaptation are estimated from the one outer trajectory.
"""

from collections.abc import Callable

import numpy as np

DECAY = 0.9  # of loaded_dice
BASELINES: dict[int, float] = {}  # by N: what unbiased_baseline subtracts, whoever calls sets it


class Steps:
    """The steps that happened of one trajectory, under parameters [P]."""

    def __init__(self, batch: dict, row: int):
        self.length = int(batch["mask"][row].sum())
        self.states = batch["observations"][row].argmax(axis=-1)
        self.actions = batch["actions"][row].argmax(axis=-1)
        self.r = batch["rewards"][row]
        self.shape = batch["observations"].shape[-1], batch["actions"].shape[-1]
        self.A = [self.r[t : self.length].sum() for t in range(self.length)]

    def policy(self, theta: np.ndarray, t: int) -> np.ndarray:
        logits = theta.reshape(self.shape)[self.states[t]]
        return np.exp(logits) / np.exp(logits).sum()

    def g(self, theta: np.ndarray, t: int) -> np.ndarray:
        score = np.zeros(self.shape)
        score[self.states[t]] = -self.policy(theta, t)
        score[self.states[t], self.actions[t]] += 1.0
        return score.ravel()

    def hessian(self, theta: np.ndarray, t: int) -> np.ndarray:
        pi, state = self.policy(theta, t), self.states[t]
        hessian = np.zeros((*self.shape, *self.shape))
        hessian[state, :, state, :] = np.outer(pi, pi) - np.diag(pi)
        return hessian.reshape(theta.size, theta.size)

    def probability(self, theta: np.ndarray, last: int) -> float:
        """Of the actions up to step `last`."""
        return np.prod([self.policy(theta, t)[self.actions[t]] for t in range(last + 1)])


class Call:
    """What the formulas of the catalogue are made of, for one sample and one outer trajectory.

    Args:
      weights: what multiplies log pi in the inner loss, from (trajectory, N) to a list of T.
      steps: whether the inner loss is a mean over all steps.
    """

    def __init__(self, theta, inner, outer, eta, weights, steps=False):
        self.theta = theta
        self.X = [Steps(inner, row) for row in range(len(inner["mask"]))]
        self.Y = Steps(outer, 0)
        self.N = len(self.X)
        self.c = eta / (sum(x.length for x in self.X) if steps else self.N)
        self.A = [weights(x, self.N) for x in self.X]
        self.f = [self.inner_gradient(x, A) for x, A in zip(self.X, self.A, strict=True)]
        self.adapted = theta + self.c * sum(self.f)
        # outer trajectories come from the plain inner update, whatever the inner loss is here
        sampled = theta + self.c * sum(self.inner_gradient(x, x.A) for x in self.X)
        last = self.Y.length - 1
        self.ratio = self.Y.probability(self.adapted, last) / self.Y.probability(sampled, last)
        self.value = self.ratio * self.Y.r.sum()
        self.v = self.ratio * self.inner_gradient(self.Y, self.Y.A, self.adapted)
        self.d = [[x.g(theta, t) @ self.v for t in range(x.length)] for x in self.X]

    def inner_gradient(self, x: Steps, A: list, theta: np.ndarray | None = None) -> np.ndarray:
        at = self.theta if theta is None else theta
        return sum(A[t] * x.g(at, t) for t in range(x.length))

    def gradient(self, W: Callable[["Call", int, int], float]) -> np.ndarray:
        total = self.v.copy()
        for i, x in enumerate(self.X):
            for t in range(x.length):
                total += self.c * self.A[i][t] * x.hessian(self.theta, t) @ self.v
                total += W(self, i, t) * x.g(self.theta, t)
        return total


def rewards_to_go(x: Steps, N: int) -> list:
    return x.A


def twin(
    W: Callable[[Call, int, int], float], weights: Callable = rewards_to_go, steps: bool = False
) -> Callable:
    """The function of `metarl.audit.black_box` with score weights W."""

    def gradient(parameters, inner, outer, inner_learning_rate):
        return Call(parameters, inner, outer, inner_learning_rate, weights, steps).gradient(W)

    return gradient


def fomaml(parameters, inner, outer, inner_learning_rate):
    return Call(parameters, inner, outer, inner_learning_rate, rewards_to_go).v


def zero(call, i, t):
    return 0.0


def own_step(call, i, t):
    return call.c * call.A[i][t] * call.d[i][t]


def magic_box(call, i, t):
    x = call.X[i]
    return call.c * sum(x.r[b] * sum(call.d[i][: b + 1]) for b in range(t, x.length))


def loaded(call, i, t):
    steps = range(call.X[i].length)
    return call.c * sum(DECAY ** abs(t - b) * call.X[i].A[max(t, b)] * call.d[i][b] for b in steps)


def linearized(call, i, t):
    return call.c * call.f[i] @ call.v


def value(call, i, t):
    return call.value


def value_less_baseline(call, i, t):
    return call.value - BASELINES[call.N]


def mean_reward(call, i, t):
    return call.value / call.Y.length / sum(x.length for x in call.X)


def left_out(call, i, t):
    """Per-decision importance weights of theta'_{-i}."""
    without = call.adapted - call.c * call.f[i]
    y = call.Y
    return sum(
        y.r[b] * (1.0 - y.probability(without, b) / y.probability(call.adapted, b))
        for b in range(y.length)
    )


def second_order(call, i, t):
    """d^2 of sum_b r_b exp(log p_b(theta) - log p_b(theta')) along c f_i, at theta'."""
    share, y = call.c * call.f[i], call.Y
    slopes = [y.g(call.adapted, b) @ share for b in range(y.length)]
    bends = [share @ y.hessian(call.adapted, b) @ share for b in range(y.length)]
    curvature = sum(
        y.r[b] * (sum(slopes[: b + 1]) ** 2 + sum(bends[: b + 1])) for b in range(y.length)
    )
    return share @ call.v - 0.5 * curvature


def mean_advantage(call, i, t):
    return np.mean(call.Y.A)


def decayed_advantages(x: Steps, N: int) -> list:
    return [sum(N ** -(b - t) * x.A[b] for b in range(t, x.length)) for t in range(x.length)]


def decayed_box(call, i, t):
    x, lag = call.X[i], float(call.N)
    return call.c * sum(
        x.A[b] * lag ** (t - b) * sum(lag ** (a - b) * call.d[i][a] for a in range(b + 1))
        for b in range(t, x.length)
    )


maml = twin(zero)
lvc = twin(own_step)
dice = twin(magic_box)
loaded_dice = twin(loaded)
tmaml = twin(magic_box)  # whose control variate is 0 where advantages are rewards-to-go
lsf = twin(linearized)
unbiased = twin(value)
unbiased_baseline = twin(value_less_baseline)
emaml = twin(mean_reward)
leave_one_out = twin(left_out)
lsf2 = twin(second_order)
emaml_sum_as_coded = twin(lambda call, i, t: call.N * mean_reward(call, i, t))
emaml_likelihood_ratio_as_coded = twin(
    lambda call, i, t: own_step(call, i, t) + mean_reward(call, i, t)
)
sgmrl_as_coded = twin(mean_advantage)
learn2learn_dice_as_coded = twin(decayed_box, decayed_advantages)
promp_dice_as_coded = twin(magic_box)  # which differs where there is padding
pytorch_maml_rl_as_coded = twin(zero)  # which differs where lengths do
maml_of_steps = twin(zero, steps=True)
lsf_of_steps = twin(linearized, steps=True)
