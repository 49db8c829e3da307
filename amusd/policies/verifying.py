"""How many drafted nodes a target's pass takes, and how long it may wait for more of them.

Laws of every policy:
- A wait is bounded, and without a drafter there is none.
- Patience is spent once. A request whose drafts did not come in time is not waited for again until one
  does; so a dead drafter costs one patience per request, whatever its length.
- Time comes in as an argument, so that every decision can be tested.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from amusd.errors import InputError
from amusd.policies.adaptive import AdaptiveVerify
from amusd.policies.costs import CostCurve
from amusd.policies.fixed import FixedVerify, PearlVerify, fixed_widths
from amusd.policies.goodput import goodput_widths
from amusd.policies.table import SpeculationTable, TableVerify
from amusd.speculation.messages import DrafterId, RequestId

MODES = ("alone", "sync", "async", "amusd", "pearl")
AMUSD_NODES_WANTED = 2  # the paper's target verifies when two or more tokens wait (arXiv 2410.17375, sec. 3)
SYNC_PATIENCE_SECONDS = 0.5


class VerifyPolicy(Protocol):
    """Decides when a pass starts and how wide it is; owned by the target's thread.

    Its costs learn from every pass by what its owner tells them.

    Reaches, where they are an argument, are per request the estimated chances that each node of its choice
    is accepted, in the order in which nodes would be taken.
    """

    costs: CostCurve

    @property
    def nodes_max(self) -> int:
        """Most nodes of a request in one pass."""

    def deadline(
        self,
        reaches: Mapping[RequestId, Sequence[float]],
        rooms: Mapping[RequestId, int],
        *,
        prospect: float,
        now: float,
        drafted: Mapping[RequestId, int] | None = None,
    ) -> float:
        """When the next pass starts at the latest; `now` or earlier means at once.

        Args:
            rooms: nodes that each request can still use before its length ends it.
            prospect: the chance that a node that comes next is right, by its drafter's record; 0 where no
                drafter is attached.
            now: seconds on the clock of the answer.
            drafted: how many nodes of each choice, from the first on, came from attached drafters, from whom
                more may be awaited; the others were looked up. None: all.
        """

    def widths(
        self,
        reaches: Mapping[RequestId, Sequence[float]],
        weights: Mapping[RequestId, float] | None = None,
    ) -> dict[RequestId, int]:
        """How many nodes of each request's choice go into this pass.

        Args:
            weights: what a token of a request counts for, where that is not 1; see `urgency`.
        """

    @property
    def price(self) -> float:
        """The reach from which on a node pays for a row about the last pass's; 0 where all are taken."""

    @property
    def waits(self) -> Mapping[str, float]:
        """Seconds until a drafted node came, links included, by what it was awaited after; as learned."""

    def on_proposal(self, request: RequestId, drafter: DrafterId, now: float) -> None:
        """A drafter's live node for this request came in, at `now`."""

    def on_pass(
        self, verified: Mapping[RequestId, int], accepted: Mapping[RequestId, int], end: float
    ) -> None:
        """A pass ended at `end`; how many nodes of each request it verified and accepted."""

    def forget(self, request: RequestId) -> None:
        """A request is over."""


def verify_policy(
    mode: str,
    num_speculative_tokens: int,
    policy: str = "goodput",
    table: SpeculationTable | None = None,
) -> VerifyPolicy:
    """The policy of a mode.

    Args:
        mode: "alone", "sync", "async", and for comparison "amusd" (arXiv 2410.17375) and "pearl" (arXiv
            2408.11850).
        num_speculative_tokens: most nodes of a request in one pass.
        policy: of `async`: "goodput"; "fixed", which takes all nodes that there are; or "table".
        table: of that policy.

    Raises:
        InputError: another mode.
    """
    count = num_speculative_tokens
    match mode:
        case "alone":
            return FixedVerify(0, 0, 0.0)
        case "sync":
            return FixedVerify(count, count, SYNC_PATIENCE_SECONDS)
        case "amusd":
            return FixedVerify(count, min(AMUSD_NODES_WANTED, count), SYNC_PATIENCE_SECONDS)
        case "pearl":
            return PearlVerify(count, SYNC_PATIENCE_SECONDS)
        case "async" if policy == "table":
            assert table is not None, "the configuration was checked"
            return TableVerify(count, table)
        case "async":
            return AdaptiveVerify(count, {"fixed": fixed_widths, "goodput": goodput_widths}[policy])
        case _:
            raise InputError("mode", mode, f"a target worker knows {', '.join(MODES)}")
