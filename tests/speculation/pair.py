"""One drafter and one target with an ideal link, for tests that name a single behaviour."""

from collections.abc import Sequence

from amusd.speculation.drafter import DrafterEndpoint, LogChange
from amusd.speculation.messages import (
    Attached,
    Close,
    Commit,
    DrafterId,
    Have,
    Node,
    NodeId,
    Propose,
    RequestId,
)
from amusd.speculation.target import Limits, TargetEndpoint, Verified
from amusd.speculation.tree import TreeNode

R = RequestId(1)
D = DrafterId(1)
LIMITS = Limits(window=4, nodes_total_max=12, frame_nodes_max=9, drafters_max=2, finished_max=2)
VOCABULARY_SIZE = 100
END = 99


def target(prompt: Sequence[int] = (1, 2), length_max: int = 50) -> TargetEndpoint:
    """A target with request R open."""
    endpoint = TargetEndpoint(7, VOCABULARY_SIZE, LIMITS)
    endpoint.on_open(R, prompt, len(prompt), length_max, frozenset({END}))
    return endpoint


def drafter(prompt: Sequence[int] = (1, 2), length_max: int = 50, incarnation: int = 3) -> DrafterEndpoint:
    """A drafter with request R open and no link yet."""
    endpoint = DrafterEndpoint(incarnation, LIMITS.window, LIMITS.frame_nodes_max)
    endpoint.on_open(R, prompt, length_max)
    return endpoint


def attach(of: TargetEndpoint, by: DrafterEndpoint, as_drafter: DrafterId = D) -> None:
    """Say hello and hear everything that is newest."""
    of.on_attach(as_drafter, by.hello())
    hear(of, by, as_drafter)


def hear(of: TargetEndpoint, by: DrafterEndpoint, as_drafter: DrafterId = D) -> list[LogChange | None]:
    """Hand the drafter what is newest for it."""
    return [by.on_message(message) for message in of.messages_for(as_drafter)]


def say(to: TargetEndpoint, by: DrafterEndpoint, as_drafter: DrafterId = D) -> list[Propose | Have]:
    """Hand the target everything that the drafter has to say."""
    said: list[Propose | Have] = []
    while messages := by.outgoing():
        for message in messages:
            if isinstance(message, Propose):
                to.on_propose(as_drafter, message)
            else:
                to.on_have(as_drafter, message)
        said += messages
    return said


def grow(by: DrafterEndpoint, *tokens: int, below: NodeId | None = None) -> list[NodeId]:
    """Grow a chain below a node (None: the root) and return its ids."""
    ids: list[NodeId] = []
    for token in tokens:
        (below,) = by.grow(R, below, [(token, 0.5)])
        ids.append(below)
    return ids


def attached_target(length: int = 2) -> TargetEndpoint:
    """A target with drafter D attached to request R."""
    endpoint = target(range(1, length + 1))
    by = drafter(range(1, length + 1))
    attach(endpoint, by)
    return endpoint


def propose(to: TargetEndpoint, *nodes: tuple[int, int, int], as_drafter: DrafterId = D) -> tuple[int, ...]:
    """Propose (id, parent, token) nodes; returns how many became live, late and stale."""
    built = tuple(Node(NodeId(node), parent, token, 0.5) for node, parent, token in nodes)
    received = to.on_propose(as_drafter, Propose(R, built))
    return received.live, received.late, received.stale


def chain(of: TargetEndpoint, nodes_max: int = 8) -> list[TreeNode]:
    """The principal chain as far as it is of use."""
    return of.tree(R).principal_chain(min(nodes_max, of.room(R)))[0]


def commit(of: TargetEndpoint, *winners: int, nodes_max: int = 8) -> Verified:
    """Run a pass over the principal chain; missing winners are repeats of the last."""
    nodes = chain(of, nodes_max)
    rows = [*winners, *([winners[-1]] * len(nodes))][: len(nodes) + 1]
    verified = of.on_verified(R, nodes, range(len(nodes)), rows)
    assert verified is not None
    return verified


def step(of: TargetEndpoint, *tokens: int) -> None:
    """Commit tokens one plain step at a time."""
    for token in tokens:
        assert of.on_verified(R, [], [], [token]) is not None


def kinds(messages: Sequence[Attached | Commit | Close]) -> list[str]:
    """Name the messages."""
    return [type(message).__name__ for message in messages]
