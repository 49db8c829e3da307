"""What the target keeps per drafter: limits, cursors and aliases, all bounded.

Laws:

- A lane is one drafter's view of one request on one link. Its cursor says how much of the log was
  handed out; it is the only thing that a slow reader costs.
- An alias resolves to a live node, or to the committed prefix that ends with its token while the
  window lasts, or to nothing: then it is stale. Which of them depends on the log alone.
- A frame is checked as a whole before any of it counts. Ids grow strictly within a lane; a parent is
  an id that the lane may have seen, or a prefix of the log.
- At most 2 W live aliases per lane, 2 W committed ones, `nodes_total_max` per drafter.
"""

import math
from dataclasses import dataclass, field, fields
from itertools import pairwise

from amusd.speculation.messages import Draws, Node, NodeId, Propose, RequestId
from amusd.speculation.tree import TreeNode


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds that the target enforces.

    Attributes:
        window: W, the nodes that a drafter may have live per request; the target tolerates 2 W.
        nodes_total_max: live aliases of one drafter over all requests.
        frame_nodes_max: nodes in one Propose.
        draw_ids_max: tokens of the law that siblings were drawn from.
        drafters_max: drafters attached at a time.
        finished_max: finished requests kept for slow drafters to read their end.
        remembered_max: ended request ids kept to answer late frames and to refuse late opens.
    """

    window: int = 64
    nodes_total_max: int = 4096
    frame_nodes_max: int = 512
    draw_ids_max: int = 1024
    drafters_max: int = 8
    finished_max: int = 64
    remembered_max: int = 4096

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value < 1:
                raise ValueError(f"{each.name} is {value}: every limit must be at least 1")


@dataclass(slots=True)
class Lane:
    """One drafter's view of one request on one link.

    Attributes:
        cursor: how much of the log was handed out.
        known: whether the drafter is known to have the request open (its hello or a Have said so).
        attached: whether Attached was handed out on this link.
        first_id: the lowest id seen, or None before any; `last_id` is the highest.
        live: aliases of live nodes.
        committed: aliases of committed nodes, each with the length of the prefix that it ends.
    """

    cursor: int
    known: bool = False
    attached: bool = False
    first_id: int | None = None
    last_id: int = -1
    live: dict[NodeId, TreeNode] = field(default_factory=dict)
    committed: dict[NodeId, int] = field(default_factory=dict)

    def commit(self, node: NodeId, length: int, kept_max: int) -> None:
        """Let an alias resolve to the committed prefix of `length`; the oldest of them are forgotten."""
        self.live.pop(node, None)
        self.committed[node] = length
        while len(self.committed) > kept_max:
            del self.committed[next(iter(self.committed))]

    def resolve(self, parent: int, root: TreeNode) -> TreeNode | int | None:
        """Return a live node or the root, the length of an older committed prefix, or None: stale."""
        if parent >= 0:
            node = self.live.get(NodeId(parent))
            if node is not None:
                return node
            length = self.committed.get(NodeId(parent))
        else:
            length = -parent
        return root if length == root.position + 1 else length


@dataclass(slots=True)
class Attachment:
    """One drafter's link.

    Attributes:
        incarnation: the drafter's, from its hello.
        lanes: by request; a request has one from its open or the attach until its Close.
        closes: requests that the drafter must be told to close.
        shunned: requests opened again after a Close on this link: no part of it any more.
    """

    incarnation: int
    lanes: dict[RequestId, Lane] = field(default_factory=dict)
    closes: set[RequestId] = field(default_factory=set)
    shunned: set[RequestId] = field(default_factory=set)

    @property
    def live_count(self) -> int:
        """How many live aliases the drafter holds over all requests."""
        return sum(len(lane.live) for lane in self.lanes.values())


def check_propose(
    lane: Lane, message: Propose, length: int, vocabulary_size: int, limits: Limits
) -> str | None:
    """Return what is wrong with a frame that no honest drafter sends, or None; changes nothing.

    Args:
        length: the length of the request's log.
    """
    fault = _size_fault(message, limits) or _order_fault(lane, message)
    node_faults = (_node_fault(node, length, vocabulary_size) for node in message.nodes)
    fault = fault or next((each for each in node_faults if each), None)
    last = message.nodes[-1].id if message.nodes else lane.last_id
    draw_faults = (
        _parent_fault(parent, last, length) or _draws_fault(draws, vocabulary_size, limits)
        for parent, draws in message.draws.items()
    )
    return fault or next((each for each in draw_faults if each), None)


def _size_fault(message: Propose, limits: Limits) -> str | None:
    if len(message.nodes) > limits.frame_nodes_max:
        return f"a frame of {len(message.nodes)} nodes, at most {limits.frame_nodes_max} are allowed"
    return None


def _order_fault(lane: Lane, message: Propose) -> str | None:
    last, first = lane.last_id, lane.first_id
    for node in message.nodes:
        if node.id <= last:
            return f"node id {node.id} after {last}: ids must grow strictly"
        if node.parent >= 0 and (first is None or not first <= node.parent <= last):
            return f"node {node.id} names the unknown or later parent {node.parent}"
        last = node.id
        first = node.id if first is None else first
    return None


def _parent_fault(parent: int, last: int, length: int) -> str | None:
    if parent > last:
        return f"draws name the later parent {parent}"
    if -parent > length:
        return f"draws hang off a prefix of {-parent} tokens, the log has {length}"
    return None


def _draws_fault(draws: Draws, vocabulary_size: int, limits: Limits) -> str | None:
    ids = draws.ids
    if not 0 < len(ids) == len(draws.weights) <= limits.draw_ids_max:
        return f"draws from a law of {len(ids)} tokens with {len(draws.weights)} weights"
    if not 0 < len(draws.tokens) <= limits.window or not set(draws.tokens) <= set(ids):
        return f"{len(draws.tokens)} draws, or one that its law does not hold"
    if ids[0] < 0 or ids[-1] >= vocabulary_size or any(a >= b for a, b in pairwise(ids)):
        return f"draws from a law whose tokens do not ascend below {vocabulary_size}"
    if not all(0 < weight < math.inf for weight in draws.weights):
        return "draws from a law with a weight that is not above 0 and finite"
    return None


def _node_fault(node: Node, length: int, vocabulary_size: int) -> str | None:
    if not 0 <= node.token < vocabulary_size:
        return f"node {node.id} has token {node.token}, the vocabulary has {vocabulary_size}"
    if not 0 < node.score <= 1:
        return f"node {node.id} has score {node.score}, outside (0, 1]"
    if -node.parent > length:
        return f"node {node.id} hangs off a prefix of {-node.parent} tokens, the log has {length}"
    return None
