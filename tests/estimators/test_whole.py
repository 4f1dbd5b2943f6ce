"""Plug-ins that are a whole gradient: right, compiled where that is safe, and blamed by line."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from metarl import convergence
from metarl.audit import limit, monte_carlo
from metarl.audit.exact import ExactAudit
from metarl.audit.problems import problem
from metarl.audit.settings import ConvergenceSettings, LimitSettings, MonteCarloSettings
from metarl.errors import InputError, RunError
from metarl.estimators import CATALOGUE, estimator, meta_gradient
from metarl.estimators.algebra import inner_chain
from metarl.outer_values import ClosedForm, Sampled, Totals
from metarl.policies import GaussianMLPPolicy
from metarl.settings import InnerSettings
from metarl.trajectories import Trajectories

README = (Path(__file__).parents[2] / "README.md").read_text()
(EXAMPLE,) = (
    code
    for code in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    if "def maml(policy" in code
)
OTHERS = """
import numpy as np


def in_numpy(policy, theta, batches, settings):
    return maml(policy, theta, batches, settings).numpy().astype(np.float32)


def noisy(policy, theta, batches, settings):
    return maml(policy, theta, batches, settings) + np.random.normal(size=theta.shape)


def typo(policy, theta, batches, settings):
    copy = theta + 0.0
    return copy.nmupy()


def leaves(policy, theta, batches, settings):
    raise SystemExit(0)


def one_task(policy, theta, batches, settings):
    return theta[0]


def not_a_number(policy, theta, batches, settings):
    return np.nan * theta


def integers(policy, theta, batches, settings):
    return np.zeros(theta.shape, int)


def three(policy, theta, batches):
    return theta
"""
THEIRS = EXAMPLE + OTHERS
POLICY = GaussianMLPPolicy(3, 2, (4,))
SETTINGS = InnerSettings(0.3, "steps")


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    (tmp_path / "whole_gradients.py").write_text(THEIRS)
    monkeypatch.chdir(tmp_path)


def line_of(text: str) -> int:
    return THEIRS[: THEIRS.index(text)].count("\n") + 1


def random_batch(seed: int) -> Trajectories:
    draw = np.random.default_rng(seed)
    shape = (2, 5, 4)
    observations, actions = draw.normal(size=(*shape, 3)), draw.normal(size=(*shape, 2))
    rewards = draw.normal(size=shape)
    arrays = (observations, actions, rewards, rewards, rewards, np.ones(shape))
    behaviour = tuple(map(tf.constant, (np.zeros((*shape, 2)), np.zeros((*shape, 2)))))
    weights = tf.fill([2, 5], tf.constant(0.2, tf.float64))
    size = tf.constant(5.0, tf.float64)
    return Trajectories(*map(tf.constant, arrays), behaviour, weights, size)


def gradient(name: str, inner_steps: int = 1) -> tf.Tensor:
    batches = [random_batch(seed) for seed in range(inner_steps + 1)]
    theta = tf.constant(0.3 * np.random.default_rng(9).normal(size=(2, POLICY.parameter_size)))
    chain, _ = inner_chain(POLICY, CATALOGUE["maml"], theta, batches[:-1], SETTINGS)
    acted = POLICY.outputs(chain[-1], batches[-1].observations)
    batches[-1] = batches[-1]._replace(behaviour=acted)
    outer = partial(Sampled, POLICY, batches[-1], "steps", None)
    entry = CATALOGUE[name[1:]] if name.startswith("=") else estimator(f"whole_gradients:{name}")
    rows = [
        meta_gradient(POLICY, entry, theta, batches[:-1], SETTINGS, outer) for _ in range(2)
    ]  # the first call is theirs as it is, the second may be compiled
    np.testing.assert_allclose(rows[0], rows[1], rtol=1e-6, atol=1e-9)
    return rows[1]


@pytest.mark.parametrize(("name", "precision"), [("maml", 1e-12), ("in_numpy", 1e-6)])
@pytest.mark.parametrize("inner_steps", [1, 2])
def test_a_whole_gradient_is_what_it_computes(theirs, name, precision, inner_steps):
    given, expected = gradient(name, inner_steps), gradient("=maml", inner_steps)
    np.testing.assert_allclose(given, expected, atol=precision)
    assert given.dtype == tf.float64


def test_only_what_compilation_leaves_as_it_is_is_compiled(theirs):
    """NumPy's random numbers would be drawn once: two calls must differ."""
    batches = [random_batch(0), random_batch(1)]
    theta = tf.zeros([2, POLICY.parameter_size], tf.float64)
    calls = {}
    for name in ("maml", "in_numpy", "noisy"):
        whole = estimator(f"whole_gradients:{name}").gradient
        calls[name] = [whole(POLICY, theta, batches, SETTINGS).numpy() for _ in range(3)]
        (chosen,) = whole._chosen.values()
        assert hasattr(chosen, "get_concrete_function") == (name == "maml")
    assert not np.allclose(calls["noisy"][1], calls["noisy"][2])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("typo", rf"failed \(AttributeError: .*nmupy.*whole_gradients.py:{line_of('return copy')}"),
        ("leaves", rf"failed \(SystemExit: 0, .*:{line_of('raise SystemExit')}\); it is called as"),
        ("one_task", r"returns float64 \[28\]; give floating-point numbers \[K, P\] = \[2, 28\]"),
        ("integers", r"returns int64 \[2, 28\]; give floating"),
        ("three", "takes 3 arguments; give function"),
    ],
)
def test_faults_are_one_line_with_the_line_of_their_file(theirs, name, message):
    with pytest.raises(InputError, match=message) as error:
        gradient(name)
    assert "\n" not in str(error.value)


