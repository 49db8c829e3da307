"""Which nodes of a tree a pass would verify, best first: one chain, several chains, or the best subtree.

Laws:
- Every prefix of a choice is closed under parents: a width cuts a choice anywhere.
- Reaches never grow along a path.
"""

import heapq
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final, Literal

from amusd.speculation.messages import DrafterId
from amusd.speculation.tree import SpeculationTree, TreeNode

BRANCHES_MAX: Final = 3  # of a request, verified beside its best chain

Verify = Literal["chain", "rows", "tree"]
Estimate = Callable[[TreeNode], float]


@dataclass(frozen=True, slots=True)
class Choice:
    """Nodes to verify.

    Attributes:
        nodes: parents first.
        parents: [nodes] the row of each node's parent; row 0 is the root, row i + 1 is nodes[i].
        reaches: [nodes] the estimated chance that each is accepted.
    """

    nodes: Sequence[TreeNode]
    parents: Sequence[int]
    reaches: Sequence[float]

    def chains(self) -> list[list[int]]:
        """The rows of the paths that cover the choice, each from below the root; the best path first."""
        leaves = set(range(1, len(self.nodes) + 1)) - set(self.parents)
        paths = []
        for leaf in sorted(leaves):
            path = [leaf]
            while (parent := self.parents[path[-1] - 1]) > 0:
                path.append(parent)
            paths.append(path[::-1])
        return sorted(paths, key=lambda path: -sum(self.reaches[row - 1] for row in path))

    def first(self, count: int) -> "Choice":
        """The choice cut to its first nodes."""
        return Choice(self.nodes[:count], self.parents[:count], self.reaches[:count])


def choose_chain(tree: SpeculationTree, nodes_max: int, estimate: Estimate, price: float = 0.0) -> Choice:
    """The principal chain: every other branch waits at the target's side for its turn.

    Args:
        price: the reach from which on a node pays for its row; what lies below it recommends no branch, for a
            pass is likely to leave it.
    """
    nodes, reaches = tree.principal_chain(nodes_max, estimate, price)
    return Choice(nodes, range(len(nodes)), reaches)


def choose_tree(tree: SpeculationTree, nodes_max: int, estimate: Estimate, _price: float = 0.0) -> Choice:
    """The nodes of highest reach, whichever branch they are on: the best at any price."""
    nodes: list[TreeNode] = []
    parents: list[int] = []
    reaches: list[float] = []
    frontier: list[tuple[float, int, int, TreeNode]] = []
    ties = 0
    parent, row, reach = tree.root, 0, 1.0
    while len(nodes) < nodes_max:
        for child in parent.children.values():
            ties += 1  # nodes are never compared
            heapq.heappush(frontier, (-reach * estimate(child), ties, row, child))
        if not frontier:
            break
        minus_reach, _, parent_row, parent = heapq.heappop(frontier)
        reach = -minus_reach
        nodes.append(parent)
        parents.append(parent_row)
        reaches.append(reach)
        row = len(nodes)
    return Choice(nodes, parents, reaches)


def choose_rows(tree: SpeculationTree, nodes_max: int, estimate: Estimate, _price: float = 0.0) -> Choice:
    """Of the nodes of highest reach those on the best paths, at most `1 + BRANCHES_MAX` of these."""
    best = choose_tree(tree, nodes_max, estimate)
    rows = sorted({row for path in best.chains()[: 1 + BRANCHES_MAX] for row in path})
    place = {0: 0} | {row: index for index, row in enumerate(rows, 1)}
    return Choice(
        [best.nodes[row - 1] for row in rows],
        [place[best.parents[row - 1]] for row in rows],
        [best.reaches[row - 1] for row in rows],
    )


def count_drafted(tree: SpeculationTree, choice: Choice, drafters: Container[DrafterId]) -> int:
    """How many nodes of a choice, from the first on, came from drafters of whom more may be awaited.

    Where the first one did not, but another child of the root did, all count: a drafter that was overruled
    has spoken, and what it says next begins elsewhere.
    """

    def is_drafted(node: TreeNode) -> bool:
        return any(drafter in drafters for drafter, _ in node.aliases)

    count = sum(1 for _ in takewhile(is_drafted, choice.nodes))
    if count == 0 and any(map(is_drafted, tree.root.children.values())):
        return len(choice.nodes)
    return count


CHOOSERS: Final = {"chain": choose_chain, "rows": choose_rows, "tree": choose_tree}
