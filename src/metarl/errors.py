"""Errors that a user can mend."""

import textwrap


class InputError(ValueError):
    """Bad input. The message is one line: what was given, what is allowed, what to do.

    The command line prints it alone and exits with status 2.
    """


class RunError(RuntimeError):
    """A run that cannot go on (physics, a gradient that is not finite). The message is one line.

    The command line prints it alone and exits with status 1; the last good checkpoint stays.
    """


def shortened(message: str) -> str:
    """Anyone's message as one that fits into a line among others."""
    return textwrap.shorten(message, 300, placeholder=" ...")
