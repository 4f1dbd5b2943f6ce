"""The command line: `metarl COMMAND`. Dispatch, and errors as one line."""

import contextlib
import io
import itertools
import logging
import os
import re
import sys
import warnings

import tyro

from metarl import __version__
from metarl.cli.commands import COMMANDS, Command
from metarl.errors import InputError, RunError


def usage() -> str:
    """The commands, a line each."""
    width = max(map(len, COMMANDS))
    lines = [
        f"  metarl {name:<{width}}  {(command.__doc__ or '').splitlines()[0]}"
        for name, command in COMMANDS.items()
    ]
    return "\n".join(["usage: metarl COMMAND ... (metarl COMMAND --help for its flags)", *lines])


def split_command(arguments: list[str]) -> tuple[str, list[str]]:
    """The command's name, of one or two words, and its arguments.

    Raises:
      InputError: no such command.
    """
    for words in (2, 1):
        name = " ".join(arguments[:words])
        if name in COMMANDS:
            return name, arguments[words:]
    given = f"unknown command {' '.join(arguments[:1])!r}" if arguments else "no command given"
    raise InputError(f"{given}; choose one of {', '.join(COMMANDS)}")


def parse(name: str, arguments: list[str]) -> Command:
    """The command's dataclass, filled from its flags.

    Raises:
      InputError: flags that do not fit, with tyro's page of explanation cut down to a line.
    """
    page = io.StringIO()
    try:
        with contextlib.redirect_stderr(page):
            return tyro.cli(COMMANDS[name], prog=f"metarl {name}", args=arguments)
    except SystemExit as stop:
        if stop.code == 0:  # --help
            raise
        lines = [
            line.strip(" \u2500\u2502\u256d\u256e\u2570\u256f")
            for line in page.getvalue().splitlines()
        ]
        _, *lines = [line for line in lines if line.strip("-")]  # no title, no rules
        ends = ("Argument help", "For full")
        lines = list(itertools.takewhile(lambda line: not line.startswith(ends), lines))
        text = " ".join(lines)
        if text.startswith("Missing from"):
            flags = itertools.takewhile(lambda line: not line.startswith("Unrecognized"), lines)
            text = "missing " + ", ".join(
                line.split()[0] for line in flags if re.match(r"--|[A-Z]+$", line)
            )
        raise InputError(f"{text}; see metarl {name} --help") from None


def load_tensorflow() -> None:
    """Imports TensorFlow without the lines that it writes past Python's sys.stderr meanwhile."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        import tensorflow_probability

        _ = tensorflow_probability.distributions.Normal  # both packages load lazily
        logging.getLogger("tensorflow").setLevel(logging.ERROR)  # a shape for each N is meant
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def main() -> None:
    """Runs a command.

    Bad input: one line on stderr and exit status 2. A failed run: one line and status 1.
    """
    try:
        if sys.stdout is None:
            raise InputError("standard output is closed; give it a place, /dev/null will do")
        run(sys.argv[1:])
        sys.stdout.flush()
    except InputError as error:
        sys.exit(stop(error, 2))
    except RunError as error:
        sys.exit(stop(error, 1))
    except KeyboardInterrupt:
        sys.exit(stop("interrupted; what was written stays valid, run again to go on", 130))
    except OSError as error:
        if error.filename is not None:  # a file's, not that of standard output
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left of it
        sys.exit(stop(f"the output was cut off ({error.strerror}); write it to a file", 1))


def run(arguments: list[str]) -> None:
    """Runs the command that the arguments name."""
    if arguments in (["--help"], ["-h"]):
        print(usage())
        return
    if arguments == ["--version"]:
        print(f"metarl {__version__}")
        return
    # NumPy's own, of numbers that overflow: what is not finite ends a command with a line about it
    warnings.simplefilter("ignore", RuntimeWarning)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Always as many TensorFlow threads as a run has shards, whatever --threads says: the same bits
    # on any machine.
    os.environ["TF_NUM_INTRAOP_THREADS"], os.environ["TF_NUM_INTEROP_THREADS"] = "2", "1"
    name, rest = split_command(arguments)
    command = parse(name, rest)
    if command.needs_tensorflow:
        load_tensorflow()
    command.run()


def stop(message: object, status: int) -> int:
    """Prints the message as one line on stderr; returns the exit status."""
    print("metarl: " + " ".join(str(message).split()), file=sys.stderr)
    return status
