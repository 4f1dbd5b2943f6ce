"""MAML and score-weight estimators in plain NumPy, as a code base that knows nothing of metarl.

One hidden layer. The gradient of log pi is worked out by hand; its directional derivative is a
complex step, exact to rounding.
"""

from dataclasses import dataclass

import numpy as np

TASKS, ROWS, HORIZON, OBSERVATION, HIDDEN, ACTION = 4, 6, 8, 3, 5, 2
SHAPE = (TASKS, ROWS, HORIZON)


@dataclass(frozen=True)
class Code:
    """How this code base computes; the defaults are MAML as the README's bundle describes it.

    Attributes:
      policy: learned, fixed (log std 0), state or softmax.
      relu: hidden layer.
      action_mean: log pi averaged over action dimensions.
      log_std: a constant in the place of the learned log stds whose parameters lie below it.
      learning_rates: of the inner steps.
    """

    policy: str = "learned"
    relu: bool = False
    action_mean: bool = False
    log_std: float | None = None
    learning_rates: tuple[float, ...] = (0.1,)

    @property
    def outputs(self) -> int:
        return 2 * ACTION if self.policy == "state" else 3 if self.policy == "softmax" else ACTION

    @property
    def size(self) -> int:
        network = OBSERVATION * HIDDEN + HIDDEN + (HIDDEN + 1) * self.outputs
        return network + (ACTION if self.policy == "learned" else 0)

    def gradient(self, theta, observations, actions, weights):
        """sum_it weights_it grad log pi(a_it | s_it), [P]."""
        observations = observations.reshape(-1, OBSERVATION)
        weights = weights.reshape(-1, 1)
        ends = np.cumsum([OBSERVATION * HIDDEN, HIDDEN, HIDDEN * self.outputs, self.outputs])
        kernel_1, bias_1, kernel_2, bias_2, log_std = np.split(theta, ends)
        kernel_2 = kernel_2.reshape(HIDDEN, self.outputs)
        before = observations @ kernel_1.reshape(OBSERVATION, HIDDEN) + bias_1
        hidden = np.where(before.real > 0, before, 0.0) if self.relu else np.tanh(before)
        slope = (before.real > 0) if self.relu else 1.0 - hidden**2
        out = hidden @ kernel_2 + bias_2
        into_log_std = None
        if self.policy == "softmax":
            odds = np.exp(out)
            into = np.eye(3)[actions.ravel()] - odds / odds.sum(axis=1, keepdims=True)
        else:
            actions = actions.reshape(-1, ACTION)
            mean = out[:, :ACTION]
            if self.policy == "fixed":
                log_std = np.zeros(ACTION)
            elif self.policy == "state":
                log_std = out[:, ACTION:]
            if self.log_std is not None:
                log_std = np.where(log_std.real < self.log_std, self.log_std, log_std)
            error = (actions - mean) / np.exp(log_std) ** 2
            into, into_log_std = error, error * (actions - mean) - 1.0
            if self.log_std is not None:
                into_log_std = into_log_std * (log_std.real > self.log_std)
            if self.action_mean:
                into, into_log_std = into / ACTION, into_log_std / ACTION
            if self.policy == "state":
                into = np.concatenate([into, into_log_std], axis=1)
        into = weights * into
        into_hidden = into @ kernel_2.T * slope
        parts = [observations.T @ into_hidden, into_hidden.sum(0), hidden.T @ into, into.sum(0)]
        if self.policy == "learned":
            parts.append((weights * into_log_std).sum(0))
        return np.concatenate([part.ravel() for part in parts])

    def scores(self, theta, observations, actions):
        """g_it, [N, T, P], step by step."""
        units = np.eye(ROWS * HORIZON)
        rows = [self.gradient(theta, observations, actions, unit) for unit in units]
        return np.array(rows).reshape(ROWS, HORIZON, -1)


