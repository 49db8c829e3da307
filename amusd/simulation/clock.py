"""Virtual time: a queue of things that happen, in the order of their times.

Laws:

- Time is whole nanoseconds, so that a run is the same on every machine.
- What is due at the same time happens in the order in which it was asked for.
- Time never runs backwards, and it stands still while something happens.
"""

import heapq
import math
from collections.abc import Callable

MS_PER_SECOND = 1_000
NS_PER_MS = 1_000_000
NS_PER_SECOND = 1_000_000_000

Action = Callable[[], None]


class Clock:
    """The clock of one run."""

    def __init__(self) -> None:
        self.now_ns = 0
        self._queue: list[tuple[int, int, Action]] = []
        self._asked = 0

    @property
    def now_seconds(self) -> float:
        """What policies take for the time."""
        return self.now_ns / NS_PER_SECOND

    def after(self, delay_ns: int, action: Action) -> None:
        """Let `action` happen `delay_ns` from now, at the same instant if that is 0."""
        if delay_ns < 0:
            raise ValueError(f"a delay of {delay_ns} ns: nothing can happen in the past")
        heapq.heappush(self._queue, (self.now_ns + delay_ns, self._asked, action))
        self._asked += 1

    def step(self) -> bool:
        """Let the next thing happen; False if there is none."""
        if not self._queue:
            return False
        self.now_ns, _, action = heapq.heappop(self._queue)
        action()
        return True


def ns_from_ms(ms: float) -> int:
    """Whole nanoseconds, rounded up: something that takes time never takes none."""
    return math.ceil(ms * NS_PER_MS)
