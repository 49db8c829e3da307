"""How much of a prompt is prefilled in one turn, so that running requests wait a bounded time for it.

Laws:
- With nobody decoding a chunk is as long as they get.
- Otherwise it is the longest that is foreseen to take no more than the stall that was allowed, or the
  shortest that there is. What is foreseen is what one took at the start-up, times what chunks of this size
  took compared with that.
- A single slow chunk, however slow, moves what is foreseen of its size by a third at most, and of the other
  sizes by a thirtieth: these learn, too, that the machine got slower or faster, and none is out of use for
  good. A size that was never seen learns from the others as if they were its own.
"""

from collections.abc import Callable
from typing import Final

CHUNKS: Final = (24, 44, 100, 256)
"""Rows of a chunk; those of which the self-check compares the bits (`amusd.models.selfcheck`)."""

_STEP, _STEP_OTHERS = 0.33, 0.033  # of the way towards what was seen
_FACTOR_MAX: Final = 2.0  # of surprise; more counts as this much

PassSeconds = Callable[[int, int], float]
"""What a pass of one request takes, by its rows and the cells that it attends to."""


class PrefillPace:
    """Sizes of chunks, learned from how long they took.

    Args:
        stall_seconds: how long a pass may be kept waiting.
        pass_seconds: what is foreseen before any chunk was seen.
    """

    def __init__(self, stall_seconds: float, pass_seconds: PassSeconds) -> None:
        self._stall_seconds = stall_seconds
        self._pass_seconds = pass_seconds
        self._ratios = dict.fromkeys(CHUNKS, 1.0)
        self._seen: set[int] = set()

    def rows(self, cells: int, *, decoding: bool) -> int:
        """The rows of the next chunk.

        Args:
            cells: that it attends to.
            decoding: whether anybody waits for it to end.
        """
        if not decoding:
            return CHUNKS[-1]
        short_enough = (rows for rows in CHUNKS if self.seconds(rows, cells) <= self._stall_seconds)
        return max(short_enough, default=CHUNKS[0])

    def seconds(self, rows: int, cells: int) -> float:
        """How long a chunk is foreseen to take."""
        return self._pass_seconds(rows, cells) * self._ratios[rows]

    def observe(self, rows: int, cells: int, seconds: float) -> None:
        """A chunk took so long; one of another size, the end of a prompt, teaches nothing."""
        if rows not in self._ratios:
            return
        self._seen.add(rows)
        seen = seconds / self._pass_seconds(rows, cells)
        for other, ratio in self._ratios.items():
            step = _STEP if other == rows or other not in self._seen else _STEP_OTHERS
            surprise = min(max(seen / ratio, 1 / _FACTOR_MAX), _FACTOR_MAX) - 1.0
            self._ratios[other] = ratio * (1.0 + step * surprise)
