"""The ETA against a clock that the test sets."""

import pytest

from metarl import progress
from metarl.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A list whose last entry is the time."""
    times = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: times[-1])
    return times


def advance(work: Progress, clock: list[float], seconds: float, capsys) -> str:
    clock.append(clock[-1] + seconds)
    work.advance("place")
    output, errors = capsys.readouterr()
    assert output == ""
    return errors


def test_the_first_unit_compiles_and_is_left_out(clock, capsys):
    work = Progress("unit", [1.0, 2.0, 4.0, 8.0], shapes=["x"] * 4)
    assert capsys.readouterr().err == "compiling for the first unit ...\n"
    assert advance(work, clock, 30.0, capsys) == "place: unit 1/4\n"
    assert advance(work, clock, 1.0, capsys) == "place: unit 2/4, ETA 6 s\n"  # 1 s for a cost of 2
    assert advance(work, clock, 8.0, capsys) == "place: unit 3/4, ETA 12 s\n"  # 9 s for 6
    assert advance(work, clock, 1.0, capsys) == "place: unit 4/4\n"


def test_the_first_unit_of_every_shape_is_left_out(clock, capsys):
    work = Progress("unit", [1.0] * 5, shapes=["small", "large", "small", "large", "large"])
    capsys.readouterr()
    assert advance(work, clock, 30.0, capsys) == "place: unit 1/5\n"
    # all that is known: it compiled, and the pace of the others is no slower
    assert advance(work, clock, 20.0, capsys) == "place: unit 2/5, ETA 60 s\n"
    assert advance(work, clock, 1.0, capsys) == "place: unit 3/5, ETA 2 s\n"
    assert advance(work, clock, 3.0, capsys) == "place: unit 4/5, ETA 2 s\n"


def test_what_another_process_did_is_no_measure_of_this_ones_pace(clock, capsys):
    work = Progress("unit", [100.0, 1.0, 1.0, 2.0], done=1)
    assert capsys.readouterr().err == ""  # nothing compiles
    assert advance(work, clock, 10.0, capsys) == "place: unit 2/4\n"
    assert advance(work, clock, 2.0, capsys) == "place: unit 3/4, ETA 4 s\n"


def test_nothing_is_compiled_where_all_is_done(capsys):
    Progress("unit", [1.0], done=1, shapes=["x"])
    assert capsys.readouterr().err == ""
