"""Whether other random streams give the same verdicts: claims.json files of several base seeds."""

from collections.abc import Sequence
from pathlib import Path

from metarl.claims.model import REPORTED, UNDECIDED
from metarl.claims.page import read_json, table
from metarl.errors import InputError
from metarl.storage import require_writable, write_text

NOT_RUN = "not run"  # a claim without a judged measurement: its evidence was not made
SAME, FLIPS, AT_TIMES, ALONE = "yes", "**no**", "at times undecided", "not compared"


def stability(claims: Sequence[Path], output: Path) -> None:
    """Writes the verdicts of every claim in every file as a table in Markdown, flips first.

    What some runs did not measure is compared among the others.

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
    verdicts = [{c["id"]: verdict(c) for c in content["claims"]} for content in contents]
    rows = []
    for claim in contents[0]["claims"]:
        words = [of_file.get(claim["id"], "absent") for of_file in verdicts]
        rows.append([claim["id"], claim["level"], *words, agreement(words)])
    rows.sort(key=lambda row: (FLIPS, AT_TIMES, SAME, ALONE).index(row[-1]))
    flips, same, alone = (sum(row[-1] == kind for row in rows) for kind in (FLIPS, SAME, ALONE))
    heads = ["claim", "level", *(str(path.parent) for path in claims), "the same"]
    summary = (
        f"Verdicts of {len(claims)} runs whose random streams have nothing in common: the same for"
        f" {same} of {len(rows) - alone} claims that several judged, contradictory for {flips}."
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


def verdict(claim: dict) -> str:
    """That of an entry of claims.json, or NOT_RUN."""
    judged = any(one["outcome"] != REPORTED for one in claim["measurements"])
    return claim["verdict"] if judged else NOT_RUN


def agreement(verdicts: Sequence[str]) -> str:
    """Whether the verdicts on a claim are the same, contradict each other, or neither."""
    judged = [word for word in verdicts if word != NOT_RUN]
    if len(judged) < 2:
        return ALONE
    if len(set(judged)) == 1:
        return SAME
    return FLIPS if len(set(judged) - {UNDECIDED}) > 1 else AT_TIMES
