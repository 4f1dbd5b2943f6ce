"""The key of a checkpoint: settings, code, and the files of estimators from outside."""

import pytest

from metarl.checkpoints import keyed_path
from metarl.estimators import estimator

AUDIT = ["metarl.audit.monte_carlo"]


def test_a_key_of_settings_code_and_folder(tmp_path):
    path = keyed_path(tmp_path, {"seed": 3, "names": ("a",)}, AUDIT, ["lsf"])
    assert path == keyed_path(tmp_path, {"names": ["a"], "seed": 3}, AUDIT, ["lsf"])
    assert path.parent == tmp_path
    assert path != keyed_path(tmp_path, {"seed": 4, "names": ("a",)}, AUDIT, ["lsf"])
    assert path != keyed_path(tmp_path, {"seed": 3, "names": ("a",)}, ["metarl.audit.exact"], [])


@pytest.mark.parametrize("position", [0, 1])
def test_an_edited_estimator_from_outside_is_other_code(tmp_path, monkeypatch, position):
    monkeypatch.chdir(tmp_path)
    file, name = tmp_path / f"weights_{position}.py", f"weights_{position}:w"
    file.write_text("def w(step):\n    return 0 * step.score_products\n")
    estimator(name)
    names = ["lsf"]
    names.insert(position, name)
    before = keyed_path(tmp_path, {}, AUDIT, names)
    assert keyed_path(tmp_path, {}, AUDIT, names) == before
    file.write_text("def w(step):\n    return step.score_products\n")
    assert keyed_path(tmp_path, {}, AUDIT, names) != before
