"""The lines that `snakemake all` shows: from records as Snakemake makes them."""

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

import snakemake_logger_plugin_metarl as plugin
from snakemake_logger_plugin_metarl.forecast import seconds_left

COMMON = SimpleNamespace(
    **dict.fromkeys(("printshellcmds", "debug_dag", "verbose", "stdout", "dryrun"), False),
    nocolor=True,
    quiet=None,
    show_failed_logs=True,
)


@pytest.fixture
def made(monkeypatch):
    """Makes one, with a clock of its own, and no thread that tells the tails of logs by itself."""
    monkeypatch.setattr(plugin.sys, "argv", ["snakemake"])
    monkeypatch.setattr(plugin.threading.Thread, "start", lambda thread: None)
    monkeypatch.setattr(plugin.time, "monotonic", lambda: monkeypatch.clock)
    monkeypatch.clock = 100.0

    def make() -> plugin.LogHandler:
        handler = plugin.LogHandler(COMMON, None)
        handler.at = lambda seconds: setattr(monkeypatch, "clock", 100.0 + seconds)
        return handler

    return make


def say(handler, level: int = logging.INFO, msg: str | None = None, **extra) -> None:
    record = logging.LogRecord("snakemake", level, "file", 1, msg, None, None)
    record.__dict__.update(extra)
    handler.emit(record)


def start(
    handler, jobid: int, message: str | None = None, log: str | None = None, rule: str = "train_P"
) -> None:
    job = {"rule_name": rule, "rule_msg": message, "wildcards": {"algorithm": "lsf"}}
    log = [log] if log else []
    say(handler, event=LogEvent.JOB_INFO, jobid=jobid, log=log, input=["many"], **job)


def lines(capsys) -> list[str]:
    """What was said, without the time of day."""
    output, errors = capsys.readouterr()
    assert output == ""
    return [line[10:] for line in errors.splitlines()]


def end(handler, jobid: int) -> None:
    say(handler, event=LogEvent.JOB_FINISHED, job_id=jobid)


def test_a_line_when_a_job_starts_and_ends(made, capsys):
    handler = made()
    say(handler, event=LogEvent.RUN_INFO, stats={"train_P": 2, "all": 1, "total": 3})
    start(handler, 7, log="a.log")
    start(handler, 8, "training of lsf")
    say(handler, event=LogEvent.SHELLCMD, msg="metarl train")
    say(handler, msg="Select jobs to execute...")
    handler.at(30)
    end(handler, 8)
    handler.at(300)
    end(handler, 7)
    start(handler, 9, "all", rule="all")
    end(handler, 9)
    say(handler, event=LogEvent.PROGRESS, done=2, total=3)
    assert lines(capsys) == [
        "jobs to run: 3",
        "start  train_P algorithm=lsf  (log: a.log)",
        "start  training of lsf",
        # the other one, as old, is over any moment; then the target
        "end    training of lsf  (30 s; 1 of 3 jobs, ETA about 5 s)",
        "end    train_P algorithm=lsf  (5.0 min; 2 of 3 jobs, ETA about 5 s)",
        "start  all",
        "end    all  (0 s; 3 of 3 jobs)",
    ]


def test_a_light_job_tells_nothing_of_those_with_work(made, capsys):
    handler = made()
    stats = {"draw_budget": 2, "train_P": 1, "total": 3}
    say(handler, event=LogEvent.RUN_INFO, stats=stats)
    start(handler, 1, "a figure", rule="draw_budget")
    handler.at(4)
    end(handler, 1)
    start(handler, 2, "training")
    handler.at(64)
    end(handler, 2)
    said = lines(capsys)
    assert said[2] == "end    a figure  (4 s; 1 of 3 jobs)"
    assert said[4] == "end    training  (60 s; 2 of 3 jobs, ETA about 4 s)"


def test_a_job_that_is_tried_again_waits_once(made, capsys):
    handler = made()
    say(handler, event=LogEvent.RUN_INFO, stats={"train_P": 2, "total": 2})
    start(handler, 1, "first")
    say(handler, logging.ERROR, event=LogEvent.JOB_ERROR, jobid=1)
    start(handler, 1, "first")
    handler.at(60)
    end(handler, 1)
    assert lines(capsys)[-1] == "end    first  (60 s; 1 of 2 jobs, ETA about 60 s)"


