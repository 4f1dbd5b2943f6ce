"""People's own code by name: `package.module:attribute`."""

import importlib
import os
import sys

from metarl.errors import InputError


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
        raise InputError(
            f"cannot import {kind} {name!r} ({type(error).__name__}: {error}); give {form}"
        ) from error
    finally:
        sys.path.pop(0)
