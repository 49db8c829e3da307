"""Every call of a policy, in the order in which the engines make it.

The engines of `amusd.workers` decide by their policies alone; here the same calls stand in one place per
worker, so that a change of a policy's interface is a change of this file.
"""

from collections.abc import Collection

from amusd.config import Mode
from amusd.drafters.base import Expansion
from amusd.policies.drafting import draft_policy
from amusd.policies.verifying import verify_policy
from amusd.speculation.drafter import DrafterEndpoint
from amusd.speculation.messages import RequestId
from amusd.speculation.target import Limits, TargetEndpoint
from amusd.speculation.tree import TreeNode

Chains = dict[RequestId, list[TreeNode]]


class TargetDecisions:
    """What `TargetEngine` decides: when a pass starts and what it verifies."""

    def __init__(self, mode: Mode, num_speculative_tokens: int) -> None:
        self.limits = (
            Limits() if mode == "alone" else Limits(window=draft_policy(mode, num_speculative_tokens).window)
        )
        self._policy = verify_policy(mode, num_speculative_tokens)

    def deadline(
        self, endpoint: TargetEndpoint, decoding: Collection[RequestId], *, drafters: int, now: float
    ) -> float:
        """When the next pass starts at the latest, in seconds."""
        return self._policy.deadline(
            {request: len(chain) for request, chain in self._chains(endpoint, decoding).items()},
            {request: endpoint.room(request) for request in decoding},
            drafters=drafters,
            now=now,
        )

    def choose(self, endpoint: TargetEndpoint, decoding: Collection[RequestId]) -> Chains:
        """The nodes of each request that a pass verifies."""
        chains = self._chains(endpoint, decoding)
        widths = self._policy.widths(
            {
                request: [endpoint.tree(request).reach(node) for node in chain]
                for request, chain in chains.items()
            }
        )
        return {request: chain[: widths[request]] for request, chain in chains.items()}

    def on_proposal(self, request: RequestId) -> None:
        """A live node arrived."""
        self._policy.on_proposal(request)

    def on_pass(self, now: float) -> None:
        """A pass ended."""
        self._policy.on_pass(now)

    def forget(self, request: RequestId) -> None:
        """A request is over."""
        self._policy.forget(request)

    def _chains(self, endpoint: TargetEndpoint, decoding: Collection[RequestId]) -> Chains:
        return {request: endpoint.chain(request, self._policy.nodes_max) for request in decoding}


class DraftDecisions:
    """What `DraftEngine` decides: which nodes it expands next."""

    def __init__(self, mode: Mode, num_speculative_tokens: int) -> None:
        self._policy = draft_policy(mode, num_speculative_tokens)

    @property
    def window(self) -> int:
        """The size to give the endpoint's window."""
        return self._policy.window

    def choose(self, endpoint: DrafterEndpoint) -> list[Expansion]:
        """The nodes to expand in one step."""
        return self._policy.choose(endpoint)
