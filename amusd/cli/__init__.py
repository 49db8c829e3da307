"""The command line: one function of `app` for each command."""

from amusd.cli.program import main

__all__ = ["main"]
