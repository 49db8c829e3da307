"""Which futures a drafter expands next, and how many candidates it asks for.

Laws:
- Only the root or a live node without children is expanded, never deeper than the policy's depth nor
  than the request's length allows, and never into a full window.
- The choice is a function of trees and weights alone, so a step can be repeated and tested.
- Scores in the trees are calibrated already (`policies.calibration`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import chain, islice
from typing import Final, Protocol
from weakref import WeakKeyDictionary

from amusd.drafters.base import Candidates, Expansion
from amusd.errors import InputError
from amusd.policies.costs import CostCurve
from amusd.policies.fronts import Front, Ranked, Sight, chain_end
from amusd.speculation.messages import NodeId, RequestId
from amusd.speculation.tree import SpeculationTree, TreeNode

STEP_ROWS_MAX: Final = 32  # of all requests in one step


class Futures(Protocol):
    """What a policy sees of the drafter's endpoint."""

    def requests(self) -> Sequence[RequestId]:
        """The requests that go on."""

    def tree(self, request: RequestId) -> SpeculationTree:
        """A request's tree."""

    def room(self, request: RequestId) -> int:
        """Nodes that its window still takes."""

    def depth_max(self, request: RequestId) -> int:
        """How deep below the root a node is of use before the request's length ends it."""


LeastReach = Callable[[RequestId], float]
"""The least reach of a future that is worth drafting, by request (see `policies.leading`)."""


def whatever(request: RequestId) -> float:
    """Every future is worth drafting."""
    return 0.0


def _unmeasured() -> CostCurve:
    return CostCurve({}, rows_multiple=1, together=True)


class DraftPolicy(Protocol):
    """Chooses the next step of a drafter.

    Attributes:
        costs: of the drafter's steps; its owner sets them, and they learn from every step.
    """

    costs: CostCurve

    @property
    def window(self) -> int:
        """Live nodes per request that the policy can use; the size to give the endpoint's window."""

    def choose(
        self,
        futures: Futures,
        least_reach: LeastReach = whatever,
        weights: Mapping[RequestId, float] | None = None,
    ) -> list[Expansion]:
        """The nodes to expand in one forward; empty while there is nothing to do but wait.

        Args:
            weights: what a token of a request counts for, where that is not 1; see `urgency`.
        """

    def worth_proposing(self, reach: float, candidates: Candidates) -> Candidates:
        """The candidates below a node of this reach that are worth a place in the window, best first."""


@dataclass(slots=True)
class ChainPolicy:
    """One guess per position down to `depth` below the root, then wait for the verdict.

    With the depth that a pass verifies this drafts in turns (`sync`); with more it runs free (`amusd`,
    `pearl`).

    Args:
        depth: longest chain.
    """

    depth: int
    costs: CostCurve = field(default_factory=_unmeasured, compare=False)

    @property
    def window(self) -> int:
        """One node per position."""
        return self.depth

    def worth_proposing(self, reach: float, candidates: Candidates) -> Candidates:
        """All of them."""
        return candidates

    def choose(
        self,
        futures: Futures,
        least_reach: LeastReach = whatever,
        weights: Mapping[RequestId, float] | None = None,
    ) -> list[Expansion]:
        """The end of each request's chain, if it may grow."""
        chosen = []
        for request in futures.requests():
            tree = futures.tree(request)
            end = chain_end(tree)
            depth = end.position - tree.root.position
            if depth < min(self.depth, futures.depth_max(request)) and futures.room(request) > 0:
                chosen.append(_expansion(request, tree, end, count=1))
        return chosen


