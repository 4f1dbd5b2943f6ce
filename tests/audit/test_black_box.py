"""The black-box audit against the exact one, and what people's functions do wrong."""

import itertools
import re
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metarl.audit import black_box, exact
from metarl.audit.problems import problem
from metarl.audit.settings import ExactSettings
from metarl.errors import InputError
from metarl.estimators import CATALOGUE

ROOT = Path(__file__).parents[2]
SAMPLE_SIZES = (1, 2, 3)
MEASURES = ["bias", "relative_bias", "variance", "gradient_norm"]
TWINS = "tests.audit.twins"


def expected_value(finite, sample_size: int) -> float:
    """E V(theta') over ordered samples, a trajectory after the other."""
    trajectories = range(len(finite.rewards))
    enumeration = black_box.Enumeration(finite)
    chances = enumeration.probabilities(finite.parameters)
    total = 0.0
    for sample in itertools.product(trajectories, repeat=sample_size):
        mean = sum(enumeration.gradients[m] for m in sample) / sample_size
        adapted = finite.parameters + finite.inner_learning_rate * mean
        value = enumeration.probabilities(adapted) @ finite.rewards.sum(axis=1)
        total += np.prod(chances[list(sample)]) * value
    return total


AUDITS = {}


@pytest.fixture(autouse=True)
def exact_audit(monkeypatch):
    """The exact audit of all entries on a problem, compiled once in this file."""

    def compiled(finite, entries):
        assert entries == list(CATALOGUE.values())
        if finite.name not in AUDITS:
            AUDITS[finite.name] = exact.ExactAudit(finite, entries)
        return AUDITS[finite.name]

    monkeypatch.setattr(black_box, "ExactAudit", compiled)
    return lambda name: compiled(problem(name), list(CATALOGUE.values()))