@pytest.mark.parametrize(
    ("waiting", "running", "finished", "passed", "left"),
    [
        # nothing is known
        ({"train_P": 3}, [], {}, 0.0, None),
        ({"train_P": 3}, [("audit_mujoco", 9.0)], {"draw_budget": [3.0]}, 9.0, None),
        # figures alone: they tell of each other
        ({"draw_a": 2}, [], {"draw_b": [5.0]}, 5.0, 10.0),
        # as declared, one at a time: two of 350 s, and a figure
        ({"train_P": 2, "draw_a": 1}, [], {"train_P": [350.0]}, 350.0, 705.0),
        # two at a time
        ({"train_P": 2, "draw_a": 2}, [], {"train_P": [350.0, 350.0]}, 350.0, 355.0),
        # a tenth of the work (33 s of training): an audit has a tenth too, beside its start-up
        ({"audit_mujoco": 1}, [], {"train_P": [53.0]}, 53.0, 80.0),
        # twice the work, of which the one that runs has done a part
        ({}, [("train_P", 80.0)], {"audit_mujoco": [1220.0]}, 1300.0, 600.0),
        # the one that is left takes its time, however many cores wait for it
        ({"audit_mujoco": 1}, [], {"train_P": [350.0] * 4}, 350.0, 620.0),
        # of its own rule's jobs, which took less: 20 + 600 x (60 + 580) / 1200 once, and 80, 600
        ({"audit_mujoco": 1}, [], {"audit_mujoco": [80.0, 600.0]}, 680.0, (340 + 80 + 600) / 3),
        # start-up alone, as with what a checkpoint had
        ({"train_P": 2}, [], {"train_P": [8.0]}, 8.0, 28.0),
    ],
)
def test_what_is_left_follows_from_expectations_and_what_jobs_took(
    waiting, running, finished, passed, left
):
    assert seconds_left(waiting, running, finished, passed) == pytest.approx(left)


def test_a_job_that_fails_is_named_with_the_end_of_its_log(made, capsys, tmp_path):
    handler = made()
    log = tmp_path / "a.log"
    log.write_text("\n".join(f"line {number}" for number in range(100)))
    start(handler, 7, "training", str(log))
    say(handler, logging.ERROR, event=LogEvent.JOB_ERROR, jobid=7)
    _, failed, *tail = lines(capsys)
    assert failed == f"FAILED training  (log: {log}, which ends in)"
    assert [line.strip() for line in tail] == [f"line {number}" for number in range(80, 100)]


def test_warnings_and_errors_are_snakemakes(made, capsys):
    handler = made()
    say(handler, logging.WARNING, "a warning")
    say(handler, logging.ERROR, "an error")
    assert capsys.readouterr().err.splitlines() == ["a warning", "an error"]


def test_a_folder_that_is_locked_is_one_line_that_says_what_to_type(made, capsys):
    from snakemake.exceptions import LockException

    handler = made()
    text = str(LockException())
    say(handler, logging.ERROR, f"LockException:\n{text}")
    say(handler, logging.ERROR, text)
    (line,) = lines(capsys)
    assert "or one was killed there; where none runs, give the same command with --unlock" in line


def test_what_says_nothing_to_anyone_is_left_out(made, capsys):
    handler = made()
    say(handler, logging.WARNING, "Assuming unrestricted shared filesystem usage.")
    say(handler, logging.INFO, "Singularity containers: ignored")
    say(handler, logging.INFO, "Building DAG of jobs...")
    assert capsys.readouterr().err.splitlines() == ["Building DAG of jobs..."]


def test_the_end_of_a_long_jobs_log_is_shown_when_it_moves(made, capsys, tmp_path, monkeypatch):
    handler = made()
    log = tmp_path / "a.log"
    log.write_text("iteration 1/9\n\n")
    start(handler, 7, "training", str(log))
    waits = iter([(10, "iteration 2/9"), (70, "iteration 3/9"), (140, None), (210, "4/9")])

    def wait(seconds: float) -> bool:
        try:
            moment, text = next(waits)
        except StopIteration:
            return True
        handler.at(moment)
        if text:
            log.write_text(text)
        return False

    monkeypatch.setattr(handler._stopped, "wait", wait)
    handler._tell_tails()
    assert lines(capsys)[1:] == ["       training: iteration 3/9", "       training: 4/9"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2.0 min"), (7199, "120.0 min"), (7200, "2.0 h")],
)
def test_a_duration_in_words(seconds, text):
    assert plugin.duration(seconds) == text


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "mine.yaml: No such file or directory; give a file such as config/config.yaml"),
        (b"", "mine.yaml: holds no settings; allowed: keys with their values"),
        (b"\xff\x00", "mine.yaml: no YAML ('utf-8' codec can't decode"),
        (b"[1, 2]", "mine.yaml: holds a list; allowed: keys with their values"),
        (b"a: 1\nb: [2\nc: 3", "mine.yaml, line 3: no YAML (expected ',' or ']', but got ':')"),
    ],
)
def test_what_snakemake_cannot_read_is_one_line(tmp_path, monkeypatch, capsys, content, line):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("mine.yaml").write_bytes(content)
    for arguments in (["-n", "--configfile", "mine.yaml"], ["--configfile=mine.yaml", "-n"]):
        with pytest.raises(SystemExit) as stop:
            plugin.refuse_unreadable_configuration(arguments)
        assert stop.value.code == 2
        assert capsys.readouterr().err.startswith(line)
    plugin.refuse_unreadable_configuration(["-n", "all"])
