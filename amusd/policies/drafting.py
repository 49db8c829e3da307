"""Which futures a drafter expands next, and how many candidates it asks for.

Laws:
- Only the root or a live node without children is expanded, never deeper than the policy's depth nor
  than the request's length allows, and never into a full window.
- The choice is a function of the trees alone, so a step can be repeated and tested.
- Scores in the trees are calibrated already (`policies.calibration`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from amusd.drafters.base import Candidates, Expansion
from amusd.errors import InputError
from amusd.speculation.messages import NodeId, RequestId
from amusd.speculation.tree import SpeculationTree, TreeNode

_Ranked = tuple[float, int, RequestId, TreeNode]  # minus log reach, order of arrival, where it is


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


class DraftPolicy(Protocol):
    """Chooses the next step of a drafter."""

    @property
    def window(self) -> int:
        """Live nodes per request that the policy can use; the size to give the endpoint's window."""

    def choose(self, futures: Futures) -> list[Expansion]:
        """The nodes to expand in one forward; empty while there is nothing to do but wait."""

    def worth_proposing(self, reach: float, candidates: Candidates) -> Candidates:
        """The candidates below a node of this reach that are worth a place in the window, best first."""


@dataclass(frozen=True, slots=True)
class ChainPolicy:
    """One guess per position down to `depth` below the root, then wait for the verdict.

    With the depth that a pass verifies this drafts in turns (`sync`); with more it runs free (`amusd`,
    `pearl`).

    Args:
        depth: longest chain.
    """

    depth: int

    @property
    def window(self) -> int:
        """One node per position."""
        return self.depth

    def worth_proposing(self, reach: float, candidates: Candidates) -> Candidates:
        """All of them."""
        return candidates

    def choose(self, futures: Futures) -> list[Expansion]:
        """The end of each request's chain, if it may grow."""
        chosen = []
        for request in futures.requests():
            tree = futures.tree(request)
            end = _chain_end(tree)
            depth = end.position - tree.root.position
            if depth < min(self.depth, futures.depth_max(request)) and futures.room(request) > 0:
                chosen.append(_expansion(request, tree, end, count=1))
        return chosen


@dataclass(frozen=True, slots=True)
class BestFirstPolicy:
    """The likeliest futures first, a few at a time, until the window is full: `async`.

    A future's worth is its reach, the product of the calibrated scores on its path: the chance that the
    target gets there. What is too unlikely is not drafted, so a drafter that guesses badly does little.

    Args:
        rows_max: nodes expanded in one forward, over all requests; a model takes four for little more than
            the price of one (docs/design.md).
        depth_max: deepest node below the root.
        branch: candidates per node, fewer where the window is nearly full. A runner-up costs no forward
            until its turn comes, and it is a correction foreseen if the target takes it.
        reach_min: futures less likely than this are neither expanded nor proposed.
    """

    rows_max: int
    depth_max: int
    branch: int
    reach_min: float

    @property
    def window(self) -> int:
        """`branch` nodes for each position of the deepest chain, and as many for what branches off."""
        return 2 * self.depth_max * self.branch

    def choose(self, futures: Futures) -> list[Expansion]:
        """The `rows_max` unexpanded nodes of highest reach over all requests.

        Branches never take the room that the best chain needs to reach its depth: without this rule the
        window fills with shallow nodes after a few steps, and the chain ends there.
        """
        ranked: list[_Ranked] = []
        room, reserved, ends = {}, {}, {}
        for request in futures.requests():
            tree = futures.tree(request)
            deepest = tree.root.position + min(self.depth_max, futures.depth_max(request))
            end = ends[request] = _chain_end(tree)
            room[request] = futures.room(request)
            reserved[request] = max(0, deepest - end.position) * self.branch
            start = tree.root.reach_log
            lowest = start + math.log(self.reach_min)
            for node in (tree.root, *tree.nodes()):
                if not node.children and node.position < deepest and node.reach_log >= lowest:
                    ranked.append((start - node.reach_log, len(ranked), request, node))
        chosen: list[Expansion] = []
        for *_, request, node in sorted(ranked):
            if len(chosen) == self.rows_max:
                break
            is_end = node is ends[request]
            count = min(self.branch, room[request] - (0 if is_end else reserved[request]))
            if count > 0:
                room[request] -= count
                reserved[request] -= self.branch if is_end else 0
                chosen.append(_expansion(request, futures.tree(request), node, count))
        return chosen

    def worth_proposing(self, reach: float, candidates: Candidates) -> Candidates:
        """Those candidates below a node of this reach that are likely enough, and always the best one."""
        likely = [(token, score) for token, score in candidates[1:] if reach * score >= self.reach_min]
        return candidates[:1] + likely


def draft_policy(mode: str, num_speculative_tokens: int) -> DraftPolicy:
    """The policy of a mode.

    Args:
        mode: "sync", "async", "amusd" or "pearl".
        num_speculative_tokens: nodes that one pass of the target verifies at most.

    Raises:
        InputError: another mode.
    """
    # While a pass verifies one chain, its bonus token and the next chain are drafted below it.
    ahead = 2 * num_speculative_tokens + 1
    match mode:
        case "sync":
            return ChainPolicy(num_speculative_tokens)
        case "amusd" | "pearl":
            return ChainPolicy(ahead)
        case "async":
            return BestFirstPolicy(rows_max=4, depth_max=ahead, branch=4, reach_min=0.005)
        case _:
            raise InputError("mode", mode, "a draft worker knows sync, async, amusd and pearl")


def _chain_end(tree: SpeculationTree) -> TreeNode:
    """The last node on the path of best children; of equal scores the lowest token."""
    node = tree.root
    while node.children:
        node = min(node.children.values(), key=lambda child: (-child.score, child.token))
    return node


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