@dataclass(slots=True)
class BestFirstPolicy:
    """The likeliest futures first, a few at a time, until the window is full: `async`.

    How many at a time is what gives the most reach per second of a step: `rows` of one request, for they cost
    little more than a single row (docs/design.md), up to as many of each of several.

    A future's worth is its reach, the product of the calibrated scores on its path: the chance that the
    target gets there. What is too unlikely is not drafted, so a drafter that guesses badly does little.

    Args:
        rows: nodes expanded in one forward, times the number of requests at most.
        depth_max: deepest node below the root.
        branch: candidates per node, fewer where the window is nearly full. A runner-up costs no forward
            until its turn comes, and it is a correction foreseen if the target takes it.
        reach_min: futures less likely than this are neither expanded nor proposed.
        rows_max: of all requests together; None: `rows`.
    """

    rows: int
    depth_max: int
    branch: int
    reach_min: float
    rows_max: int | None = None
    costs: CostCurve = field(default_factory=_unmeasured, compare=False)
    _sights: WeakKeyDictionary[SpeculationTree, Sight] = field(
        default_factory=WeakKeyDictionary, init=False, compare=False, repr=False
    )

    @property
    def window(self) -> int:
        """`branch` nodes for each position of the deepest chain, and as many for what branches off."""
        return 2 * self.depth_max * self.branch

    def choose(
        self,
        futures: Futures,
        least_reach: LeastReach = whatever,
        weights: Mapping[RequestId, float] | None = None,
    ) -> list[Expansion]:
        """The unexpanded nodes of highest reach, times its request's weight, over all requests.

        Branches never take the room that the best chain needs to reach its depth: without this rule the
        window fills with shallow nodes after a few steps, and the chain ends there.
        """
        fronts: list[Front] = []
        for request in futures.requests():
            least = max(self.reach_min, least_reach(request))
            if least > 1.0:
                continue
            tree = futures.tree(request)
            deepest = tree.root.position + min(self.depth_max, futures.depth_max(request))
            front = Front(request, tree, self._look(tree), deepest, futures.room(request))
            front.lowest += math.log(least)
            front.handicap -= math.log((weights or {}).get(request, 1.0))
            fronts.append(front)
        growing = sum(front.can_grow for front in fronts)
        ranked = merge(*(front.ranked(place) for place, front in enumerate(fronts)))
        rows_max = min(self.rows_max or self.rows, self.rows * growing)
        likeliest = list(islice(ranked, rows_max))
        rows = self._rows(likeliest, rows_max)
        chosen: list[Expansion] = []
        for _, _, _, front, node in chain(likeliest, ranked):
            if len(chosen) == rows:
                break
            is_end = node is front.end
            count = min(self.branch, front.room - (0 if is_end else front.missing * self.branch))
            if count > 0:
                front.room -= count
                front.missing -= is_end
                chosen.append(_expansion(front.request, front.tree, node, count))
            else:
                front.is_cramped = True
        return chosen

    def _look(self, tree: SpeculationTree) -> Sight:
        """The tree as it is; looked at again only after it has changed."""
        sight = self._sights.get(tree)
        if sight is None or sight.changes != tree.changes:
            sight = self._sights[tree] = Sight(tree)
        return sight

    def _rows(self, likeliest: Sequence[Ranked], rows_max: int) -> int:
        """How many of these futures, best first, give the most reach per second of a step."""
        rows, best, best_rate, reach, taken = self.rows, self.rows, 0.0, 0.0, 0
        requests: set[RequestId] = set()
        while rows <= rows_max and taken < len(likeliest):
            part = likeliest[taken:rows]
            reach += sum(math.exp(-minus) for minus, *_ in part)
            requests.update(front.request for _, _, _, front, _ in part)
            taken += len(part)
            rate = reach / self.costs.of_rows(taken, len(requests))
            if rate > best_rate:
                best, best_rate = rows, rate
            rows *= 2
        return best

    def worth_proposing(self, reach: float, candidates: Candidates) -> Candidates:
        """Those candidates below a node of this reach that are likely enough, and always the best one."""
        likely = [(token, score) for token, score in candidates[1:] if reach * score >= self.reach_min]
        return candidates[:1] + likely


def lead(num_speculative_tokens: int) -> int:
    """How deep to draft: while a pass verifies a chain, its bonus token and the next chain come below it."""
    return 2 * num_speculative_tokens + 1


def draft_policy(mode: str, num_speculative_tokens: int) -> DraftPolicy:
    """The policy of a mode.

    Args:
        mode: "sync", "async", "amusd" or "pearl".
        num_speculative_tokens: nodes that one pass of the target verifies at most.

    Raises:
        InputError: another mode.
    """
    ahead = lead(num_speculative_tokens)
    match mode:
        case "sync":
            return ChainPolicy(num_speculative_tokens)
        case "amusd" | "pearl":
            return ChainPolicy(ahead)
        case "async":
            return BestFirstPolicy(rows=4, depth_max=ahead, branch=4, reach_min=0.005, rows_max=STEP_ROWS_MAX)
        case _:
            raise InputError("mode", mode, "a draft worker knows sync, async, amusd and pearl")


def _expansion(request: RequestId, tree: SpeculationTree, node: TreeNode, count: int) -> Expansion:
    if node is tree.root:
        return Expansion(request, None, node.token, node.position, (), (), count)
    return Expansion(
        request, node.id, node.token, node.position, _ancestors(tree, node), tree.path(node), count
    )


def _ancestors(tree: SpeculationTree, node: TreeNode) -> tuple[NodeId, ...]:
    ids: list[NodeId] = []
    walker = node.parent
    while walker is not None and walker is not tree.root:
        assert walker.id is not None
        ids.append(walker.id)
        walker = walker.parent
    return tuple(reversed(ids))
