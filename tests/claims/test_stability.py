"""Verdicts of several base seeds beside each other."""

import json

import pytest

from metarl.claims.stability import stability
from metarl.errors import InputError


@pytest.fixture
def write(tmp_path):
    """Writes a claims.json of the verdicts by id, in a folder of its own."""

    def write_claims(name, criteria="digest", **verdicts):
        claims = [
            {
                "id": name,
                "level": "exact",
                "verdict": word or "undecided",
                "measurements": [{"outcome": "holds" if word else "reported"}],
            }
            for name, word in verdicts.items()
        ]
        path = tmp_path / name / "claims.json"
        path.parent.mkdir()
        path.write_text(json.dumps({"criteria_sha256": criteria, "claims": claims}))
        return path

    return write_claims


def test_flips_stand_first_and_are_counted(write, tmp_path, capsys):
    first = write("a", same="reproduced", open="undecided", flip="reproduced", gone="reproduced")
    second = write("b", same="reproduced", open="reproduced", flip="not reproduced")
    stability([first, second], tmp_path / "stability.md")
    text = (tmp_path / "stability.md").read_text()
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][2:]
    assert [row[0].strip("| ") for row in rows] == ["flip", "gone", "open", "same"]
    assert [row[-1].strip("| ") for row in rows] == ["**no**"] * 2 + ["at times undecided", "yes"]
    assert rows[0][2:4] == ["reproduced", "not reproduced"] and rows[1][3] == "absent"
    assert (
        "the same for 1 of 4 claims that several judged, contradictory for 2"
        in capsys.readouterr().out
    )


def test_what_was_not_measured_is_no_verdict(write, tmp_path, capsys):
    """Nor does it make one of a claim that one run alone judged."""
    files = [
        write("a", same="reproduced", alone="reproduced", flip="reproduced"),
        write("b", same=None, alone=None, flip="not reproduced"),
        write("c", same="reproduced", alone=None, flip=None),
    ]
    stability(files, tmp_path / "stability.md")
    text = (tmp_path / "stability.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert [(row[0], *row[2:]) for row in rows[2:]] == [
        ("flip", "reproduced", "not reproduced", "not run", "**no**"),
        ("same", "reproduced", "not run", "reproduced", "yes"),
        ("alone", "reproduced", "not run", "not run", "not compared"),
    ]
    assert "the same for 1 of 2 claims that several judged, contradictory for 1" in (
        capsys.readouterr().out
    )


def test_bad_files_are_refused_and_nothing_is_written(write, tmp_path):
    first, other = write("a", x="reproduced"), write("b", criteria="moved", x="reproduced")
    (tmp_path / "text.json").write_text("[]")
    for files, message in (
        ([first], "1 claims.json given; give two or more"),
        ([first, other], "the files' criteria differ"),
        ([first, tmp_path / "text.json"], "is no claims.json"),
        ([first, tmp_path / "absent.json"], "is no claims.json"),
    ):
        with pytest.raises(InputError, match=message):
            stability(files, tmp_path / "stability.md")
    assert not (tmp_path / "stability.md").exists()
