"""What a rerun of an audit hangs on: training and its optimizers are no part of it."""

from pathlib import Path

import pytest

from metarl.sources import sources

PACKAGE = Path(__file__).parents[2] / "src"


@pytest.mark.parametrize(
    "module",
    ["audit.exact", "audit.monte_carlo", "audit.mujoco", "convergence"],
)
def test_an_audit_imports_no_training(module):
    paths = [
        Path(path).relative_to(PACKAGE / "metarl")
        for path in sources(f"metarl.{module}", root=str(PACKAGE))
    ]
    assert Path("estimators/algebra.py") in paths
    others = {"optimizers", "training", "evaluation.py", "cli", "bench.py"}
    assert [path for path in paths if path.parts[0] in others] == []
