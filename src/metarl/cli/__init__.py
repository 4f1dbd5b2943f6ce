"""The command line, `metarl COMMAND`."""

from metarl.cli.parse import main

__all__ = ["main"]
