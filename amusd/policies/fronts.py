"""Where speculation trees may grow: their leaves, likeliest first.

Laws:
- A tree is looked at once after each change: with many requests most stand still from step to step, and
  walking all of them is what a step costs besides its forward.
- The order of leaves is that of their reaches; of equal ones the nearest to the root is first, then the one
  whose parent, and which itself, came earlier.
"""

from collections.abc import Iterator
from operator import attrgetter
from typing import Final

from amusd.speculation.messages import RequestId
from amusd.speculation.tree import SpeculationTree, TreeNode

_REACH: Final = attrgetter("reach_log")


def chain_end(tree: SpeculationTree) -> TreeNode:
    """The last node on the path of best children; of equal scores the lowest token."""
    node = tree.root
    while node.children:
        best, *others = node.children.values()
        for child in others:
            if child.score > best.score or (child.score == best.score and child.token < best.token):
                best = child
        node = best
    return node


class Sight:
    """What a policy has seen of a tree.

    Attributes:
        changes: of the tree, until then.
        leaves: the root or nodes without children, likeliest first, of equal ones the highest.
        end: of the best chain.
    """

    __slots__ = ("changes", "end", "leaves")

    def __init__(self, tree: SpeculationTree) -> None:
        self.changes = tree.changes
        self.end = chain_end(tree)
        self.leaves: list[TreeNode] = []
        level = [tree.root]
        while level:
            below: list[TreeNode] = []
            for node in level:
                if node.children:
                    below += node.children.values()
                else:
                    self.leaves.append(node)
            level = below
        self.leaves.sort(key=_REACH, reverse=True)


class Front:
    """Where one request's tree may grow in this step.

    Attributes:
        deepest: the position from which on nothing does.
        lowest: the log of the least reach that does.
        handicap: what minus a node's log of reach is added to, to rank it among those of other requests.
        room: nodes that its window takes.
        missing: nodes that the best chain lacks to its depth.
        is_cramped: whether there is room for the best chain at most.
    """

    __slots__ = (
        "deepest",
        "end",
        "handicap",
        "is_cramped",
        "leaves",
        "lowest",
        "missing",
        "request",
        "room",
        "tree",
    )

    def __init__(
        self, request: RequestId, tree: SpeculationTree, sight: Sight, deepest: int, room: int
    ) -> None:
        self.request, self.tree, self.deepest, self.room = request, tree, deepest, room
        self.leaves, self.end = sight.leaves, sight.end
        self.lowest = self.handicap = tree.root.reach_log
        self.missing = max(0, deepest - sight.end.position)
        self.is_cramped = False

    @property
    def can_grow(self) -> bool:
        """Whether there is a node to expand."""
        return any(True for _ in self.ranked(0))

    def ranked(self, place: int) -> "Iterator[Ranked]":
        """Its nodes to expand, best first, none for which there is no room while it is cramped.

        Args:
            place: among all fronts, for of equal nodes the earlier front's comes first.
        """
        for index, node in enumerate(self.leaves):
            if node.reach_log < self.lowest:
                return
            if node.position < self.deepest and (node is self.end or not self.is_cramped):
                yield self.handicap - node.reach_log, place, index, self, node


Ranked = tuple[float, int, int, Front, TreeNode]  # minus log of weight x reach, order, where it is