@pytest.fixture
def twins(monkeypatch):
    """The module of twins, importable by its name from the working folder, as people's own is."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.chdir(ROOT)
    black_box.Gradient(f"{TWINS}:maml")
    return sys.modules[TWINS]


def settings(problem: str, gradient: list[str], sample_sizes: list[int]) -> ExactSettings:
    return ExactSettings(
        problem=(problem,), gradient=tuple(gradient), sample_sizes=tuple(sample_sizes)
    )


def audited(name: str, gradients: list[str], output: Path) -> pd.DataFrame:
    black_box.audit(settings(name, gradients, SAMPLE_SIZES), output)
    return pd.read_parquet(output)


@pytest.mark.parametrize("name", ["bandit", "chain"])
def test_a_twin_of_every_entry(name, twins, exact_audit, tmp_path, capsys):
    """Numbers and names, to rounding; both are exact, so there are no false alarms."""
    for sample_size in SAMPLE_SIZES:
        twins.BASELINES[sample_size] = expected_value(problem(name), sample_size)
    names = [f"{TWINS}:{entry}" for entry in CATALOGUE]
    theirs = audited(name, names, tmp_path / "theirs.parquet")
    printed = capsys.readouterr().out
    ours = pd.DataFrame([row for size in SAMPLE_SIZES for row in exact_audit(name).run(size)])
    assert list(theirs.columns) == [*ours.columns, "outer_variance"]
    for entry in CATALOGUE:
        chosen, expected = (
            table[table["estimator"] == called].sort_values("sample_size")[MEASURES]
            for table, called in ((theirs, f"{TWINS}:{entry}"), (ours, entry))
        )
        np.testing.assert_allclose(chosen, expected, rtol=1e-10, atol=1e-10, err_msg=entry)
        block = printed.split(f"{TWINS}:{entry} on {name}\n")[1].split("slopes")[0]
        for line in block.splitlines()[1:-1]:
            names, difference = re.fullmatch(r".*  (\S.*) \((.*)\)", line).groups()
            assert entry in names.split(", ")
            assert float(difference) < 1e-9


def test_a_mean_over_steps_of_unequal_lengths(twins, exact_audit, tmp_path):
    entries = ("maml", "lsf")
    names = [f"{TWINS}:{entry}_of_steps" for entry in entries]
    theirs = audited("stopping", names, tmp_path / "theirs.parquet")
    rows = [row for size in SAMPLE_SIZES for row in exact_audit("stopping").run(size)]
    ours = pd.DataFrame([row for row in rows if row["estimator"] in entries])
    np.testing.assert_allclose(theirs[MEASURES], ours[MEASURES], rtol=1e-10, atol=1e-10)


def test_transitions_and_outer_variance_by_hand(twins):
    """Var[g_hat | X] of one sample, from its definition; `windy` has random transitions."""
    finite = problem("windy")
    enumeration = black_box.Enumeration(finite)
    gradient = black_box.Gradient(f"{TWINS}:lvc")
    counts = np.array([[0, 2, 0, 1, 0, 0]])
    (mean,), (variance,) = enumeration.estimates(gradient, counts)
    called = [enumeration.call(gradient, counts[0], m) for m in range(6)]
    chances = enumeration.probabilities(enumeration.adapted(counts))[0]
    assert chances.sum() == pytest.approx(1.0, rel=1e-12)
    expected = sum(p * g for p, g in zip(chances, called, strict=True))
    spread = sum(p * np.sum((g - expected) ** 2) for p, g in zip(chances, called, strict=True))
    np.testing.assert_allclose(mean, expected, rtol=1e-12)
    assert variance == pytest.approx(spread, rel=1e-12)
    assert variance > 1e-3


THEIRS = """
    import sys
    import numpy as np

    calls = [0]

    def sound(parameters, inner, outer, inner_learning_rate):
        scale = inner["rewards"].sum() + outer["rewards"].sum()
        return scale * parameters * inner_learning_rate

    def raises(parameters, inner, outer, inner_learning_rate):
        return helper(inner)

    def helper(inner):
        raise KeyError("first line\\nsecond line")  # raised here

    def library(parameters, inner, outer, inner_learning_rate):
        return np.linalg.inv(np.zeros((2, 2)))  # in here

    def exits(parameters, inner, outer, inner_learning_rate):
        sys.exit("bye")  # leaves here

    def later(parameters, inner, outer, inner_learning_rate):
        import absent_file  # imported when called

    def three(parameters, inner, outer):  # takes three
        return parameters

    def column(parameters, inner, outer, inner_learning_rate):  # a column
        return parameters[:, None]

    def integers(parameters, inner, outer, inner_learning_rate):  # whole numbers
        return parameters.astype(int)

    def nothing(parameters, inner, outer, inner_learning_rate):  # no return
        parameters + 1.0

    def ragged(parameters, inner, outer, inner_learning_rate):  # no array
        return [parameters, 1.0]

    def nan(parameters, inner, outer, inner_learning_rate):  # 0 / 0
        return parameters / np.where(inner["rewards"].sum() > 0, 1.0, np.nan)

    def huge(parameters, inner, outer, inner_learning_rate):  # squares overflow
        return parameters * 0.0 - 1e200

    def dropout(parameters, inner, outer, inner_learning_rate):
        return parameters * np.random.binomial(1, 0.5, len(parameters))

    def draws(parameters, inner, outer, inner_learning_rate):  # and yet of its arguments alone
        np.random.random()
        return sound(parameters, inner, outer, inner_learning_rate)

    def sampler(parameters, inner, outer, inner_learning_rate):
        return parameters + np.random.default_rng().normal(size=len(parameters))

    def counter(parameters, inner, outer, inner_learning_rate):
        calls[0] += 1
        return parameters * (1.0 if calls[0] < 20 else 2.0)

    def writes(parameters, inner, outer, inner_learning_rate):
        result = sound(parameters, inner, outer, inner_learning_rate)
        parameters += 1.0
        for batch in (inner, outer):
            for array in batch.values():
                array *= 0.0
            batch.clear()
        return result

    buffer = np.zeros(3)

    def reuses(parameters, inner, outer, inner_learning_rate):
        buffer[:] = sound(parameters, inner, outer, inner_learning_rate)
        return buffer

    def single(parameters, inner, outer, inner_learning_rate):
        return sound(parameters, inner, outer, inner_learning_rate).astype(np.float32)

    def interrupted(parameters, inner, outer, inner_learning_rate):
        raise KeyboardInterrupt

    number = 3
