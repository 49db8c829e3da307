"""How much of a prompt is prefilled in one turn, so that running requests wait a bounded time for it.

Laws:
- With nobody decoding a chunk is as long as they get.
- Otherwise the chunks between two passes are foreseen to take no more than the stall that was allowed, all
  together, or are one, the shortest. Each is the longest that there is time for: prompts that wait are read
  for as long as they may be, since a pass of many requests costs each of them less than one of few.
- What is foreseen of a chunk is what one of its size took at the start-up, times what chunks of this size
  took compared with that; the end of a prompt, of any size, lies between the two sizes next to it.
- A single slow chunk, however slow, moves what is foreseen of its size by a third at most, and of the other
  sizes by a thirtieth: these learn, too, that the machine got slower or faster, and none is out of use for
  good. A size that was never seen learns from the others as if they were its own.
"""

from bisect import bisect_left
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

    def rows(self, left: int, cells: int, waited: float | None) -> int | None:
        """The rows of the next chunk; None where a pass has to go first.

        Args:
            left: rows of the prompt that are to be read.
            cells: that the chunk attends to.
            waited: for how many seconds chunks have kept the next pass waiting; None: nobody waits for one.
        """
        sizes = [*(rows for rows in CHUNKS if rows < left), min(left, CHUNKS[-1])]
        if waited is None:
            return sizes[-1]
        rest = self._stall_seconds - waited
        short_enough = (rows for rows in sizes if self.seconds(rows, cells) <= rest)
        return max(short_enough, default=None if waited else sizes[0])

    def seconds(self, rows: int, cells: int) -> float:
        """How long a chunk is foreseen to take."""
        return sum(
            share * self._pass_seconds(size, cells) * self._ratios[size] for size, share in _shares(rows)
        )

    def observe(self, rows: int, cells: int, seconds: float) -> None:
        """A chunk took so long; one of fewer rows than any size teaches nothing."""
        if rows < CHUNKS[0]:
            return
        shares = dict(_shares(rows))
        self._seen.update(shares)
        seen = seconds / sum(share * self._pass_seconds(size, cells) for size, share in shares.items())
        for size, ratio in self._ratios.items():
            own = shares.get(size, 0.0 if size in self._seen else 1.0)
            surprise = min(max(seen / ratio, 1 / _FACTOR_MAX), _FACTOR_MAX) - 1.0
            self._ratios[size] = ratio * (1.0 + max(own * _STEP, _STEP_OTHERS) * surprise)


def _shares(rows: int) -> list[tuple[int, float]]:
    """Between which sizes so many rows lie, at most the largest of them, and how near to each."""
    right = bisect_left(CHUNKS, rows)
    if not right or CHUNKS[right] == rows:
        return [(CHUNKS[right], 1.0)]
    share = (rows - CHUNKS[right - 1]) / (CHUNKS[right] - CHUNKS[right - 1])
    return [(CHUNKS[right - 1], 1.0 - share), (CHUNKS[right], share)]
