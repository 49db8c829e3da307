"""Every call of a policy, in the order in which the engines make it.

The engines of `amusd.workers` decide by their policies alone; here the same calls stand in one place per
worker, so that a change of a policy's interface is a change of this file.
"""

from collections.abc import Collection, Mapping, Sequence

from amusd.config import Mode, VerifyName
from amusd.drafters.base import Candidates, Expansion
from amusd.policies import choices, costs
from amusd.policies.calibration import Calibration, Forecasts
from amusd.policies.choices import Choice
from amusd.policies.drafting import draft_policy
from amusd.policies.verifying import verify_policy
from amusd.simulation.clock import MS_PER_SECOND
from amusd.simulation.curves import CostCurve
from amusd.speculation.drafter import DrafterEndpoint, LogChange
from amusd.speculation.messages import DrafterId, NodeId, RequestId
from amusd.speculation.target import Guess, Limits, TargetEndpoint
from amusd.speculation.tree import TreeNode

Choices = dict[RequestId, Choice]


class TargetDecisions:
    """What `TargetEngine` decides: when a pass starts and what it verifies.

    Args:
        curve: of a pass; the policy starts with what it says, as it does with what a start-up measures.
    """

    def __init__(self, mode: Mode, verify: VerifyName, num_speculative_tokens: int, curve: CostCurve) -> None:
        self.limits = (
            Limits() if mode == "alone" else Limits(window=draft_policy(mode, num_speculative_tokens).window)
        )
        self._choose = choices.CHOOSERS[verify]
        self._policy = verify_policy(mode, num_speculative_tokens)
        self._policy.costs = costs.CostCurve(
            {rows: curve.ms(rows) / MS_PER_SECOND for rows in range(1, num_speculative_tokens + 2)},
            curve.rows_step,
        )
        self._calibrations: dict[DrafterId, Calibration] = {}
        self._choices: Choices | None = None  # until something changes them

    def changed(self) -> None:
        """Something happened that may change the choices."""
        self._choices = None

    def attach(self, drafter: DrafterId) -> None:
        """A drafter said hello."""
        self._calibrations[drafter] = Calibration()

    def deadline(self, endpoint: TargetEndpoint, decoding: Collection[RequestId], now: float) -> float:
        """When the next pass starts at the latest, in seconds."""
        return self._policy.deadline(
            {request: choice.reaches for request, choice in self._all(endpoint, decoding).items()},
            {request: endpoint.room(request) for request in decoding},
            prospect=max((each.prospect for each in self._calibrations.values()), default=0.0),
            now=now,
        )

    def choose(self, endpoint: TargetEndpoint, decoding: Collection[RequestId]) -> Choices:
        """The nodes of each request that a pass verifies."""
        chosen = self._all(endpoint, decoding)
        widths = self._policy.widths({request: choice.reaches for request, choice in chosen.items()})
        return {request: choice.first(widths[request]) for request, choice in chosen.items()}

    def on_proposal(self, request: RequestId, drafter: DrafterId, at: float) -> None:
        """A live node arrived, `at` seconds."""
        self._policy.on_proposal(request, drafter, at)

    def on_guesses(self, guesses: Sequence[Guess]) -> None:
        """What the drafters had guessed below committed tokens."""
        for guess in guesses:
            calibration = self._calibrations[guess.drafter]
            calibration.observe(guess.score, guess.hit)
            if guess.rank == 0:
                calibration.observe_best(guess.hit)

    def on_pass(
        self, verified: Mapping[RequestId, int], accepted: Mapping[RequestId, int], start: float, end: float
    ) -> None:
        """A pass ended; how many nodes of each request it verified and accepted."""
        self.changed()
        self._policy.costs.observe(len(verified), max(verified.values()) + 1, end - start)
        self._policy.on_pass(verified, accepted, end)

    def forget(self, request: RequestId) -> None:
        """A request is over."""
        self._policy.forget(request)

    def _all(self, endpoint: TargetEndpoint, decoding: Collection[RequestId]) -> Choices:
        """The nodes of each request that a pass could verify now."""
        if self._choices is None:
            self._choices = {
                request: self._choose(
                    endpoint.tree(request),
                    min(self._policy.nodes_max, endpoint.room(request)),
                    self._estimate,
                )
                for request in decoding
            }
        return self._choices

    def _estimate(self, node: TreeNode) -> float:
        claims = node.aliases.items()
        return max(self._calibrations[drafter].estimate(score) for (drafter, _), score in claims)


class DraftDecisions:
    """What `DraftEngine` decides: which nodes it expands next, and which candidates it hangs below them."""

    def __init__(self, mode: Mode, num_speculative_tokens: int) -> None:
        self._policy = draft_policy(mode, num_speculative_tokens)
        self._forecasts = Forecasts()

    @property
    def window(self) -> int:
        """The size to give the endpoint's window."""
        return self._policy.window

    def open(self, request: RequestId) -> None:
        """Follow a request."""
        self._forecasts.open(request, greedy=False)

    def close(self, request: RequestId) -> None:
        """Forget a request."""
        self._forecasts.close(request)

    def follow(self, change: LogChange) -> None:
        """Learn from what became of the guesses."""
        if change.truncated:
            self._forecasts.truncate(change.request)
        else:
            self._forecasts.on_commit(
                change.request, change.committed, change.dropped, change.tokens, change.length
            )

    def choose(self, endpoint: DrafterEndpoint) -> list[Expansion]:
        """The nodes to expand in one step."""
        return self._policy.choose(endpoint)

    def grow(self, endpoint: DrafterEndpoint, choice: Expansion, claims: Candidates) -> list[NodeId]:
        """Hang the candidates that are likely enough below their node."""
        request, node = choice.request, choice.node
        tree = endpoint.tree(request)
        parent = tree.root if node is None else endpoint.node(request, node)
        assert parent is not None, "nothing changes a tree while its worker drafts"
        estimates = self._forecasts.calibrate(request, node, choice.position, claims)
        return endpoint.grow(request, node, self._policy.worth_proposing(tree.reach(parent), estimates))
