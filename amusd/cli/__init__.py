"""The command line: `amusd generate`, `amusd simulate`, `amusd doctor`, `amusd worker`."""

from amusd.cli.app import main

__all__ = ["main"]
