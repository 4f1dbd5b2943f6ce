"""Every example computes what it says, by the command that its docstring gives.

PyTorch and JAX are no requirements of metarl: .ci/run makes an environment that has them, from
requirements-examples.txt, and names its Python in METARL_EXAMPLES_PYTHON. A framework that is
missing there fails its test; without the variable, only NumPy's example can be run.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metarl.audit.exact import ExactAudit
from metarl.audit.problems import problem
from metarl.estimators import CATALOGUE

EXAMPLES = Path(__file__).parents[2] / "examples"
ENTRIES = ("maml", "lvc", "dice")
SAMPLE_SIZES = (2, 4)
MEASURES = ["bias", "relative_bias", "variance", "gradient_norm"]
LONGEST = 80  # lines
FRAMEWORKS = ("with_numpy", "with_torch", "with_jax")
PUBLISHED = {"tfp_expectation": "dice", "pyro_dice": "dice", "torchopt_meta_sgd": "maml"}


@pytest.fixture(scope="module")
def expected() -> pd.DataFrame:
    """What the catalogue's own entries are audited as."""
    audit = ExactAudit(problem("chain"), [CATALOGUE[entry] for entry in ENTRIES])
    return pd.DataFrame([row for size in SAMPLE_SIZES for row in audit.run(size)])


def python_of(module: str) -> str:
    """The interpreter that has the example's framework."""
    python = os.environ.get("METARL_EXAMPLES_PYTHON")
    if python is None and module != "with_numpy":
        pytest.skip("METARL_EXAMPLES_PYTHON names no Python with requirements-examples.txt")
    return python or sys.executable


def audited(python: str, folder: Path, names: list[str], output: Path) -> tuple[pd.DataFrame, str]:
    """The table that the command writes, and what it prints."""
    command = [
        *(python, "-m", "metarl", "audit", "exact", "--problem", "chain"),
        *("--gradient", *names, "--sample-sizes", *map(str, SAMPLE_SIZES)),
        *("--output", str(output)),
    ]
    finished = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr[-2000:]
    return pd.read_parquet(output), finished.stdout


def assert_is(
    entries: Sequence[str],
    names: list[str],
    audit: tuple[pd.DataFrame, str],
    expected: pd.DataFrame,
) -> None:
    """Every function has the numbers of its entry, and is told to be it."""
    table, printed = audit
    for name, entry in zip(names, entries, strict=True):
        theirs, ours = (
            frame[frame["estimator"] == called][MEASURES]
            for frame, called in ((table, name), (expected, entry))
        )
        np.testing.assert_allclose(theirs, ours, rtol=1e-10, atol=1e-10, err_msg=name)
        block = printed.split(f"{name} on chain\n")[1].split("slopes")[0]
        assert all(f"  {entry}" in line for line in block.splitlines()[1:-1])


@pytest.mark.parametrize("module", FRAMEWORKS)
def test_an_example_is_the_entry_that_it_says(module, expected, tmp_path):
    names = [f"{module}:{entry}" for entry in ENTRIES]
    audit = audited(python_of(module), EXAMPLES, names, tmp_path / "theirs.parquet")
    assert_is(ENTRIES, names, audit, expected)


@pytest.mark.parametrize("module", FRAMEWORKS)
def test_a_dump_is_identified(module, tmp_path):
    """A dump is made with the example's framework and read without."""
    bundles = [tmp_path / f"{entry}.npz" for entry in ENTRIES]
    for entry, bundle in zip(ENTRIES, bundles, strict=True):
        dump = [python_of(module), "dump.py", f"{module}:{entry}", str(bundle)]
        subprocess.run(dump, check=True, cwd=EXAMPLES)
    identify = [sys.executable, "-m", "metarl", "identify", "--json", *map(str, bundles)]
    finished = subprocess.run(identify, check=True, capture_output=True, text=True)
    for entry, result in zip(ENTRIES, json.loads(finished.stdout), strict=True):
        assert entry in result["matches"]


def test_what_published_packages_compute(expected, tmp_path):
    names = [f"{module}:gradient" for module in PUBLISHED]
    folder = EXAMPLES / "published"
    assert {path.stem for path in folder.glob("*.py")} == set(PUBLISHED)
    audit = audited(python_of("published"), folder, names, tmp_path / "theirs.parquet")
    assert_is(list(PUBLISHED.values()), names, audit, expected)


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short(path):
    assert len(path.read_text().splitlines()) < LONGEST


@pytest.mark.parametrize("module", FRAMEWORKS)
def test_a_docstring_names_the_command(module):
    text = (EXAMPLES / f"{module}.py").read_text()
    assert all(f" {module}:{entry}" in text for entry in ENTRIES)
