"""The README's claims are those of the ledger, and its commands exist."""

import json
import re
from pathlib import Path

from metarl.cli.commands import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_claims_table_is_the_ledgers():
    """Verdicts too, but for training and simulation: they may differ by rounding on another
    machine."""
    block = README.split("<!-- claims", 1)[1].split("<!-- end of claims -->", 1)[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines()[1:]]
    found = [row for row in rows if row][2:]
    claims = json.loads((ROOT / "paper_figures" / "claims.json").read_text())["claims"]
    columns = ("statement", "source", "level")
    assert [row[:3] for row in found] == [[each[key] for key in columns] for each in claims]
    for row, claim in zip(found, claims, strict=True):
        simulated = claim["level"] in ("training", "mujoco")
        assert simulated or row[3] == f"**{claim['verdict']}**"


def test_its_commands_exist():
    commands = re.findall(r"^metarl ((?:audit )?[\w-]+)", README, flags=re.MULTILINE)
    assert set(commands) <= set(COMMANDS) and len(commands) >= 6
