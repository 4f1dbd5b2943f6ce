"""One small off-policy batch of unequal trajectories, and plain NumPy loops over it.

And, for whatever reads tables: frames made to fit their table, and written.
"""

import json
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pytest
from scipy import stats

TASKS, ROWS, HORIZON = 2, 3, 4
OBSERVATION_SIZE, HIDDEN_SIZE, ACTION_SIZE = 3, 4, 2


def naive_outputs(parameters: np.ndarray, observation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and log standard deviation [A] for one task's parameters [P] and one observation [O]."""
    kernel_1, bias_1, kernel_2, bias_2, log_std = np.split(parameters, [12, 16, 24, 26])
    hidden = [
        np.tanh(bias_1[j] + sum(observation[i] * kernel_1[4 * i + j] for i in range(3)))
        for j in range(4)
    ]
    mean = [bias_2[j] + sum(hidden[i] * kernel_2[2 * i + j] for i in range(4)) for j in range(2)]
    return np.array(mean), log_std


def naive_log_prob(parameters: np.ndarray, observation: np.ndarray, action: np.ndarray) -> float:
    """log pi(a | s) for one task's parameters [P] and one step."""
    mean, log_std = naive_outputs(parameters, observation)
    return stats.norm.logpdf(action, mean, np.exp(log_std)).sum()


def naive_behaviour_log_prob(batch, step: tuple[int, int, int]) -> float:
    """log pi_behaviour(a | s) of one step (k, i, t)."""
    mean, log_std = (x.numpy()[step] for x in batch.behaviour)
    return stats.norm.logpdf(batch.actions.numpy()[step], mean, np.exp(log_std)).sum()


def steps_taken(batch, task: int) -> Iterator[tuple[int, int, int]]:
    """The steps (k, i, t) of one task that happened."""
    for row in range(ROWS):
        for t in range(HORIZON):
            if batch.mask.numpy()[task, row, t]:
                yield task, row, t


def naive_average(batch, task: int, averaging: str, term: Callable) -> float:
    """The average of term((k, i, t)) over one task's sample; row i has the share weights[k, i]."""
    weights = batch.weights.numpy()[task]
    lengths = batch.mask.numpy()[task].sum(axis=-1)
    total = sum(weights[step[1]] * term(step) for step in steps_taken(batch, task))
    return total if averaging == "trajectories" else total / (weights @ lengths)


def numerical_gradient(function: Callable[[np.ndarray], float], point: np.ndarray) -> np.ndarray:
    """Central differences of a function of [P] in float64; their error is about 1e-10 here."""
    step = 1e-5
    return np.array(
        [
            (function(point + step * axis) - function(point - step * axis)) / (2 * step)
            for axis in np.eye(len(point))
        ]
    )


@pytest.fixture
def policy():
    from metarl.policies import GaussianMLPPolicy

    return GaussianMLPPolicy(OBSERVATION_SIZE, ACTION_SIZE, (HIDDEN_SIZE,))


@pytest.fixture
def parameters(policy):
    """[K, P] float64, a copy of its own for every task."""
    import tensorflow as tf

    generator = np.random.default_rng(7)
    return tf.constant(0.5 * generator.normal(size=(TASKS, policy.parameter_size)))


@pytest.fixture
def batch(policy, parameters):
    """float64; unequal lengths and weights; the policy that acted is near `parameters` only."""
    import tensorflow as tf

    from metarl.trajectories import Trajectories

    generator = np.random.default_rng(11)
    shape = (TASKS, ROWS, HORIZON)
    lengths = np.array([[4, 1, 3], [2, 4, 1]])
    mask = (np.arange(HORIZON) < lengths[..., None]).astype(float)
    observations = tf.constant(generator.normal(size=(*shape, OBSERVATION_SIZE)))
    acting = parameters + 0.1 * generator.normal(size=parameters.shape)
    mean, log_std = policy.outputs(acting, observations)
    return Trajectories(
        observations=observations,
        actions=mean + tf.exp(log_std) * generator.normal(size=mean.shape),
        advantages=tf.constant(mask * generator.normal(size=shape)),
        rewards=tf.constant(mask * generator.normal(size=shape)),
        score_rewards=tf.constant(mask * generator.normal(size=shape)),
        mask=tf.constant(mask),
        behaviour=(mean, log_std),
        weights=tf.constant([[0.2, 0.5, 0.3], [0.6, 0.25, 0.15]], tf.float64),
        sample_size=tf.constant(20.0, tf.float64),
    )


@pytest.fixture
def complete():
    """Gives a frame the columns and dtypes of its table; what it lacks is 0, nan or ""."""
    nothing = {"str": "", "int64": 0, "float64": np.nan, "float32": np.nan}

    def completed(table, frame: pd.DataFrame) -> pd.DataFrame:
        missing = {
            column.name: nothing[column.dtype]
            for column in table.columns
            if column.name not in frame
        }
        return frame.assign(**missing).astype(table.dtypes)[table.names]

    return completed


@pytest.fixture
def write(tmp_path):
    """Writes frames to parquet files and gives their paths."""

    def write_frames(*frames: pd.DataFrame) -> list:
        paths = [tmp_path / f"table_{i}.parquet" for i in range(len(frames))]
        for frame, path in zip(frames, paths, strict=True):
            frame.to_parquet(path)
        return paths

    return write_frames


HOSTILE = "<script>alert('a note')</script>"


@pytest.fixture
def report_inputs(tmp_path, complete) -> dict:
    """What the report page is made of, small: claims of each verdict, every picture, two tables."""
    from metarl.figures import FIGURES
    from metarl.results import columns

    pictures = tmp_path / "figures"
    pictures.mkdir()
    for drawing in FIGURES:
        (pictures / f"{drawing.name}.png").write_bytes(small_png())
    claims = pictures / "claims.json"
    claims.write_text(json.dumps({"claims": [report_claim(word) for word in VERDICTS]}))
    training = complete(columns.TRAINING, pd.DataFrame(list(curves())))
    audit = complete(columns.EXACT, pd.DataFrame(list(power_laws())))
    training.to_parquet(tmp_path / "training.parquet")
    audit.to_parquet(tmp_path / "exact.parquet")
    benchmark = tmp_path / "benchmarks" / "train" / "PointGoal" / "lsf.tsv"
    benchmark.parent.mkdir(parents=True)
    benchmark.write_text("s\tcpu_time\n100\t90.0\n")
    return {
        "figures": pictures,
        "claims": claims,
        "output": pictures / "index.html",
        "scale": "small",
        "training": [tmp_path / "training.parquet"],
        "exact": [tmp_path / "exact.parquet"],
        "benchmarks": tmp_path / "benchmarks",
        "settings": f"seeds: [0]\nnote: {HOSTILE}\n",
    }


VERDICTS = ("reproduced", "not reproduced", "undecided")


def small_png() -> bytes:
    """A picture of 16 x 16 pixels."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), "teal").save(buffer, format="png")
    return buffer.getvalue()


def report_claim(verdict: str) -> dict:
    measurement = {"place": "bandit", "subject": "lsf", "quantity": "slope", "outcome": "holds"}
    measurement |= {"value": -1.02, "low": None, "high": None, "note": HOSTILE}
    texts = {key: f"the {key} & more" for key in ("source", "estimand", "level", "criterion")}
    return {
        **texts,
        "id": verdict.replace(" ", "-"),
        "statement": f"A statement that is {verdict}.",
        "verdict": verdict,
        "measured": "1 of 1 hold",
        "measurements": [measurement, measurement | {"low": -1.5, "high": -0.5}],
        "figure": None,
        "commands": ["snakemake all"],
        "remarks": [],
    }


def curves() -> Iterator[dict]:
    """Two environments, of which one has a hostile name; one return is not finite."""
    for environment in ("PointGoal", HOSTILE):
        for algorithm in ("lsf", "maml"):
            for seed in (0, 1):
                for iteration in range(4):
                    row = {"environment": environment, "algorithm": algorithm, "seed": seed}
                    row |= {"estimator": algorithm, "iteration": iteration, "inner_step": 1}
                    broken = algorithm == "maml" and seed + iteration == 4
                    row["mean_return"] = np.inf if broken else 1.0 * seed + iteration
                    yield row | {"environment_steps": 1000 * (iteration + 1), "sample_size": 20}


def power_laws() -> Iterator[dict]:
    for problem in ("bandit", "chain", "chain-3"):
        for size in (4, 8, 16):
            row = {"problem": problem, "sample_size": size}
            yield row | {"estimator": "lsf", "relative_bias": 0.1 / size, "variance": 2.0 / size}
            yield row | {"estimator": "unbiased", "relative_bias": 0.0, "variance": 2.0 * size}
