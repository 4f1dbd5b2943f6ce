"""Whether other random streams give the same verdicts: claims.json files of several base seeds."""

from collections.abc import Sequence
from pathlib import Path

from metarl.claims.model import UNDECIDED
from metarl.claims.page import read_json, table
from metarl.errors import InputError
from metarl.storage import require_writable, write_text

SAME, FLIPS = "yes", "**no**"


def stability(claims: Sequence[Path], output: Path) -> None:
    """Writes the verdicts of every claim in every file as a table in Markdown, flips first.

    Args:
      claims: claims.json files, each of another base seed.
      output: Markdown file.

    Raises:
      InputError: fewer than two files, one that is no claims.json, or files of other criteria.
    """
    require_writable(output, inputs=claims)
    if len(claims) < 2:
        raise InputError(f"{len(claims)} claims.json given; give two or more, of other base seeds")
    contents = [read_json(path) for path in claims]
    if len({content["criteria_sha256"] for content in contents}) > 1:
        raise InputError("the files' criteria differ; judge all by the same")
    verdicts = [{c["id"]: c["verdict"] for c in content["claims"]} for content in contents]
    rows = []
    for claim in contents[0]["claims"]:
        words = [of_file.get(claim["id"], "absent") for of_file in verdicts]
        rows.append([claim["id"], claim["level"], *words, agreement(words)])
    rows.sort(key=lambda row: (row[-1] != FLIPS, row[-1] == SAME))
    flips, same = (sum(row[-1] == kind for row in rows) for kind in (FLIPS, SAME))
    heads = ["claim", "level", *(str(path.parent) for path in claims), "the same"]
    summary = (
        f"Verdicts of {len(claims)} runs whose random streams have nothing in common: the same for"
        f" {same} of {len(rows)} claims, contradictory for {flips}."
    )
    lines = [
        "# Stability",
        "",
        summary,
        "",
        *table(heads, rows),
    ]
    write_text("\n".join(lines) + "\n", output)
    print(summary)


def agreement(verdicts: Sequence[str]) -> str:
    """Whether the verdicts on a claim are the same, contradict each other, or neither."""
    if len(set(verdicts)) == 1:
        return SAME
    return FLIPS if len(set(verdicts) - {UNDECIDED}) > 1 else "at times undecided"
