"""The speculation tree that hangs off the end of a commit log; both sides keep one.

Laws:

- The root is the last committed token. Every other node is live: its path agrees with the log and
  reaches beyond it.
- One node per path and token: adding a child that is there returns it.
- A commit walks the tree token by token. Where the child exists the tree is re-rooted on it, what
  hangs below survives and its siblings are dropped; where it does not, the whole tree is dropped,
  and that is a rollback if there was anything to leave.
- A node that left the tree never comes back: `live` turns False once and for all.
"""

import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from amusd.speculation.messages import DrafterId, Draws, NodeId


@dataclass(slots=True, eq=False)
class TreeNode:
    """A guessed token in its tree, compared by identity.

    Attributes:
        token: the guessed token id.
        position: its absolute position in the log.
        score: estimate of P(token | parent path), in (0, 1].
        reach_log: sum of log scores along the path, comparable within one tree.
        parent: the node before it; None for the root and for what left the tree with a dead parent.
        id: the drafter's own id; None at the target's side and for a root that was never a node.
        live: whether it hangs in the tree below the root.
        children: by token.
        aliases: at the target's side, under which ids which drafters proposed it, and the score that each
            claimed. `score` is the first one's.
        draws: what a rule drew for the next position, if it did; the first drawing stays.
    """

    token: int
    position: int
    score: float = 1.0
    reach_log: float = 0.0
    parent: "TreeNode | None" = field(default=None, repr=False)
    id: NodeId | None = None
    live: bool = False
    children: "dict[int, TreeNode]" = field(default_factory=dict, repr=False)
    aliases: dict[tuple[DrafterId, NodeId], float] = field(default_factory=dict)
    draws: Draws | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Advance:
    """What a commit did to a tree.

    Attributes:
        kept: for each committed token the node that became committed, or None where there was none.
        dropped: nodes that left the tree because their path no longer agrees with the log.
        rolled_back: whether the commit left the tree although there was something to follow.
    """

    kept: tuple[TreeNode | None, ...]
    dropped: tuple[TreeNode, ...]
    rolled_back: bool


