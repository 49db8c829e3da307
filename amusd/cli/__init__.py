"""The command line: `amusd generate`, `serve`, `chat`, `bench`, `simulate`, `doctor` and `worker`."""

from amusd.cli.app import main

__all__ = ["main"]
