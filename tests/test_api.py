"""What `import metarl` offers, as docs/api.md has it."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import metarl

DOCUMENT = (Path(__file__).parents[1] / "docs" / "api.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", DOCUMENT, flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_documented_examples_run(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("example.py").write_text(EXAMPLES[number])
    runpy.run_path("example.py")


def test_the_documented_names_exist():
    names = re.findall(r"^\| `metarl\.(\w+)", DOCUMENT, flags=re.MULTILINE)
    assert len(names) >= 6
    assert all(hasattr(metarl, name) and name in dir(metarl) for name in names)
    with pytest.raises(AttributeError, match="no attribute 'audti_exact'"):
        _ = metarl.audti_exact


def test_importing_metarl_imports_no_tensorflow():
    code = "import sys, metarl; metarl.environments; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
