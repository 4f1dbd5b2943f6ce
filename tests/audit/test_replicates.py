"""Audits by replicates: reference and values against TensorFlow's, statistics against exact."""

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from metarl.audit import exact, replicates, sampled
from metarl.audit.black_box import KEYS, Gradient
from metarl.audit.monte_carlo import random_mdp, totals
from metarl.audit.problems import problem
from metarl.audit.settings import ExactSettings
from metarl.errors import InputError
from metarl.estimators import CATALOGUE
from metarl.randomness import generator
from metarl.results.statistics import resampled_counts

ROOT = Path(__file__).parents[2]
TWINS = "tests.audit.twins"


def settings(
    problem: str, gradient: list[str], sample_sizes: list[int], count: int, seed: int
) -> ExactSettings:
    return ExactSettings(
        problem=(problem,),
        gradient=tuple(gradient),
        sample_sizes=tuple(sample_sizes),
        replicates=count,
        seed=seed,
    )


@pytest.fixture(autouse=True)
def working_folder(monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.chdir(ROOT)


def test_the_values_of_a_process():
    """V and grad V by dynamic programming in NumPy, against TensorFlow's."""
    source = replicates.ProcessReplicates("random_mdp_1", 1)
    points = np.stack([source.parameters, 0.5 * source.parameters])
    with tf.GradientTape() as tape:
        logits = tf.constant(points)
        tape.watch(logits)
        values = totals(random_mdp(1), logits).reward
    expected = tape.gradient(values, logits).numpy()
    np.testing.assert_allclose(source.values(points), values, rtol=1e-12)
    for point, gradient in zip(points, expected, strict=True):
        np.testing.assert_allclose(source.value_gradient(point), gradient, rtol=1e-10, atol=1e-13)


def test_the_reference_is_leave_one_out_of_every_sample():
    finite = problem("chain-3")
    source = replicates.FiniteReplicates("chain-3")
    _, _, (expected,) = exact.ExactAudit(finite, [CATALOGUE["leave_one_out"]]).estimates(3)
    counts, _ = exact.all_samples(finite, 3)
    for (sample,), gradient in zip(counts.astype(int), expected, strict=True):
        rows = np.repeat(np.arange(len(sample)), sample)
        _, found = replicates.reference(source, {key: getattr(finite, key)[rows] for key in KEYS})
        np.testing.assert_allclose(found, gradient, rtol=1e-11, atol=1e-13)


def test_statistics_against_enumeration():
    """maml at N = 2 on the bandit: its exact numbers are within the intervals.

    Three 95% intervals: another seed fails falsely with probability below 0.15; this one is fixed.
    R = 400 sees a bias that is wrong by a tenth.
    """
    gradient = Gradient(f"{TWINS}:maml")
    source = replicates.FiniteReplicates("bandit")
    (row,) = replicates.audited(source, gradient, [2], 400, 1, 0.95)
    audit = exact.ExactAudit(problem("bandit"), [CATALOGUE["maml"]])
    (truth,) = audit.run(2)
    probabilities, *_ = audit.estimates(2)
    counts = exact.all_samples(problem("bandit"), 2)[0][:, 0]
    outer = probabilities @ source.enumeration.estimates(gradient, counts)[1]
    for name, value in (
        ("bias", truth["bias"]),
        ("variance", truth["variance"]),
        ("outer_variance", outer),
    ):
        assert row[f"{name}_low"] < value < row[f"{name}_high"]
        assert row[f"{name}_high"] - row[f"{name}_low"] < 0.5 * value
    assert abs(row["gradient_norm"] / truth["gradient_norm"] - 1.0) < 0.05


def test_noise_of_their_own_is_no_inner_variance():
    """A function that adds noise of size 1 to maml: the inner variance's interval has that of maml.

    The noise makes the inner variance 30 times larger where both halves share it.
    """
    draw, theirs = np.random.default_rng(3), Gradient(f"{TWINS}:maml")

    def noisy(*arguments) -> np.ndarray:
        gradient = theirs(*arguments)
        return gradient + draw.normal(size=gradient.shape)

    source = replicates.FiniteReplicates("bandit")
    noisy.name = "noisy"
    (row,) = replicates.audited(source, noisy, [2], 400, 1, 0.95)
    (plain,) = replicates.audited(source, theirs, [2], 400, 1, 0.95)
    assert row["variance_low"] < plain["variance"] < row["variance_high"]
    assert row["variance_high"] < 0.5 * row["outer_variance"]


def test_a_process(tmp_path, capsys):
    """The files of two runs are the same."""
    for file in ("a.parquet", "b.parquet"):
        replicates.audit(settings("random_mdp_1", [f"{TWINS}:fomaml"], [2], 12, 3), tmp_path / file)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    (row,) = pd.read_parquet(tmp_path / "a.parquet").to_dict("records")
    assert row["replicates"] == 12
    assert 0 < row["outer_variance_low"] < row["outer_variance"] < row["outer_variance_high"]
    captured = capsys.readouterr()
    assert f"{TWINS}:fomaml on random_mdp_1: 384 calls" in captured.err
    assert "outer variance" in captured.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("stopping", [f"{TWINS}:maml"], [2], 9, 0), "there is no unbiased reference"),
        (("two_steps", [f"{TWINS}:maml"], [2], 9, 0), "has 2 inner steps"),
        (("random_mdp", [f"{TWINS}:maml"], [2], 9, 0), "unknown problem 'random_mdp'"),
        (("bandit", [f"{TWINS}:maml"], [2], 2, 0), "replicates is 2; give an integer >= 3"),
        (("bandit", [f"{TWINS}:maml"], [0], 9, 0), "sample size is 0"),
        (("bandit", [f"{TWINS}:maml"], [2], 9, -1), "seed is -1"),
    ],
)
def test_bad_input_writes_nothing(arguments, message, tmp_path):
    with pytest.raises(InputError, match=re.escape(message)):
        replicates.audit(settings(*arguments), tmp_path / "out.parquet")
    assert not list(tmp_path.iterdir())


