"""Every call of a policy, in the order in which the engines make it.

The engines of `amusd.workers` decide by their policies alone; here the same calls stand in one place per
worker, so that a change of a policy's interface is a change of this file.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

from amusd.drafters.base import Candidates, Expansion
from amusd.policies import choices, costs
from amusd.policies.calibration import Forecasts, Records
from amusd.policies.choices import Choice
from amusd.policies.drafting import STEP_ROWS_MAX, BestFirstPolicy, draft_policy
from amusd.policies.leading import Leads, PriceNews
from amusd.policies.table import SpeculationTable
from amusd.policies.verifying import verify_policy
from amusd.simulation.clock import MS_PER_SECOND
from amusd.simulation.roofline import Roofline
from amusd.simulation.scenario import Curve, Scenario
from amusd.speculation.drafter import DrafterEndpoint, LogChange
from amusd.speculation.messages import DrafterId, NodeId, Price, RequestId
from amusd.speculation.target import Guess, Limits, TargetEndpoint

Choices = dict[RequestId, Choice]

STEP_ROWS = 16  # up to so many are timed when a drafter is loaded


def _known_costs(curve: Curve, rows: int, requests: int) -> costs.CostCurve:
    """What the policy believes in the beginning."""
    known = {each: curve.ms(each) / MS_PER_SECOND for each in range(1, rows + 1)}
    if not isinstance(curve, Roofline):
        return costs.CostCurve(known, curve.rows_step)
    knots = sorted(known)
    while knots[-1] < rows * requests:
        knots.append(2 * knots[-1])
    seconds = [curve.ms(each) / MS_PER_SECOND for each in knots]
    found = costs.CostCurve(dict(zip(knots, seconds, strict=True)), curve.rows_step, together=True)
    found.resume(
        {
            "rows": knots,
            "seconds": seconds,
            "per_request": 0.0,
            "per_cell": (curve.ms(1, 1) - curve.ms(1)) / MS_PER_SECOND,
            "per_wide": 0.0,
            "passes": 0,
        }
    )
    return found


class TargetDecisions:
    """What `TargetEngine` decides: when a pass starts and what it verifies.

    The policy starts with what the curve of a pass says, as it does with what a start-up measures.
    """

    def __init__(self, scenario: Scenario) -> None:
        mode, count = scenario.mode, scenario.num_speculative_tokens
        self.limits = Limits()
        if mode != "alone":
            window = draft_policy(mode, count).window
            total = max(self.limits.nodes_total_max, 2 * window * scenario.requests)
            self.limits = Limits(window=window, nodes_total_max=total)
        self._choose = choices.CHOOSERS[scenario.verify]
        table = None if scenario.policy_table is None else SpeculationTable(scenario.policy_table)
        self._policy = verify_policy(mode, count, scenario.policy, table)
        self._policy.costs = _known_costs(scenario.target.curve, count + 1, scenario.requests)
        self._records = Records()
        self._choices: Choices | None = None  # until something changes them
        self._price_news = PriceNews()

    def changed(self) -> None:
        """Something happened that may change the choices."""
        self._choices = None

    def attach(self, drafter: DrafterId) -> None:
        """A drafter said hello."""
        self._records.attach(drafter)

    def open(self, request: RequestId) -> None:
        """Decode a request."""
        self._records.open(request, lookups=())

    def deadline(self, endpoint: TargetEndpoint, decoding: Collection[RequestId], now: float) -> float:
        """When the next pass starts at the latest, in seconds."""
        return self._policy.deadline(
            {request: choice.reaches for request, choice in self._all(endpoint, decoding).items()},
            {request: endpoint.room(request) for request in decoding},
            prospect=self._records.prospect(endpoint.drafting()),
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

    def on_guesses(self, request: RequestId, guesses: Sequence[Guess]) -> None:
        """What the drafters had guessed below committed tokens."""
        for guess in guesses:
            self._records.observe(request, guess)

    def on_pass(
        self, verified: Mapping[RequestId, int], accepted: Mapping[RequestId, int], start: float, end: float
    ) -> None:
        """A pass ended; how many nodes of each request it verified and accepted."""
        self.changed()
        self._policy.on_pass(verified, accepted, end)
        known = self._policy.costs
        known.observe(known.rows([1 + count for count in verified.values()]), len(verified), end - start)

    def price_for(self, drafter: DrafterId) -> list[Price]:
        """What a node has to be worth, where that is news to a drafter."""
        return self._price_news.tell(drafter, self._policy.price)

    def forget(self, request: RequestId) -> None:
        """A request is over."""
        self._policy.forget(request)
        self._records.close(request)

    def _all(self, endpoint: TargetEndpoint, decoding: Collection[RequestId]) -> Choices:
        """The nodes of each request that a pass could verify now."""
        if self._choices is None:
            self._choices = {
                request: self._choose(
                    endpoint.tree(request),
                    min(self._policy.nodes_max, endpoint.room(request)),
                    partial(self._records.estimate, request),
                    self._policy.price,
                )
                for request in decoding
            }
        return self._choices


class DraftDecisions:
    """What `DraftEngine` decides: which nodes it expands next, and which candidates it hangs below them.

    The policy starts with what the curve of a step says, as it does with what a start-up measures.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._policy = draft_policy(scenario.mode, scenario.num_speculative_tokens)
        rows_max = scenario.drafters.rows_max
        if rows_max is not None and isinstance(self._policy, BestFirstPolicy):
            self._policy = replace(self._policy, rows_max=rows_max)
        curve = scenario.draft_curve
        known = {rows: curve.ms(rows) / MS_PER_SECOND for rows in range(1, STEP_ROWS + 1)}
        self._policy.costs = costs.CostCurve(known, 1, rows_max or STEP_ROWS_MAX, together=True)
        self._forecasts = Forecasts()
        self._leads = Leads()
        self._price = 0.0

    @property
    def window(self) -> int:
        """The size to give the endpoint's window."""
        return self._policy.window

    def open(self, request: RequestId) -> None:
        """Follow a request."""
        self._forecasts.open(request, greedy=False)
        self._leads.open(request)

    def close(self, request: RequestId) -> None:
        """Forget a request."""
        self._forecasts.close(request)
        self._leads.close(request)

    def on_price(self, price: Price) -> None:
        """The target said what a node has to be worth."""
        self._price = price.reach

    def follow(self, change: LogChange) -> None:
        """Learn from what became of the guesses."""
        if change.truncated:
            self._forecasts.truncate(change.request)
            return
        hit = self._forecasts.on_commit(
            change.request, change.committed, change.dropped, change.tokens, change.length
        )
        if change.tokens:
            self._leads.on_commit(change.request, hit)

    def choose(self, endpoint: DrafterEndpoint) -> list[Expansion]:
        """The nodes to expand in one step."""
        return self._policy.choose(endpoint, self._least_reach)

    def on_step(self, choices: Sequence[Expansion], seconds: float) -> None:
        """A step that expanded these nodes took so long."""
        requests = len({choice.request for choice in choices})
        self._policy.costs.observe(len(choices), requests, seconds)

    def grow(self, endpoint: DrafterEndpoint, choice: Expansion, claims: Candidates) -> list[NodeId]:
        """Hang the candidates that are likely enough below their node."""
        request, node = choice.request, choice.node
        tree = endpoint.tree(request)
        parent = tree.root if node is None else endpoint.node(request, node)
        assert parent is not None, "nothing changes a tree while its worker drafts"
        estimates = self._forecasts.calibrate(request, node, choice.position, claims)
        return endpoint.grow(request, node, self._policy.worth_proposing(tree.reach(parent), estimates))

    def _least_reach(self, request: RequestId) -> float:
        return self._leads.least_reach(request, self._price, self._forecasts.prospect(request))