def test_a_fault_of_a_file_in_the_working_folder(theirs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.py").write_text(
        "def g(policy, theta, batches, settings):\n    return 1 / 0\n"
    )
    with pytest.raises(InputError, match=r"ZeroDivisionError: division by zero, here\.py:2\)"):
        estimator("here:g").gradient(POLICY, None, [random_batch(0), random_batch(1)], SETTINGS)


@pytest.mark.parametrize("name", ["maml", "in_numpy"])
def test_the_exact_audit_takes_whole_gradients(theirs, name):
    """Bias and variance are those of the entry, the outer batch being all trajectories."""
    entries = [CATALOGUE["maml"], estimator(f"whole_gradients:{name}")]
    expected, given = ExactAudit(problem("bandit"), entries).run(2)
    for measure in ("bias", "variance"):
        assert given[measure] == pytest.approx(expected[measure], rel=1e-6)


def test_without_a_post_update_batch_one_line_says_so(theirs):
    def totals(parameters: tf.Tensor) -> Totals:
        return Totals(*[tf.reduce_sum(parameters, axis=-1)] * 3)

    with pytest.raises(InputError, match="no post-update batch here") as error:
        meta_gradient(
            POLICY,
            estimator("whole_gradients:maml"),
            tf.zeros([2, POLICY.parameter_size], tf.float64),
            [random_batch(0)],
            SETTINGS,
            partial(ClosedForm, totals),
        )
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("compiled", "penalty", "message"),
    [
        (False, lambda *_: 0.0, "no inner KL penalty goes"),
        (True, None, "compiled code cannot call"),
    ],
)
def test_what_cannot_work_is_one_line(theirs, compiled, penalty, message):
    outer = partial(Sampled, POLICY, random_batch(1), "steps", None)

    def call() -> tf.Tensor:
        return meta_gradient(
            POLICY,
            estimator("whole_gradients:maml"),
            tf.zeros([2, POLICY.parameter_size], tf.float64),
            [random_batch(0)],
            SETTINGS,
            outer,
            inner_penalty=penalty,
        )

    with pytest.raises(InputError, match=message) as error:
        (tf.function(call, autograph=False) if compiled else call)()
    assert "\n" not in str(error.value)


def test_a_result_that_is_not_finite_is_named_as_what_it_is(theirs):
    with pytest.raises(RunError, match="what it returns has a NaN") as error:
        ExactAudit(problem("bandit"), [estimator("whole_gradients:not_a_number")]).run(2)
    assert "weights" not in str(error.value)


def test_what_compiles_estimators_refuses_it_before_the_first_compilation(
    theirs, tmp_path, monkeypatch
):
    def compiles(*_):
        raise AssertionError("compiled")

    names = ("lsf", "whole_gradients:maml")
    monkeypatch.setattr(convergence, "Experiment", compiles)
    monkeypatch.setattr(limit, "Limit", compiles)
    monkeypatch.setattr(monte_carlo, "MonteCarlo", compiles)
    descent = ConvergenceSettings(
        problem="bandit",
        estimators=names,
        sample_sizes=(2,),
        step_sizes=(0.5,),
        epsilons=(0.5,),
        seeds=3,
        iterations=4,
    )
    terms = LimitSettings(problem=("bandit",), estimators=names)
    draws = MonteCarloSettings(estimators=names, sample_sizes=(2,), instances=(1,))
    for refuse in (
        lambda: convergence.converge(descent, tmp_path / "table.parquet"),
        lambda: limit.audit(terms, tmp_path / "table.parquet"),
        lambda: monte_carlo.Run(draws),
    ):
        with pytest.raises(InputError, match="which compiled code cannot call"):
            refuse()
    assert not list(tmp_path.glob("*.parquet"))
