"""What `snakemake all` shows while it runs: a line when a job starts and ends, and an ETA.

A logger plug-in of Snakemake 9 (`--logger metarl`, which profiles/default chooses). Of a job that
takes long, the last line of its log comes along, once in a while; of one that fails, the end of it.
Warnings, other errors and whatever Snakemake says of a dry run are left as they are. It writes
lines alone: a terminal and a file get the same.
"""

import argparse
import logging
import sys
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_metarl.forecast import seconds_left

TAIL_AFTER = 60.0  # seconds that a job runs before the end of its log is shown, and between two
TAIL_BYTES = 4096
TAIL_LINES = 20  # of the log of a job that failed
SILENT = (LogEvent.SHELLCMD, LogEvent.RESOURCES_INFO, LogEvent.WORKFLOW_STARTED)
NOISE = (  # before every job, and before all
    *("Select jobs to execute", "Execute "),
    *("Using shell", "Singularity containers", "Assuming unrestricted"),
)
LOCKED = "Directory cannot be locked"  # Snakemake's words for it, which it says twice


@dataclass
class Job:
    """A job that runs.

    Attributes:
      rule: whose it is.
      name: what it is.
      log: file of what it says, if it has one.
      started: when, in seconds.
      told: when the end of its log was shown last.
      line: which then was its last one.
    """

    rule: str
    name: str
    log: str | None
    started: float
    told: float
    line: str = ""


def job_name(rule: str, message: str | None, wildcards: dict) -> str:
    """The rule's message; without one, its name and wildcards."""
    if message:
        return message
    return " ".join([rule, *(f"{name}={value}" for name, value in wildcards.items())])


def duration(seconds: float) -> str:
    """Seconds below two minutes, minutes below two hours, then hours."""
    for length, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def last_lines(path: str | None) -> list[str]:
    """The last lines that a log has, none where there is no log."""
    try:
        with open(path or "", "rb") as file:
            file.seek(max(0, Path(path).stat().st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    return [line.rstrip() for line in lines if line.strip()][-TAIL_LINES:]


def refuse_unreadable_configuration(arguments: list[str]) -> None:
    """Exits in one line where --configfile names no configuration.

    Snakemake reads the file before the Snakefile, and says neither which it is nor which line.
    """
    from metarl import configuration
    from metarl.errors import InputError

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", default=[])
    given, _ = parser.parse_known_args(arguments)
    for path in given.configfile:
        try:
            configuration.load(Path(path))
        except InputError as error:
            print(error, file=sys.stderr)
            sys.exit(2)


class LogHandler(LogHandlerBase):
    """See the module. Snakemake calls `emit` in a thread of its own."""

    def __post_init__(self) -> None:
        from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter

        common = self.common_settings
        refuse_unreadable_configuration(sys.argv[1:])
        self._stream = sys.stdout if common.stdout else sys.stderr
        self._rest = ColorizingTextHandler(nocolor=common.nocolor, stream=self._stream)
        self._rest.addFilter(
            DefaultFilter(
                common.quiet,
                common.debug_dag,
                common.verbose,
                common.dryrun,
                common.printshellcmds,
            )
        )
        self._rest.setFormatter(DefaultFormatter(common.quiet, common.show_failed_logs))
        self._jobs: dict[int, Job] = {}
        self._guard, self._stopped = threading.Lock(), threading.Event()
        self._began, self._total, self._done = time.monotonic(), 0, 0
        self._locked = False  # whether it was said
        # by rule: the jobs that there are, those that started, and the seconds of those that ended
        self._planned: Counter[str] = Counter()
        self._begun: dict[str, set[int]] = defaultdict(set)
        self._finished: dict[str, list[float]] = defaultdict(list)
        if not common.dryrun:
            threading.Thread(target=self._tell_tails, daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", None)
        if self.common_settings.dryrun or not self._tell(event, record):
            self._rest.handle(record)

    def _tell(self, event: LogEvent | None, record: logging.LogRecord) -> bool:
        """Says in a line what has happened; False where that is Snakemake's to say."""
        now = time.monotonic()
        if event == LogEvent.RUN_INFO:
            self._began, self._planned = now, Counter(record.stats)
            self._total = self._planned.pop("total")
            self._say(f"jobs to run: {self._total}")
        elif event == LogEvent.JOB_INFO:
            name = job_name(record.rule_name, record.rule_msg, record.wildcards)
            log = record.log[0] if record.log else None
            with self._guard:
                self._jobs[record.jobid] = Job(record.rule_name, name, log, now, now)
            self._begun[record.rule_name].add(record.jobid)  # once, though it may be tried again
            self._say(f"start  {name}" + (f"  (log: {log})" if log else ""))
        elif event == LogEvent.JOB_FINISHED:
            with self._guard:
                job = self._jobs.pop(record.job_id, None)
                self._done += 1
            if job is not None:
                took = now - job.started
                self._finished[job.rule].append(took)
                done = f"{self._done} of {self._total} jobs{self._eta(now)}"
                self._say(f"end    {job.name}  ({duration(took)}; {done})")
        elif event == LogEvent.JOB_ERROR:
            with self._guard:
                job = self._jobs.pop(record.jobid, None)
            if job is None:
                return False
            self._say(f"FAILED {job.name}  (log: {job.log}, which ends in)")
            for line in last_lines(job.log):
                print(f"           {line}", file=self._stream, flush=True)
        elif LOCKED in str(record.msg):
            if not self._locked:
                self._say(
                    "another snakemake runs in this folder, or one was killed there; where none"
                    " runs, give the same command with --unlock added, and then again without"
                )
            self._locked = True
        else:
            noise = record.levelno <= logging.WARNING and str(record.msg).startswith(NOISE)
            return event in (*SILENT, LogEvent.JOB_STARTED, LogEvent.PROGRESS) or noise
        return True

    def _eta(self, now: float) -> str:
        """When all will be done, in words; nothing where no job tells, or none is left."""
        begun = Counter({rule: len(jobs) for rule, jobs in self._begun.items()})
        running = [(job.rule, now - job.started) for job in self._jobs.values()]
        waiting = self._planned - begun
        if not waiting and not running:
            return ""
        left = seconds_left(waiting, running, self._finished, now - self._began)
        return "" if left is None else f", ETA about {duration(left)}"

    def _say(self, text: str) -> None:
        print(f"{datetime.now():%H:%M:%S}  {text}", file=self._stream, flush=True)

    def _tell_tails(self) -> None:
        """The last line of the log of every job that takes long, until the handler is closed."""
        while not self._stopped.wait(TAIL_AFTER / 10):
            now = time.monotonic()
            with self._guard:
                long = [job for job in self._jobs.values() if now - job.told >= TAIL_AFTER]
                for job in long:
                    job.told = now
            for job in long:
                line = "".join(last_lines(job.log)[-1:])
                if line != job.line:
                    job.line = line
                    self._say(f"       {job.name}: {line}")

    def close(self) -> None:
        self._stopped.set()
        super().close()

    @property
    def writes_to_stream(self) -> bool:
        return True

    @property
    def writes_to_file(self) -> bool:
        return False

    @property
    def has_filter(self) -> bool:
        return True

    @property
    def has_formatter(self) -> bool:
        return True

    @property
    def needs_rulegraph(self) -> bool:
        return False
