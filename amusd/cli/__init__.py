"""The command line: one function of `app` for each command."""

from amusd.cli.app import main

__all__ = ["main"]
