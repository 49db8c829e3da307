"""Every failure that amusd reports on purpose, each printable as one clear line.

The command line exits with 2 for an `InputError` (the caller can mend it) and with 1 for any other
`AmusdError`.
"""


class AmusdError(Exception):
    """Base of every error raised on purpose; `str()` is one line that says who, what and what to do."""


class InputError(AmusdError, ValueError):
    """A value given by the caller cannot be used.

    Args:
        field: the option or parameter as the caller wrote it, such as `temperature`.
        value: what was given; shown as it is, or quoted where nothing could be seen.
        remedy: what is wrong with it and what to give instead.
    """

    def __init__(self, field: str, value: object, remedy: str) -> None:
        super().__init__(field, value, remedy)
        self.field = field
        self.value = value
        self.remedy = remedy

    def __str__(self) -> str:
        """`field: value: remedy`."""
        plain = isinstance(self.value, str) and self.value.strip() and self.value.isprintable()
        shown = self.value if plain else repr(self.value)
        return f"{self.field}: {shown}: {self.remedy}"


class DeviceError(InputError):
    """A device does not exist, or is given twice."""


class ModelError(AmusdError):
    """A model cannot be loaded, or is of a kind that cannot be supported."""


class ProtocolError(AmusdError):
    """A peer broke the protocol; the message names the guilty side."""


class WorkerError(AmusdError):
    """A worker died or could not start."""


class AccessError(AmusdError):
    """A server wants another key than the one that was given, or one at all."""


class BusyError(AmusdError):
    """A server has as many requests running and waiting as it takes; the same request may succeed later.

    Attributes:
        retry_seconds: when there may be room again; None where nobody said.
    """

    def __init__(self, message: str, retry_seconds: int | None = None) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class UnavailableError(AmusdError):
    """A server cannot be reached, or does not take requests now: it starts, drains or has lost its target."""


class DeadlineError(AmusdError, TimeoutError):
    """The answer was not there in the time that the caller gave."""


class AbortedError(AmusdError):
    """Somebody asked to end the request before it was done."""