def sample(seed: int, code: Code, lengths: bool = False) -> tuple[np.ndarray, list[dict]]:
    """Parameters, and random steps of an inner batch for every learning rate and an outer one."""
    draw = np.random.default_rng(seed)
    steps = []
    for _ in range(len(code.learning_rates) + 1):
        mask = np.ones(SHAPE)
        if lengths:
            mask = (np.arange(HORIZON) < draw.integers(2, HORIZON + 1, (TASKS, ROWS, 1))) * 1.0
        rewards = mask * draw.normal(0.3, 1.0, SHAPE)
        softmax = code.policy == "softmax"
        step = {
            "observations": draw.normal(size=(*SHAPE, OBSERVATION)),
            "actions": draw.integers(3, size=SHAPE) if softmax else draw.normal(size=(*SHAPE, 2)),
            "rewards": rewards,
            "advantages": mask * np.cumsum(rewards[..., ::-1], axis=-1)[..., ::-1],
        }
        steps.append(step | ({"mask": mask} if lengths else {}))
    return 0.3 * draw.normal(size=code.size), steps


def mean_weights(step: dict, task: int) -> np.ndarray:
    """A_it over the number of steps that happened."""
    mask = step.get("mask", np.ones(SHAPE))[task]
    return mask * step["advantages"][task] / mask.sum()


def maml(code: Code, theta, steps, inner_weights=mean_weights, outer_weights=mean_weights):
    """The gradient [P], mean over tasks: backwards through every inner step."""
    total = 0.0
    for task in range(TASKS):

        def gradient(at, step, weights, task=task):
            data = (step["observations"][task], step["actions"][task])
            return code.gradient(at, *data, weights(step, task))

        chain = [theta]
        for rate, step in zip(code.learning_rates, steps, strict=False):
            chain.append(chain[-1] + rate * gradient(chain[-1], step, inner_weights))
        vector = gradient(chain[-1], steps[-1], outer_weights)
        for s in reversed(range(len(code.learning_rates))):
            moved = gradient(chain[s] + 1e-30j * vector, steps[s], inner_weights).imag / 1e-30
            vector = vector + code.learning_rates[s] * moved
        total = total + vector
    return total / TASKS


def parts(code: Code, theta, steps) -> dict[str, np.ndarray]:
    """Of one inner step: v, the inner Jacobian's term and the score terms, each [K, P], by
    loops."""
    rate, (inner, outer) = code.learning_rates[0], steps
    names = ("v", "inner Jacobian", "self", "later", "causes", "earlier")
    result = {name: np.zeros((TASKS, code.size)) for name in names}
    scores = np.zeros((*SHAPE, code.size))
    for k in range(TASKS):
        data = inner["observations"][k], inner["actions"][k]
        weights = mean_weights(inner, k)
        adapted = theta + rate * code.gradient(theta, *data, weights)
        v = code.gradient(
            adapted, outer["observations"][k], outer["actions"][k], mean_weights(outer, k)
        )
        moved = code.gradient(theta + 1e-30j * v, *data, weights).imag / 1e-30
        result["v"][k], result["inner Jacobian"][k] = v, rate * moved
        scores[k] = code.scores(theta, *data)
        advantages = inner["advantages"][k]
        constant = rate / (ROWS * HORIZON)
        for i in range(ROWS):
            products = scores[k, i] @ v
            for t in range(HORIZON):
                for s in range(HORIZON):
                    pair = constant * products[s] * scores[k, i, t]
                    if s == t:
                        result["self"][k] += advantages[i, t] * pair
                    elif s > t:
                        result["later"][k] += advantages[i, s] * pair
                    else:
                        result["earlier"][k] += advantages[i, s] * pair
                        result["causes"][k] += advantages[i, t] * pair
    return result | {"scores": scores}


def bundle(code: Code, theta, steps, gradient) -> dict[str, np.ndarray]:
    """What the code base dumps."""
    arrays = {
        f"step{s}/{key}": value for s, step in enumerate(steps) for key, value in step.items()
    }
    rates = code.learning_rates
    return arrays | {
        "hidden_sizes": np.array([HIDDEN]),
        "inner_learning_rate": np.array(rates if len(set(rates)) > 1 else rates[0]),
        "parameters": theta,
        "gradient": gradient,
        "sign": np.array("ascent"),
    }
