"""One request at the drafter: its log, its tree, and which nodes are still to be sent.

Laws:

- The tree always hangs off the end of the log; `nodes` holds exactly its live nodes, by id.
- What is unsent is live: a node that was committed or dropped before it was sent is never sent.
- Draws are sent when the target knows their node, whatever becomes of the nodes that stand for them.
- The target's word on attach truncates the log where the two differ, and then the tree goes too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from amusd.speculation.log import CommitLog
from amusd.speculation.messages import Attached, Draws, Final, Node, NodeId, RequestId, prefix_parent
from amusd.speculation.tree import SpeculationTree, TreeNode


@dataclass(frozen=True, slots=True)
class LogChange:
    """What a message of the target's did to one request at the drafter.

    Attributes:
        request: whose log changed.
        tokens: the tokens appended.
        length: the log's length now.
        committed: the drafter's nodes that became committed, each with its position.
        dropped: the drafter's nodes that are stale now.
        rolled_back: whether a commit left the tree.
        truncated: whether the log was cut: everything beyond the shared part must be computed again,
            and `tokens` is empty.
        final: why the request ended, or None.
    """

    request: RequestId
    tokens: tuple[int, ...] = ()
    length: int = 0
    committed: dict[NodeId, int] = field(default_factory=dict)
    dropped: tuple[NodeId, ...] = ()
    rolled_back: bool = False
    truncated: bool = False
    final: Final | None = None


class DraftRequest:
    """State of one request; the endpoint drives it.

    Attributes:
        length_max: the length, prompt included, at which the target ends the request.
        nodes: the live nodes, in id order.
        unsent: those of them that this link has not carried yet, in id order.
        unsent_draws: nodes, the root among them, whose draws this link has not carried yet.
        attached: whether the target attached the request on this link.
        must_have: whether the target must be told how much of the log is here.
    """

    def __init__(self, request: RequestId, tokens: Sequence[int], length_max: int) -> None:
        self.request = request
        self.log = CommitLog(tokens)
        self.tree = SpeculationTree(self.log.length, self.log.last)
        self.length_max = length_max
        self.nodes: dict[NodeId, TreeNode] = {}
        self.unsent: dict[NodeId, TreeNode] = {}
        self.unsent_draws: list[TreeNode] = []
        self.attached = False
        self.must_have = False

    @property
    def depth_max(self) -> int:
        """How deep below the root a node is of use: the pass adds a token of its own at the end."""
        return max(0, self.length_max - 1 - self.log.length)

    def find(self, parent: NodeId | None) -> TreeNode | None:
        """Return a live node or the root by its id (None: the root)."""
        if parent is None or parent == self.tree.root.id:
            return self.tree.root
        return self.nodes.get(parent)

    def add(self, node: NodeId, parent: TreeNode, token: int, score: float) -> NodeId:
        """Hang a new node into the tree and return its id."""
        child = self.tree.add(parent, token, score)
        child.id = node
        self.nodes[node] = self.unsent[node] = child
        return node

    def take_unsent(self, nodes_max: int) -> tuple[Node, ...]:
        """Hand out at most `nodes_max` unsent nodes for the wire, parents first."""
        taken = list(self.unsent)[:nodes_max]
        return tuple(self._to_wire(self.unsent.pop(node)) for node in taken)

    def add_draws(self, parent: TreeNode, draws: Draws) -> None:
        """Keep what a rule drew below a node, for the wire; raises ValueError where it has drawn before."""
        if parent.draws is not None:
            raise ValueError(f"siblings below the node at position {parent.position} were drawn before")
        parent.draws = draws
        self.unsent_draws.append(parent)

    def take_draws(self) -> dict[int, Draws]:
        """Hand out the draws below nodes that the target knows of, by parent; forget those of lost nodes."""
        taken: dict[int, Draws] = {}
        waiting: list[TreeNode] = []
        for node in self.unsent_draws:
            if node.live and _id(node) in self.unsent:
                waiting.append(node)
            elif node.draws is not None and (node.live or node is self.tree.root):
                taken[self._parent_name(node)] = node.draws
        self.unsent_draws = waiting
        return taken

    def resend(self) -> None:
        """A fresh link carries everything live again."""
        self.unsent = dict(self.nodes)
        self.unsent_draws = [
            node for node in (self.tree.root, *self.nodes.values()) if node.draws is not None
        ]

    def advance(self, tokens: tuple[int, ...]) -> LogChange:
        """Re-root the tree after `tokens` were appended to the log."""
        advance = self.tree.advance(tokens)
        kept = [node for node in advance.kept if node is not None]
        committed = {_id(node): node.position for node in kept}
        dropped = self._forget(advance.dropped)
        self._forget(kept)
        return LogChange(
            self.request,
            tokens,
            self.log.length,
            committed,
            dropped,
            advance.rolled_back,
            final=self.log.final,
        )

    def obey(self, message: Attached) -> LogChange:
        """Follow the target's word, which starts within the log: extend it, or truncate it first."""
        told = message.start + len(message.tokens)
        known = tuple(self.log.tokens[message.start : told])
        if told >= self.log.length and known == message.tokens[: len(known)]:
            return self.advance(self.log.append(message.start, message.tokens))
        self.log.truncate(message.start)
        self.log.append(message.start, message.tokens)
        dropped = self._forget(self.tree.reset(self.log.length, self.log.last))
        return LogChange(self.request, length=self.log.length, dropped=dropped, truncated=True)

    def _forget(self, gone: Sequence[TreeNode]) -> tuple[NodeId, ...]:
        ids = tuple(_id(node) for node in gone)
        for node in ids:
            del self.nodes[node]
            self.unsent.pop(node, None)
        return ids

    def _to_wire(self, node: TreeNode) -> Node:
        assert node.parent is not None
        return Node(_id(node), self._parent_name(node.parent), node.token, node.score)

    def _parent_name(self, parent: TreeNode) -> int:
        return prefix_parent(self.log.length) if parent is self.tree.root else _id(parent)


def _id(node: TreeNode) -> NodeId:
    assert node.id is not None
    return node.id
