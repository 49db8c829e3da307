"""How many drafted nodes a target's pass takes, and how long it may wait for more of them.

Laws:
- A wait is bounded: `deadline` is at most `patience_seconds` after the last pass, or after a request was
  first seen. Without a drafter there is none.
- Patience is spent once. A request whose drafts did not come in time is not waited for again until one
  does; so a dead drafter costs one patience per request, whatever its length.
- Time comes in as an argument, so that every decision can be tested.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from amusd.errors import InputError
from amusd.speculation.messages import RequestId

ROWS_STEP: Final = 4  # rows of a pass are a multiple of this
ROW_COST: Final = 0.033
"""What a row beyond the first four adds to a pass, as a share of it: 12 to 14 % for eight rows, 33 to 43 %
for sixteen, measured in bf16 on one Zen 5 core with 0.24 and 0.75 GB of weights (docs/design.md)."""

SYNC_PATIENCE_SECONDS: Final = 0.5
ASYNC_PATIENCE_SECONDS: Final = 0.005
ASYNC_NODES_WANTED: Final = 2


class VerifyPolicy:
    """Decides when a pass starts and how wide it is; owned by the target's thread.

    Args:
        nodes_max: most nodes of a request in one pass.
        nodes_wanted: nodes of a request that make a pass worth starting; at most `nodes_max`.
        patience_seconds: longest wait for them.
        fixed_width: take every node up to `nodes_max`, even where a narrower pass yields more per second.
    """

    def __init__(
        self, nodes_max: int, nodes_wanted: int, patience_seconds: float, *, fixed_width: bool
    ) -> None:
        self.nodes_max = nodes_max
        self._nodes_wanted = nodes_wanted
        self._patience_seconds = patience_seconds
        self._fixed_width = fixed_width
        self._since: dict[RequestId, float] = {}  # when the wait for each request's nodes began
        self._lapsed: set[RequestId] = set()  # requests that were waited for in vain

    def deadline(
        self, nodes: Mapping[RequestId, int], rooms: Mapping[RequestId, int], *, drafters: int, now: float
    ) -> float:
        """When the next pass starts at the latest; `now` or earlier means at once.

        Args:
            nodes: length of each live request's chain.
            rooms: nodes that each request can still use before its length ends it.
            drafters: how many are attached.
            now: seconds on the clock of the answer.
        """
        waits = []
        for request, count in nodes.items():
            until = self._since.setdefault(request, now) + self._patience_seconds
            if count >= min(self._nodes_wanted, rooms[request]) or request in self._lapsed or not drafters:
                continue
            if until <= now:
                self._lapsed.add(request)
            else:
                waits.append(until)
        return max(waits, default=now)

    def widths(self, reaches: Mapping[RequestId, Sequence[float]]) -> dict[RequestId, int]:
        """How many nodes of each request's chain go into this pass.

        All requests share the number of rows, so one is chosen that commits the most tokens per unit of
        time: each request is expected to commit one token and the sum of the reaches of its nodes.

        Args:
            reaches: per request, for each node of the chain the estimated chance that it is accepted.
        """
        longest = min(self.nodes_max, max((len(chain) for chain in reaches.values()), default=0))
        if not self._fixed_width:
            full = range(ROWS_STEP - 1, longest + ROWS_STEP, ROWS_STEP)  # nodes that fill a pass's rows
            choices = [min(nodes, longest) for nodes in full]
            longest = max(choices, key=lambda width: _yield(reaches.values(), width))
        return {request: min(len(chain), longest) for request, chain in reaches.items()}

    def on_proposal(self, request: RequestId) -> None:
        """A drafter proposed a live node of this request: it is worth waiting for again."""
        self._lapsed.discard(request)

    def on_pass(self, now: float) -> None:
        """A pass ended: the wait for the next one's nodes begins."""
        self._since = dict.fromkeys(self._since, now)

    def forget(self, request: RequestId) -> None:
        """A request is over."""
        self._since.pop(request, None)
        self._lapsed.discard(request)


def _yield(chains: Collection[Sequence[float]], width: int) -> float:
    """Expected tokens of a pass over its cost."""
    rows = -(-(width + 1) // ROWS_STEP) * ROWS_STEP
    tokens = sum(1.0 + sum(chain[:width]) for chain in chains)
    return tokens / (1.0 + ROW_COST * (rows - ROWS_STEP))


def verify_policy(mode: str, num_speculative_tokens: int) -> VerifyPolicy:
    """The policy of a mode.

    Args:
        mode: "alone", "sync" or "async".
        num_speculative_tokens: most nodes of a request in one pass.

    Raises:
        InputError: another mode.
    """
    if mode == "alone":
        return VerifyPolicy(0, 0, 0.0, fixed_width=True)
    if mode == "sync":
        count = num_speculative_tokens
        return VerifyPolicy(count, count, SYNC_PATIENCE_SECONDS, fixed_width=True)
    if mode == "async":
        wanted = min(ASYNC_NODES_WANTED, num_speculative_tokens)
        return VerifyPolicy(num_speculative_tokens, wanted, ASYNC_PATIENCE_SECONDS, fixed_width=False)
    raise InputError("mode", mode, "a target worker knows alone, sync and async")