class SpeculationTree:
    """Guesses beyond the end of one log.

    Attributes:
        changes: grows with whatever changes the nodes: what was found in a tree holds while it stands still.
    """

    def __init__(self, length: int, last_token: int) -> None:
        self._root = TreeNode(last_token, length - 1)
        self._count = 0
        self.changes = 0

    @property
    def root(self) -> TreeNode:
        """The last committed token; its children are the guesses for the next position."""
        return self._root

    @property
    def length(self) -> int:
        """The length of the log that the tree hangs off."""
        return self._root.position + 1

    @property
    def count(self) -> int:
        """How many live nodes there are."""
        return self._count

    def add(self, parent: TreeNode, token: int, score: float) -> TreeNode:
        """Return the child of `parent` for `token`, made with `score` if it is not there yet.

        Raises:
            ValueError: `parent` is neither the root nor live.
        """
        if not (parent.live or parent is self._root):
            raise ValueError(f"the parent at position {parent.position} has left the tree")
        child = parent.children.get(token)
        if child is None:
            reach_log = parent.reach_log + math.log(score)
            child = TreeNode(token, parent.position + 1, score, reach_log, parent, live=True)
            parent.children[token] = child
            self._count += 1
            self.changes += 1
        return child

    def advance(self, tokens: Sequence[int]) -> Advance:
        """Walk along newly committed `tokens` and hang the tree off the last of them."""
        kept: list[TreeNode | None] = []
        dropped: list[TreeNode] = []
        rolled_back = False
        self.changes += 1
        for token in tokens:
            child = self._root.children.pop(token, None)
            siblings = self._drop_below(self._root)
            if child is None:
                rolled_back = rolled_back or bool(siblings)
                self._root = TreeNode(token, self._root.position + 1)
            else:
                self._root = child
                child.live = False
                child.parent = None
                self._count -= 1
            kept.append(child)
            dropped.extend(siblings)
        return Advance(tuple(kept), tuple(dropped), rolled_back)

    def reset(self, length: int, last_token: int) -> tuple[TreeNode, ...]:
        """Drop everything and hang off another log; returns what was dropped."""
        dropped = self._drop_below(self._root)
        self._root = TreeNode(last_token, length - 1)
        self.changes += 1
        return tuple(dropped)

    def prune_unaliased(self) -> tuple[TreeNode, ...]:
        """Drop the nodes without any alias in their subtree; returns them."""
        dropped: list[TreeNode] = []
        self.changes += 1
        for node in reversed(list(self.nodes())):
            if node.aliases or node.children:
                continue
            assert node.parent is not None
            del node.parent.children[node.token]
            self._bury(node)
            dropped.append(node)
        return tuple(dropped)

    def nodes(self) -> Iterator[TreeNode]:
        """Iterate over the live nodes, parents before children."""
        queue = list(self._root.children.values())
        for node in queue:
            queue.extend(node.children.values())
            yield node

    def reach(self, node: TreeNode) -> float:
        """Return the product of the scores from below the root to `node`."""
        return math.exp(node.reach_log - self._root.reach_log)

    def path(self, node: TreeNode) -> tuple[int, ...]:
        """Return the tokens from below the root to `node`, inclusive."""
        tokens: list[int] = []
        walker: TreeNode | None = node
        while walker is not None and walker is not self._root:
            tokens.append(walker.token)
            walker = walker.parent
        return tuple(reversed(tokens))

    def principal_chain(
        self,
        nodes_max: int,
        estimate: Callable[[TreeNode], float] | None = None,
        price: float = 0.0,
    ) -> tuple[list[TreeNode], list[float]]:
        """Return the path of at most `nodes_max` nodes that is worth most, and the reach of each node.

        A path is worth what its nodes' reaches exceed the price by; at price 0 that is the expected number
        of accepted tokens. Of paths that are worth the same, as where none reaches the price, the likelier
        next node wins, then the lowest token id.

        Args:
            estimate: the chance that a node is right if its parent is; None takes its score.
            price: the reach from which on a node pays for its row in a pass.
        """
        position_max = self._root.position + nodes_max

        def chances(node: TreeNode) -> Iterator[tuple[TreeNode, float]]:
            if node.position < position_max:
                for child in node.children.values():
                    yield child, child.score if estimate is None else estimate(child)

        nodes, above, reach = [self._root], [0], [1.0]
        for place, node in enumerate(nodes):  # grows meanwhile: level by level, parents first
            if reach[place] > price or not place:  # else nothing below it is worth anything
                for child, chance in chances(node):
                    nodes.append(child)
                    above.append(place)
                    reach.append(reach[place] * chance)
        worth = [0.0] * len(nodes)  # of the best path below each
        best = [0] * len(nodes)  # the first node of that; 0 where there is none
        for place in range(len(nodes) - 1, 0, -1):
            own, parent = max(0.0, reach[place] - price) + worth[place], above[place]
            rival = best[parent]
            if not rival or (own, reach[place], nodes[rival].token) > (
                *(worth[parent], reach[rival], nodes[place].token),
            ):
                worth[parent], best[parent] = own, place
        chain, reaches, place = [], [], best[0]
        while place:
            chain.append(nodes[place])
            reaches.append(reach[place])
            place = best[place]
        while chain and (below := list(chances(chain[-1]))):  # none where they were looked at
            node, chance = max(below, key=lambda pair: (pair[1], -pair[0].token))
            chain.append(node)
            reaches.append(reaches[-1] * chance)
        return chain, reaches

    def best_nodes(self, nodes_max: int) -> list[TreeNode]:
        """Return the `nodes_max` nodes of highest reach: parents first, closed under parents."""
        chosen: list[TreeNode] = []
        ranks = iter(range(self._count + 1))  # breaks ties, so that nodes are never compared
        frontier: list[tuple[float, int, TreeNode]] = []
        parent = self._root
        while len(chosen) < nodes_max:
            for child in parent.children.values():
                heapq.heappush(frontier, (-child.reach_log, next(ranks), child))
            if not frontier:
                break
            parent = heapq.heappop(frontier)[2]
            chosen.append(parent)
        return chosen

    def _drop_below(self, top: TreeNode) -> list[TreeNode]:
        dropped = list(top.children.values())
        top.children = {}
        for node in dropped:
            dropped.extend(node.children.values())
            self._bury(node)
        return dropped

    def _bury(self, node: TreeNode) -> None:
        node.live = False
        node.parent = None
        node.children = {}
        self._count -= 1
