"""What was seen of one run: who was asked how much, and when each request got what."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a run; times are seconds after the run's first arrival.

    Args:
        job: index into `LoadResults.jobs`.
        arrival: when it was due to be sent: a client that is late makes a latency longer, not shorter.
        first: when its first tokens came; None where none did.
        first_tokens: how many came together then.
        finished: when its last ones came; None where the run ended before.
        tokens: that came in all.
        exact: whether they are those of the target alone; None while it is not finished, and where it was
            not compared: transformers has other noise, so only its greedy answers are.
        passes, verified, accepted: as `RequestMetrics` counts them; 0 while it is not finished, and of
            transformers.
    """

    job: int
    arrival: float
    first: float | None = None
    first_tokens: int = 0
    finished: float | None = None
    tokens: int = 0
    exact: bool | None = None
    passes: int = 0
    verified: int = 0
    accepted: int = 0

    @property
    def latency(self) -> float | None:
        """Seconds from arrival to the last token."""
        return None if self.finished is None else self.finished - self.arrival

    @property
    def first_token(self) -> float | None:
        """Seconds from arrival to the first token."""
        return None if self.first is None else self.first - self.arrival

    @property
    def per_token(self) -> float | None:
        """Seconds per token after the first ones; None where nothing came later."""
        if self.finished is None or self.first is None or self.tokens == self.first_tokens:
            return None
        return (self.finished - self.first) / (self.tokens - self.first_tokens)


@dataclass(frozen=True, slots=True)
class Run:
    """One contender under one load.

    Args:
        contender: its key.
        rate: requests per second that were offered.
        repeat: from 0.
        seconds: from the first arrival until the last request was finished, or the run was ended.
    """

    contender: str
    rate: float
    repeat: int
    seconds: float
    requests: tuple[Request, ...]

    @property
    def finished(self) -> tuple[Request, ...]:
        """The requests that got their whole answer."""
        return tuple(request for request in self.requests if request.finished is not None)


@dataclass(frozen=True, slots=True)
class HeldRun:
    """One contender with so many requests at all times.

    Args:
        contender: its key.
        live: requests.
        repeat: from 0.
        tokens: that came in the window.
        seconds: of the window.
        answers: that were compared with the target alone's, unfinished ones as far as they went.
        different: those of them that were others.
    """

    contender: str
    live: int
    repeat: int
    tokens: int
    seconds: float
    answers: int
    different: int

    @property
    def tokens_per_second(self) -> float:
        """Of all requests together."""
        return self.tokens / self.seconds
