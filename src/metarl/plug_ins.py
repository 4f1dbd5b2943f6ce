"""People's own code by name: `package.module:attribute`, and where in it something went wrong."""

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from metarl.errors import InputError, shortened

OURS = Path(__file__).parent


def load(kind: str, name: str, form: str) -> object:
    """The object that `name` names, from the working directory or anything installed.

    Args:
      kind: what it is to be, for the error: "environment".
      name: `package.module:attribute`.
      form: what such a name looks like, likewise: "package.module:Class".

    Raises:
      InputError: it cannot be imported.
    """
    module, _, attribute = name.partition(":")
    sys.path.insert(0, os.getcwd())  # as `python -m` would: people try out a file of their own
    try:
        return getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:  # a module of anyone's may raise anything
        reason = shortened(f"{type(error).__name__}: {error}")
        raise InputError(f"cannot import {kind} {name!r} ({reason}); give {form}") from error
    finally:
        sys.path.pop(0)


def said(error: BaseException, function: Callable) -> str:
    """An error of anyone's function as part of a line: what it says, and where in their file."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    place = code and (line(error, Path(code.co_filename).parent) or definition(function))
    return f"{shortened(f'{type(error).__name__}: {error}')}, {place or 'no line known'}"


def line(error: BaseException, folder: Path) -> str | None:
    """file:line of the deepest line below their folder that led to the error; None without one."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{shown(error.filename)}:{error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        theirs = path.is_relative_to(folder) and not path.is_relative_to(OURS)
        if theirs and "site-packages" not in path.relative_to(folder).parts:
            return f"{shown(path)}:{frame.lineno}"
    return None


def definition(function: object) -> str | None:
    """file:line of a function; None where it is not written in Python."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{shown(code.co_filename)}:{code.co_firstlineno}" if code else None


def shown(path: Path | str) -> str:
    """A path as short as it can be written from the working folder."""
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else str(path)
