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
    return f"{shortened(f'{type(error).__name__}: {error}')}, {place(error, function)}"


def place(error: BaseException, function: Callable) -> str:
    """file:line of the deepest line of their folder that led to the error, else of the function."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return "no line known"
    folder = Path(code.co_filename).parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        ours = path.is_relative_to(OURS) or not path.is_relative_to(folder)
        if not ours and "site-packages" not in path.relative_to(folder).parts:
            return f"{shown(path)}:{frame.lineno}"
    return f"{shown(code.co_filename)}:{code.co_firstlineno}"


def shown(path: Path | str) -> str:
    """A path as short as it can be written from the working folder."""
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else str(path)