"""


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """A file of functions in the working folder; returns its lines."""
    source = textwrap.dedent(THEIRS)
    (tmp_path / "theirs.py").write_text(source)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    yield source.splitlines()
    sys.modules.pop("theirs", None)


def one_line(name: str, folder: Path) -> str:
    """What the audit says of a function; it has written nothing."""
    before = sorted(folder.rglob("*.parquet"))
    with pytest.raises(InputError) as caught:
        black_box.audit(settings("bandit", [name], [2, 3]), folder / "out.parquet")
    assert sorted(folder.rglob("*.parquet")) == before
    return str(caught.value)


@pytest.mark.parametrize(
    ("function", "line", "message"),
    [
        ("raises", "# raised here", "KeyError: 'first line"),
        ("library", "# in here", "LinAlgError: Singular matrix"),
        ("exits", "# leaves here", "SystemExit: bye"),
        ("later", "# imported when called", "ModuleNotFoundError: No module named 'absent_file'"),
        ("three", "# takes three", "takes 3 positional arguments but 4 were given"),
        ("column", "# a column", "returns float64 [3, 1]; give a NumPy array of 3 finite"),
        ("integers", "# whole numbers", "returns int64 [3]; give a NumPy array of 3 finite"),
        ("nothing", "# no return", "returns object []"),
        ("ragged", "# no array", "returns a list (setting an array element"),
        ("nan", "# 0 / 0", "returns NaN, infinity or numbers above 1e+100"),
        ("huge", "# squares overflow", "returns NaN, infinity or numbers above 1e+100"),
    ],
)
def test_what_goes_wrong_names_the_line_of_their_file(theirs, tmp_path, function, line, message):
    said = one_line(f"theirs:{function}", tmp_path)
    (number,) = [n for n, text in enumerate(theirs, start=1) if text.endswith(line)]
    assert f"theirs.py:{number} " in said
    assert message in said
    assert said.startswith(f"theirs:{function}")


@pytest.mark.parametrize(
    ("function", "source"),
    [
        ("dropout", "it draws from numpy.random"),
        ("sampler", "it has a state of its own"),
        ("counter", "it has a state of its own"),
    ],
)
def test_random_state_is_named(theirs, tmp_path, function, source):
    """Four inputs, twice: dropout of three numbers goes unseen with probability 8^-4 at each N."""
    said = one_line(f"theirs:{function}", tmp_path)
    assert "returns another gradient for the same arguments" in said
    assert source in said


def test_draws_that_change_nothing_are_warned_of(theirs, tmp_path, capsys):
    for name in ("sound", "draws"):
        black_box.audit(settings("bandit", [f"theirs:{name}"], [2]), tmp_path / "out.parquet")
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert warning.startswith("warning: theirs:draws draws from numpy.random; ")


@pytest.mark.parametrize(
    ("function", "tolerance"), [("writes", 0), ("reuses", 0), ("single", 1e-6)]
)
def test_what_they_do_to_arrays_stays_theirs(theirs, function, tolerance):
    finite = problem("bandit")
    kept = [getattr(finite, key).copy() for key in ("parameters", *black_box.KEYS)]
    enumeration = black_box.Enumeration(finite)
    counts = exact.compositions(3, 3)
    expected = enumeration.estimates(black_box.Gradient("theirs:sound"), counts)
    means, variances = enumeration.estimates(black_box.Gradient(f"theirs:{function}"), counts)
    np.testing.assert_allclose(means, expected[0], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(variances, expected[1], rtol=tolerance, atol=tolerance)
    for key, before in zip(("parameters", *black_box.KEYS), kept, strict=True):
        np.testing.assert_array_equal(getattr(finite, key), before)


def test_an_interruption_stays_one(theirs, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        black_box.audit(settings("bandit", ["theirs:interrupted"], [2]), tmp_path / "out.parquet")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\ndef gradient(:\n", "broken.py:2 (SyntaxError"),
        ("x = 1\nimport absent_module\n", "broken.py:2 (ModuleNotFoundError: No module named"),
        ("x = 1\n\nraise SystemExit(3)\n", "broken.py:3 (SystemExit: 3"),
        ("x = 1\n", "broken.py has no function 'gradient'"),
        ("gradient = 1\n", "broken.py has no function 'gradient'"),
    ],
)
def test_a_file_that_cannot_be_imported(tmp_path, monkeypatch, source, message):
    (tmp_path / "broken.py").write_text(source)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    assert message in one_line("broken:gradient", tmp_path)
    sys.modules.pop("broken", None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bandit", ["sound"], [2]), "--gradient is 'sound'; give package.module:function"),
        (
            ("bandit", ["absent_file:sound"], [2]),
            "absent_file:sound cannot be imported (ModuleNotFoundError: No module",
        ),
        (
            ("two_steps", ["theirs:sound"], [2]),
            "choose one of bandit, chain, long_chain, windy, stopping",
        ),
        (("maze", ["theirs:sound"], [2]), "unknown problem 'maze'"),
        (("bandit", ["theirs:sound"], [0]), "sample size is 0"),
        (("bandit", ["theirs:sound"], []), "no sample size given"),
        (("bandit", ["theirs:sound", "theirs:sound"], [2]), "given twice"),
    ],
)
def test_bad_input_writes_nothing(theirs, tmp_path, arguments, message):
    with pytest.raises(InputError, match=re.escape(message)):
        black_box.audit(settings(*arguments), tmp_path / "out.parquet")
    assert not list(tmp_path.glob("*.parquet"))


def test_the_nearest_entry_is_told_by_samples_not_by_means():
    """Two entries of one mean: only the differences sample by sample tell them apart."""
    probabilities = np.array([0.5, 0.5])
    catalogue = {"wide": np.array([[3.0], [-1.0]]), "narrow": np.array([[1.0], [1.0]])}
    found = black_box.nearest(np.array([[1.1], [0.9]]), probabilities, catalogue)
    assert found == "narrow (1.0e-01)"


def test_the_nearest_entry_is_told_with_its_scale():
    probabilities = np.array([0.5, 0.5])
    catalogue = {"maml": np.array([[2.0, 0.0], [0.0, 1.0]]), "other": np.ones((2, 2))}

    def told(estimates: np.ndarray) -> str:
        return black_box.nearest(estimates, probabilities, catalogue)

    assert told(3.0 * catalogue["maml"]).startswith("3 times maml (")
    assert told(-catalogue["maml"]).startswith("-1 times maml (")
    assert told(np.array([[1.0, -1.0], [-1.0, 1.0]])) == "none (7.4e-01)"
    assert told(np.zeros((2, 2))) == "none: it is 0"


def test_cost_and_progress_are_told(theirs, tmp_path, capsys):
    black_box.audit(settings("bandit", ["theirs:sound"], [2, 3]), tmp_path / "out.parquet")
    first, *others, last = capsys.readouterr().err.splitlines()
    assert last == "compiling the catalogue on bandit, to tell the nearest entry ..."
    assert re.fullmatch(r"theirs:sound on bandit: 48 calls, \S+ ms each, about 0 s", first)
    assert [line.split(":")[2].strip() for line in others] == ["N = 2", "N = 3"]
