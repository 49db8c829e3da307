"""The results of a batch: one line each, in the order of the input, kept when the run is interrupted."""

import fcntl
import json
import os
from collections.abc import Sequence
from io import BufferedRandom
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from amusd.cli.batch_input import Line
from amusd.cli.screens import as_object
from amusd.errors import InputError
from amusd.outputs import RequestOutput


class BatchOutput:
    """A file with one result a line; what an earlier run has left there is kept and not decoded again.

    Args:
        lines: of the input; the results are theirs, from the first on.

    Attributes:
        done: how many lines have their result.

    Raises:
        InputError: the file cannot be written, another run writes it, or it holds something else than results
            of these lines.
    """

    def __init__(self, path: Path, lines: Sequence[Line]) -> None:
        self._path = path
        self._file = self._open()
        self.done = 0
        try:
            self._resume(lines)
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> BufferedRandom:
        try:
            file = os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        except OSError as error:
            remedy = f"cannot be written ({error.strerror}); choose another place"
            raise InputError("output", str(self._path), remedy) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise InputError("output", str(self._path), "another run writes it; wait for its end") from None
        return file

    def _resume(self, lines: Sequence[Line]) -> None:
        """Count the results; a last line that an interrupted run did not finish is cut off."""
        end = 0
        for number, result in enumerate(self._file, start=1):
            if not result.endswith(b"\n"):
                break
            expected = lines[number - 1] if number <= len(lines) else None
            if expected is None or _digest_of(result) != expected.digest:
                remedy = "is no result of this input with these settings; name another file, or remove it"
                raise InputError("output", f"{self._path}:{number}", remedy)
            end += len(result)
            self.done = number
        self._file.seek(end)
        self._file.truncate()

    def write(self, line: Line, output: RequestOutput) -> None:
        """Add the next line's result; it is in the file when this returns."""
        result: dict[str, Any] = {"line": line.number, "id": line.id, **as_object(output)}
        if output.siblings:
            result["siblings"] = [as_object(sibling) for sibling in output.siblings]
        self._file.write(json.dumps(result | {"digest": line.digest}).encode() + b"\n")
        self._file.flush()
        self.done += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _digest_of(result: bytes) -> object:
    """The digest that a result carries; None if it is none."""
    try:
        found = json.loads(result)
    except ValueError:
        return None
    return found.get("digest") if isinstance(found, dict) else None
