"""`async`: a wait only while it pays, then the nodes that `goodput`, `table` or `fixed` takes.

For one more node of reach r that is expected after tau seconds a pass waits as long as the gain outweighs the
cost:  r / E > (T(one more row) - T + tau) / T,  with E and T tokens and seconds of the pass that could start
now. Where a lookup has guessed what that node would say, only what this leaves open is gained.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from amusd.policies.costs import CostCurve
from amusd.policies.goodput import goodput_widths, price
from amusd.speculation.messages import DrafterId, RequestId

NEXT_SHARE: Final = 0.4
"""What a node that has not come is worth, as a share of its chance of acceptance: going on does not lose it.
With the usual chance of 0.75 that is 0.3; simulated with 0.7, 0.4, 0.3 and 0 (benchmarks/notes.md)."""

FIRST_SECONDS: Final = 0.003  # from a commit to the first node below it, before anything was seen
STEP_SECONDS: Final = 0.002  # between a drafter's frames, likewise
PATIENCE_SECONDS_MAX: Final = 0.05
_OVERDUE: Final = 2.0  # a node that takes so many times its expected time is not waited for
_INTERVALS: Final = 9  # remembered; the median is used
_TOKENS_STEP: Final = 0.1  # so the last ten passes count most


@dataclass(slots=True)
class _Pace:
    """When a request's nodes come."""

    committed: float  # end of the last pass, or when the request was first seen
    heard: dict[DrafterId, float] = field(default_factory=dict)  # each drafter's last frame since then
    emptied: float | None = None  # since when there has been nothing to verify
    first_seconds: list[float] = field(default_factory=list)
    step_seconds: list[float] = field(default_factory=list)
    lapsed: bool = False

    def expected_seconds(self, empty: bool) -> float | None:
        """From the last commit to a first node, or from a frame to the next; None before any was seen."""
        seen = self.first_seconds if empty else self.step_seconds
        return median(seen) if seen else None

    def remember(self, empty: bool, seconds: float) -> None:
        """It took so long."""
        seen = self.first_seconds if empty else self.step_seconds
        seen.append(seconds)
        del seen[:-_INTERVALS]


Widths = Callable[
    [Mapping[RequestId, Sequence[float]], CostCurve, Mapping[RequestId, float] | None], dict[RequestId, int]
]
"""A policy for the width: reaches, costs and weights to nodes by request, as `goodput_widths`."""


class AdaptiveVerify:
    """Chooses the patience from the costs of passes and the estimated acceptance.

    Args:
        nodes_max: most nodes of a request in one pass.
        choose: how many of these.
    """

    def __init__(self, nodes_max: int, choose: Widths = goodput_widths) -> None:
        self.costs = CostCurve({})
        self._nodes_max = nodes_max
        self._choose = choose
        self._paces: dict[RequestId, _Pace] = {}
        self._usual = _Pace(0.0)  # of the last requests together, for those that have seen nothing yet
        self._tokens = 1.0  # of a request in a pass
        self._price = 0.0
        self._asked: tuple[Mapping[RequestId, Sequence[float]], Mapping[RequestId, float]] = ({}, {})
        self._answer: dict[RequestId, int] = {}

    @property
    def price(self) -> float:
        """The reach from which on a node pays for a row about the last pass's; 0 where all are taken."""
        return self._price

    @property
    def waits(self) -> Mapping[str, float]:
        """Of the last requests, after a commit that left no node and after a node (see `VerifyPolicy`)."""
        found = {"commit": self._usual.expected_seconds(True), "node": self._usual.expected_seconds(False)}
        return {after: seconds for after, seconds in found.items() if seconds is not None}

    @property
    def nodes_max(self) -> int:
        """Most nodes of a request in one pass."""
        return self._nodes_max

    def deadline(
        self,
        reaches: Mapping[RequestId, Sequence[float]],
        rooms: Mapping[RequestId, int],
        *,
        prospect: float,
        now: float,
        drafted: Mapping[RequestId, int] | None = None,
    ) -> float:
        """When waiting stops to pay (see `VerifyPolicy`)."""
        widths = self.widths(reaches)
        tokens = sum(1.0 + sum(chain[: widths[request]]) for request, chain in reaches.items())
        taken = [1 + width for width in widths.values()]
        seconds = self.costs.of_widths(taken)
        more_seconds = self.costs.of_widths(taken, more=1) - seconds
        latest = now
        for request, chain in reaches.items():
            pace = self._paces.setdefault(request, _Pace(now))
            count = len(chain) if drafted is None else drafted[request]
            empty = count == 0
            if empty and pace.emptied is None:
                pace.emptied = pace.committed
            if not prospect or pace.lapsed or count > widths[request]:
                continue
            if count >= min(self._nodes_max, rooms[request]):
                continue
            looked_up = chain[count] if count < len(chain) else 0.0
            reach = ((1.0 if empty else chain[count - 1]) - looked_up) * prospect * NEXT_SHARE
            expected = self._expected_seconds(pace, empty)
            begun = pace.committed if empty else max((pace.committed, *pace.heard.values()))
            if reach / tokens <= (more_seconds + max(0.0, begun + expected - now)) / seconds:
                continue
            until = min(begun + _OVERDUE * expected, pace.committed + PATIENCE_SECONDS_MAX)
            if until <= now:
                self._overdue(pace, empty, now - begun)
            else:
                latest = max(latest, until)
        return latest

    def _expected_seconds(self, pace: _Pace, empty: bool) -> float:
        for known in (pace, self._usual):
            if (seconds := known.expected_seconds(empty)) is not None:
                return seconds
        return FIRST_SECONDS if empty else STEP_SECONDS

    def _remember(self, pace: _Pace, empty: bool, seconds: float) -> None:
        for known in (pace, self._usual):
            known.remember(empty, seconds)

    def _overdue(self, pace: _Pace, empty: bool, waited: float) -> None:
        pace.lapsed = True
        self._remember(pace, empty, waited)

    def widths(
        self,
        reaches: Mapping[RequestId, Sequence[float]],
        weights: Mapping[RequestId, float] | None = None,
    ) -> dict[RequestId, int]:
        """What the policy for the width says; asked again about the same object, the same answer."""
        if self._asked[0] is not reaches or self._asked[1] != (weights or {}):
            cut = {request: chain[: self._nodes_max] for request, chain in reaches.items()}
            self._asked = reaches, weights or {}
            self._answer = self._choose(cut, self.costs, weights)
        return self._answer

    def on_proposal(self, request: RequestId, drafter: DrafterId, now: float) -> None:
        """Learn when nodes come; this request is worth waiting for again."""
        pace = self._paces.get(request)
        if pace is None:
            return
        pace.lapsed = False
        if pace.emptied is not None:
            self._remember(pace, True, now - pace.emptied)
        elif drafter in pace.heard:
            self._remember(pace, False, now - pace.heard[drafter])
        pace.heard[drafter], pace.emptied = now, None

    def on_pass(
        self, verified: Mapping[RequestId, int], accepted: Mapping[RequestId, int], end: float
    ) -> None:
        """From now on nodes are waited for again."""
        requests, widths = len(verified), [1 + count for count in verified.values()]
        self._tokens += _TOKENS_STEP * (1.0 + sum(accepted.values()) / requests - self._tokens)
        if self._choose is goodput_widths:
            self._price = price(self._tokens * requests, widths, self.costs)
        for request in verified:
            pace = self._paces.get(request)
            if pace is not None:
                pace.committed = end
                pace.heard.clear()

    def forget(self, request: RequestId) -> None:
        """A request is over."""
        self._paces.pop(request, None)