def test_dumps(tmp_path, capsys):
    """Normal gradients of known variance and bias: 95% intervals of a fixed stream."""
    draw = generator(6, "dump")
    reference = np.array([3.0, 4.0, 0.0])
    gradients = reference + [0.0, 0.0, 1.0] + 0.5 * draw.normal(size=(400, 3))
    np.savez(tmp_path / "with.npz", gradients=gradients, reference=reference)
    np.savez(tmp_path / "without.npz", gradients=gradients.astype(np.float32))
    counts = resampled_counts(generator(0, "dumped replicates"), 400, sampled.RESAMPLES)
    row = replicates.with_intervals(
        replicates.measures(np.stack([gradients] * 2), np.tile(reference, (400, 1)), counts), 0.95
    )
    for name, value in (("variance", 0.75), ("bias", 1.0), ("cosine", 5 / 26**0.5)):
        assert row[f"{name}_low"] < value < row[f"{name}_high"]
        assert row[name] == pytest.approx(value, rel=0.15)
    replicates.audit_dumps([tmp_path / "with.npz", tmp_path / "without.npz"], 0.95)
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["file", "replicates", "bias", "relative", "bias", "variance", "cosine"]
    assert f"{row['bias']:.3g} [" in first
    assert f"{row['variance']:.3g} [" in second


def test_a_reference_of_every_sample(capsys, tmp_path):
    """Whose noise is that of the gradients: what is left of the difference is the bias alone."""
    gradients = generator(7, "dump").normal(size=(400, 3))
    np.savez(tmp_path / "all.npz", gradients=gradients, reference=gradients - [0.0, 0.0, 1.0])
    replicates.audit_dumps([tmp_path / "all.npz"], 0.95)
    _, line = capsys.readouterr().out.splitlines()
    assert "1 [1, 1]" in line


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (None, "cannot be read"),
        ({"gradient": np.ones((4, 3))}, "has gradient; give gradients [R, P]"),
        ({"gradients": np.ones(3)}, "gradients is [3]; give [R, P] with R >= 3"),
        ({"gradients": np.ones((2, 3))}, "gradients is [2, 3]; give [R, P] with R >= 3"),
        (
            {"gradients": np.ones((4, 3)), "reference": np.ones(2)},
            "reference is [2]; give [P] = [3], or [R, P] on the same samples",
        ),
        ({"gradients": np.ones((4, 3), int)}, "gradients is int64"),
        ({"gradients": np.full((4, 3), np.nan)}, "a NaN, an infinity or"),
        ({"gradients": np.full((4, 3), 1e200)}, "a number above 1e+100"),
        (
            {"gradients": np.ones((4, 3)), "reference": np.array([1.0, -1e200, 0.0])},
            "reference is float64, or has a NaN, an infinity or a number above 1e+100",
        ),
    ],
)
def test_a_damaged_dump(arrays, message, tmp_path, capsys):
    path = tmp_path / "dump.npz"
    path.write_text("no zip") if arrays is None else np.savez(path, **arrays)
    with pytest.raises(InputError, match=re.escape(message)):
        replicates.audit_dumps([path], 0.95)
    assert capsys.readouterr().out == ""
