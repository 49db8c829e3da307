"""Policies that take a fixed number of nodes: the target alone, turns, the paper's chain, PEARL's phases.

And `fixed`, a width for `async`, to tell what choosing it is worth.
"""

from collections.abc import Mapping, Sequence

from amusd.policies.costs import CostCurve
from amusd.speculation.messages import DrafterId, RequestId


class FixedVerify:
    """Wait for `nodes_wanted` nodes of every request, then verify all there are, up to `nodes_max`.

    Args:
        nodes_max: most nodes of a request in one pass.
        nodes_wanted: nodes of a request that make a pass worth starting; at most `nodes_max`.
        patience_seconds: longest wait for them.
    """

    def __init__(self, nodes_max: int, nodes_wanted: int, patience_seconds: float) -> None:
        self.costs = CostCurve({})
        self._nodes_max = nodes_max
        self._nodes_wanted = nodes_wanted
        self._patience_seconds = patience_seconds
        self._since: dict[RequestId, float] = {}  # when the wait for each request's nodes began
        self._lapsed: set[RequestId] = set()  # requests that were waited for in vain

    @property
    def nodes_max(self) -> int:
        """Most nodes of a request in one pass."""
        return self._nodes_max

    def wanted(self, request: RequestId) -> int:
        """Nodes of this request that make a pass worth starting."""
        return self._nodes_wanted

    def deadline(
        self,
        reaches: Mapping[RequestId, Sequence[float]],
        rooms: Mapping[RequestId, int],
        *,
        prospect: float,
        now: float,
        drafted: Mapping[RequestId, int] | None = None,
    ) -> float:
        """When the patience for the last request that lacks nodes ends (see `VerifyPolicy`)."""
        waits = []
        for request, chain in reaches.items():
            until = self._since.setdefault(request, now) + self._patience_seconds
            count = len(chain) if drafted is None else drafted[request]
            enough = count >= min(self.wanted(request), rooms[request])
            if enough or request in self._lapsed or not prospect:
                continue
            if until <= now:
                self._lapsed.add(request)
            else:
                waits.append(until)
        return max(waits, default=now)

    @property
    def price(self) -> float:
        """No node is too unlikely."""
        return 0.0

    @property
    def waits(self) -> Mapping[str, float]:
        """Nothing: patience is fixed."""
        return {}

    def widths(
        self,
        reaches: Mapping[RequestId, Sequence[float]],
        weights: Mapping[RequestId, float] | None = None,
    ) -> dict[RequestId, int]:
        """All nodes there are, up to `nodes_max`."""
        return {request: min(len(chain), self._nodes_max) for request, chain in reaches.items()}

    def on_proposal(self, request: RequestId, drafter: DrafterId, now: float) -> None:
        """This request is worth waiting for again."""
        self._lapsed.discard(request)

    def on_pass(
        self, verified: Mapping[RequestId, int], accepted: Mapping[RequestId, int], end: float
    ) -> None:
        """The wait for the next pass's nodes begins."""
        self._since = dict.fromkeys(self._since, end)

    def forget(self, request: RequestId) -> None:
        """A request is over."""
        self._since.pop(request, None)
        self._lapsed.discard(request)


class PearlVerify(FixedVerify):
    """PEARL's two phases (arXiv 2408.11850, section 4).

    Pre-verify: after a rejection the first drafted token is verified by itself while the rest of its block
    is drafted. Post-verify: after acceptance a whole block is verified while the next one is drafted.
    """

    def __init__(self, nodes_max: int, patience_seconds: float) -> None:
        super().__init__(nodes_max, nodes_max, patience_seconds)
        self._flowing: set[RequestId] = set()  # requests in the post-verify phase

    def wanted(self, request: RequestId) -> int:
        """A block, or its first token after a rejection."""
        return self._nodes_max if request in self._flowing else 1

    def widths(
        self,
        reaches: Mapping[RequestId, Sequence[float]],
        weights: Mapping[RequestId, float] | None = None,
    ) -> dict[RequestId, int]:
        """A block, or its first token after a rejection."""
        return {request: min(len(chain), self.wanted(request)) for request, chain in reaches.items()}

    def on_pass(
        self, verified: Mapping[RequestId, int], accepted: Mapping[RequestId, int], end: float
    ) -> None:
        """A block that was accepted whole is followed by a block, anything else by a single token."""
        super().on_pass(verified, accepted, end)
        for request, count in verified.items():
            if count and accepted[request] == count:
                self._flowing.add(request)
            else:
                self._flowing.discard(request)

    def forget(self, request: RequestId) -> None:
        """A request is over."""
        super().forget(request)
        self._flowing.discard(request)


def fixed_widths(
    reaches: Mapping[RequestId, Sequence[float]],
    costs: CostCurve,
    weights: Mapping[RequestId, float] | None = None,
) -> dict[RequestId, int]:
    """All nodes there are, at any load (see `goodput_widths`)."""
    return {request: len(chain) for request, chain in reaches.items()}
