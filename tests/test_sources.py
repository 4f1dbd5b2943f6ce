"""metarl.sources: the source files behind a result."""

from pathlib import Path

import pytest

from metarl.errors import InputError
from metarl.sources import environment_module, sources

ROOT = Path(__file__).parents[1]
PACKAGE = str(ROOT / "src")


def write_package(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


def test_sources_follow_every_form_of_import(tmp_path):
    root = write_package(
        tmp_path,
        {
            "pack/__init__.py": "",
            "pack/entry.py": "import os\nimport pack.plain\nfrom pack import module, __name__\n",
            "pack/plain.py": "from . import near\nfrom pack.inner.leaf import name\n",
            "pack/module.py": "def late():\n    from .inner import other\n",
            "pack/near.py": "",
            "pack/inner/__init__.py": "from ..base import thing\n",
            "pack/inner/leaf.py": "import pack.entry\n",
            "pack/inner/other.py": "",
            "pack/inner/unused.py": "",
            "pack/base.py": "",
            "pack/unused.py": "import pack.entry\n",
        },
    )
    listed = [Path(path).relative_to(root).as_posix() for path in sources("pack.entry", root=root)]
    assert listed == [
        "pack/__init__.py",
        "pack/base.py",
        "pack/entry.py",
        "pack/inner/__init__.py",
        "pack/inner/leaf.py",
        "pack/inner/other.py",
        "pack/module.py",
        "pack/near.py",
        "pack/plain.py",
    ]


def test_sources_of_a_module_that_is_not_there(tmp_path):
    with pytest.raises(ModuleNotFoundError, match="pack.absent"):
        sources("pack.absent", root=str(tmp_path))


@pytest.mark.parametrize(
    "entry",
    ["training.train", "evaluation", "audit.exact", "claims", "figures.learning_curves"],
)
def test_no_result_depends_on_the_command_line(entry):
    listed = sources(f"metarl.{entry}", root=PACKAGE)
    assert not [path for path in listed if "/cli/" in path or path.endswith("configuration.py")]


@pytest.mark.parametrize("entry", ["learning_curves", "adaptation", "exact_audit"])
def test_a_figure_depends_on_no_other_figure(entry):
    listed = {Path(path).stem for path in sources(f"metarl.figures.{entry}", root=PACKAGE)}
    assert listed & {"learning_curves", "adaptation", "exact_audit"} == {entry}
    assert not listed & {"train", "evaluation", "exact"}


def test_a_run_depends_on_its_own_environment_only():
    listed = sources("metarl.training.train", environment_module("PointGoal"), root=PACKAGE)
    names = {Path(path).stem for path in listed}
    assert {"train", "vector", "point_goal"} <= names
    assert not names & {"half_cheetah", "mujoco_batch"}


def test_a_plug_in_counts_with_what_it_imports_below_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "plug_in_of_test_sources"
    (tmp_path / f"{name}.py").write_text(
        "import json\nfrom metarl.environments.point_goal import PointGoal\n"
    )
    listed = sources(environment_module(f"{name}:PointGoal"), root=PACKAGE)
    assert f"{name}.py" in listed  # relative, so that a workflow can move
    others = {Path(path).stem for path in listed if path != f"{name}.py"}
    assert {"point_goal", "vector", "errors"} <= others
    assert "swimmer" not in others
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert str(tmp_path / f"{name}.py") in sources(name, root=PACKAGE)


def test_an_unknown_environment():
    with pytest.raises(
        InputError,
        match="unknown environment 'Ant'; choose one of AntDir, AntDir2D, AntGoal, AntVel, HalfCh",
    ):
        environment_module("Ant")
