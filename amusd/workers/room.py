"""Which requests have cells at the target, and which wait for them.

Laws:
1. Requests are ordered by priority, lower numbers first, then by arrival. One that was set aside keeps its
   place.
2. Those that have cells never need more than there may be. When they would, the last in order is set aside,
   and so on; the first in order of them never is.
3. Nobody overtakes: none gets cells while one before it in order waits for them.
4. Whoever comes or comes back finds room for some tokens more than all have, so that none is set aside at
   once.

Cells are slots times the longest log (`amusd.models.cells`), so one long request makes all others dear.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from amusd.config import REQUESTS_MAX
from amusd.errors import InputError
from amusd.speculation.messages import RequestId

AHEAD_TOKENS: Final = 32
"""How much longer everybody may get before the room for one more is gone again: a prefill is thrown away when
a request is set aside, and should have been worth it."""

Fits = Callable[[int, int], bool]
"""Whether so many requests can have cells while the longest of them needs so many."""


@dataclass(frozen=True, slots=True, order=True)
class Need:
    """What one request needs; needs compare by their place in the order.

    Attributes:
        priority: lower ones come first.
        arrival: a number that grows from request to request.
        request: whose need it is.
        cells: that its next pass takes at most.
        cells_soon: the same when it is some tokens longer.
    """

    priority: int
    arrival: int
    request: RequestId = field(compare=False)
    cells: int = field(compare=False)
    cells_soon: int = field(compare=False)


def settle(holding: Sequence[Need], waiting: Sequence[Need], fits: Fits) -> list[Need]:
    """Who has cells from now on, in order.

    Args:
        holding: those that have some.
        waiting: those that have none.
        fits: monotonous: what fits does so with fewer requests or shorter ones. Each request fits alone.
    """
    kept, aside = sorted(holding), list[Need]()
    while len(kept) > 1 and not fits(len(kept), max(need.cells for need in kept)):
        aside.append(kept.pop())
    for need in sorted([*waiting, *aside]):
        longest = max(other.cells_soon for other in (*kept, need))
        if kept and not fits(len(kept) + 1, longest):
            break
        kept.append(need)
    return sorted(kept)


@dataclass(frozen=True, slots=True)
class _Claim:
    priority: int
    arrival: int
    length_max: int


class Room:
    """The requests of one target by their order; its owner frees and fills the cells.

    Args:
        fits: see `settle`.
        rows_max: most rows of a request in one pass, the root's included.
    """

    def __init__(self, fits: Fits, rows_max: int) -> None:
        self._fits = fits
        self._rows_max = rows_max
        self._claims: dict[RequestId, _Claim] = {}
        self._holding: set[RequestId] = set()
        self._arrivals = 0
        self.settled = True  # False: somebody came or went since `settle`

    @property
    def requests(self) -> list[RequestId]:
        """All of them."""
        return list(self._claims)

    @property
    def waiting(self) -> int:
        """How many have no cells."""
        return len(self._claims) - len(self._holding)

    def place(self, request: RequestId) -> tuple[int, int]:
        """Its place in the order."""
        claim = self._claims[request]
        return claim.priority, claim.arrival

    def enter(self, request: RequestId, priority: int, length_max: int) -> None:
        """Take a request, which waits from now on.

        Args:
            length_max: tokens at which it ends.

        Raises:
            InputError: there would never be room for it, or too many are open.
        """
        if len(self._claims) == REQUESTS_MAX:
            raise InputError(
                "max_requests", REQUESTS_MAX, "so many requests are open already; send fewer at a time"
            )
        if not self._fits(1, length_max):
            remedy = (
                "its cells alone take more than the target has; ask for less, or raise kv_cache_memory_bytes"
            )
            raise InputError("max_tokens", f"{length_max} tokens with the prompt", remedy)
        self._claims[request] = _Claim(priority, self._arrivals, length_max)
        self._arrivals += 1
        self.settled = False

    def leave(self, request: RequestId) -> None:
        """Forget a request."""
        del self._claims[request]
        self._holding.discard(request)
        self.settled = False

    def settle(self, length: Callable[[RequestId], int]) -> tuple[list[RequestId], list[RequestId]]:
        """Decide who has cells for the next pass.

        Args:
            length: of a request's log.

        Returns:
            those that have cells no more, the last in order first; and those that now have some, in order.
        """
        self.settled = True
        if not self.waiting:  # as in most passes
            longest = max((self._cells(claim, length(it)) for it, claim in self._claims.items()), default=0)
            if self._fits(len(self._claims), longest):
                return [], []
        needs = {request: self._need(request, length(request)) for request in self._claims}
        holding = [needs[request] for request in self._claims if request in self._holding]
        waiting = [needs[request] for request in self._claims if request not in self._holding]
        kept = [need.request for need in settle(holding, waiting, self._fits)]
        before, self._holding = self._holding, set(kept)
        aside = [need.request for need in sorted(holding, reverse=True) if need.request not in self._holding]
        return aside, [request for request in kept if request not in before]

    def _need(self, request: RequestId, length: int) -> Need:
        claim = self._claims[request]
        cells = self._cells(claim, length)
        soon = min(cells + AHEAD_TOKENS, claim.length_max)
        return Need(claim.priority, claim.arrival, request, cells, max(cells, soon))

    def _cells(self, claim: _Claim, length: int) -> int:
        """Of the next pass; the root's is the log's last, and nothing is written beyond the limit."""
        return min(length - 1 + self._rows_max, claim.length_max)
