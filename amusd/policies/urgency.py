"""What a token of a request is worth beside those of others, while its deadline is near.

More rows make a pass longer for all, so a request that is late is helped at the cost of the others. Where the
tokens per second of a pass are weighed up, those of such a request count for more. Without others nothing
changes: the width that gives a lone request the most tokens per second serves its deadline best too.

Laws:
- A request without a deadline, or one that will be in time at its present pace, counts once.
- The weight never falls while the pace that it needs grows, and is at most `WEIGHT_MAX`.
- Past the deadline it is 1 again: there is nothing left to win for it, and the others may have deadlines too.
- Time comes in as an argument.
"""

from dataclasses import dataclass
from typing import Final

from amusd.speculation.messages import RequestId

WEIGHT_MAX: Final = 8.0
SPEEDUP_MAX: Final = 4.0
"""By more than this speculation hardly makes anybody faster. Who needs it will be late, unless it ends before
its limit, as most do: it gets all that there is to give."""

_KEPT: Final = 0.8  # of the passes so far, at each pass: the last five or so make the pace


def weight(tokens_left: int, seconds_left: float, pace_seconds_per_token: float) -> float:
    """What a token of a request counts for, from 1 to `WEIGHT_MAX`.

    Grows evenly from a request that is just in time to one that would have to be `SPEEDUP_MAX` times as fast.

    Args:
        tokens_left: at most; it may end earlier.
        seconds_left: until its deadline; below 0 past it.
        pace_seconds_per_token: at present, above 0.
    """
    if tokens_left <= 0 or seconds_left <= 0.0:
        return 1.0
    speedup = min(tokens_left * pace_seconds_per_token / seconds_left, SPEEDUP_MAX)  # that it needs
    return 1.0 + (WEIGHT_MAX - 1.0) * max(0.0, speedup - 1.0) / (SPEEDUP_MAX - 1.0)


@dataclass(slots=True)
class _Run:
    """One request with a deadline; seconds and tokens are of its last passes, the older ones fading."""

    deadline: float
    length_max: int
    length: int
    passed: float | None = None  # when its last pass ended
    seconds: float = 0.0
    tokens: float = 0.0

    def weight(self, now: float) -> float:
        if not self.tokens:
            return 1.0  # its pace is not known yet
        return weight(self.length_max - self.length, self.deadline - now, self.seconds / self.tokens)


class Urgency:
    """The requests with a deadline, and how fast each of them is; owned by the target's thread."""

    def __init__(self) -> None:
        self._runs: dict[RequestId, _Run] = {}

    def open(self, request: RequestId, deadline: float, length: int, length_max: int) -> None:
        """A request should be finished at `deadline`, in seconds on the clock of `on_pass`.

        Args:
            length: of its log, as it begins here.
            length_max: at which it ends at the latest.
        """
        self._runs[request] = _Run(deadline, length_max, length)

    def on_pass(self, request: RequestId, length: int, now: float) -> None:
        """A pass ended at `now` and left a log of this length."""
        run = self._runs.get(request)
        if run is None:
            return
        if run.passed is not None:
            run.seconds = _KEPT * run.seconds + now - run.passed
            run.tokens = _KEPT * run.tokens + length - run.length
        run.passed, run.length = now, length

    def weights(self, now: float) -> dict[RequestId, float]:
        """Of every request that counts for more than once."""
        found = {request: run.weight(now) for request, run in self._runs.items()}
        return {request: value for request, value in found.items() if value > 1.0}

    def close(self, request: RequestId) -> None:
        """A request is over."""
        self._runs.pop(request, None)
