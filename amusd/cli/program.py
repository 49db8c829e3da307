"""The program: one command of `app`, and what becomes of its errors: one line on stderr and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted, 143 terminated.
"""

import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import typer

from amusd.cli.app import app
from amusd.errors import AmusdError, InputError

COMMANDS = ("generate", "batch", "serve", "coordinator", "worker", "chat", "doctor", "simulate", "bench")
EXIT_FAILURE, EXIT_USAGE, EXIT_TERMINATED = 1, 2, 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    A reader of the output that leaves early (`| head`) ends the command with code 1 and no word, Ctrl-C
    with 130; typer sees to both.

    Args:
        arguments: without the program's name; None takes those of the process.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        with _termination_as_exit():
            return int(app(given or ["--help"], prog_name="amusd", standalone_mode=False) or 0)
    except typer.TyperException as error:
        what = error.format_message().rstrip(".")
        command = f" {given[0]}" if given[0] in COMMANDS else ""
        return _report(f"{what}; see amusd{command} --help", EXIT_USAGE)
    except AmusdError as error:
        return _report(str(error), EXIT_USAGE if isinstance(error, InputError) else EXIT_FAILURE, given)
    except Exception as error:  # noqa: BLE001 - the outermost boundary: a defect is reported in one line too
        what = f"internal error: {type(error).__name__}: {error}; --debug shows where"
        return _report(what, EXIT_FAILURE, given)


def _report(message: str, code: int, arguments: Sequence[str] = ()) -> int:
    """Print an error as one line, after its traceback where --debug asks for it."""
    if "--debug" in arguments:
        traceback.print_exc()
    print(f"amusd: {' '.join(message.split())}", file=sys.stderr)
    return code


@contextmanager
def _termination_as_exit() -> Iterator[None]:
    """SIGTERM unwinds the stack as Ctrl-C does, so that workers are stopped on the way out."""

    def leave(_signal: int, _frame: FrameType | None) -> None:
        raise SystemExit(EXIT_TERMINATED)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
