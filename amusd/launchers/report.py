"""What a starting worker tells its launcher: one line, `AMUSD_READY {...}` or `AMUSD_FAILED {...}`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from amusd import errors
from amusd.errors import AmusdError, InputError, ModelError, WorkerError

_READY = "AMUSD_READY"
_FAILED = "AMUSD_FAILED"


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker serves.

    Args:
        address: `host:port`.
        pid: its process id.
    """

    address: str
    pid: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker could not start.

    Args:
        kind: name of the exception's class.
        message: one line.
        arguments: what the exception was made from, to make it again if amusd defines it.
    """

    kind: str
    message: str
    arguments: Sequence[Any] = ()

    @classmethod
    def from_exception(cls, error: Exception) -> "Failed":
        """Describe an exception in values that JSON can carry."""
        kind, message = type(error).__name__, " ".join(str(error).split())
        if not isinstance(error, AmusdError):
            return cls(kind, f"{kind}: {message}" if message else kind)
        arguments = [value if isinstance(value, str | int | float) else repr(value) for value in error.args]
        return cls(kind, message, arguments)

    def exception(self, worker: str) -> AmusdError:
        """The exception to raise in the launcher's process.

        What the caller can mend (model, device, option) keeps its type; the rest is a `WorkerError`.
        """
        kind = getattr(errors, self.kind, None)
        if isinstance(kind, type) and issubclass(kind, InputError | ModelError):
            return kind(*self.arguments)
        return WorkerError(f"{worker} could not start: {self.message}")


Report = Ready | Failed


def format_report(report: Report) -> str:
    """The report as one line, newline included."""
    word = _READY if isinstance(report, Ready) else _FAILED
    return f"{word} {json.dumps(asdict(report))}\n"


def parse_report(line: str) -> Report:
    """Read one line back.

    Raises:
        WorkerError: the line is not a report.
    """
    word, _, body = line.strip().partition(" ")
    try:
        match word:
            case "AMUSD_READY":
                return Ready(**json.loads(body))
            case "AMUSD_FAILED":
                return Failed(**json.loads(body))
    except (TypeError, ValueError):
        pass
    raise WorkerError(f"a worker sent {line.strip()[:200]!r} where {_READY} or {_FAILED} was expected")
