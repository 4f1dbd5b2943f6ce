"""The pages of docs/ and the README: their links lead somewhere; commands of docs/ exist."""

import re
from pathlib import Path

import pytest

from metarl.cli.commands import COMMANDS

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", [*DOCS, ROOT / "README.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.+)$", target.read_text(), flags=re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]
            assert heading in anchors, link


def test_commands_exist():
    text = "\n".join(page.read_text() for page in DOCS)
    commands = re.findall(r"^metarl ((?:audit )?[\w-]+)", text, flags=re.MULTILINE)
    assert len(commands) >= 5
    assert set(commands) <= set(COMMANDS)
