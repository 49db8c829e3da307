"""The drafter's endpoint: one link to one target, many requests, no I/O.

Laws:

- It never waits: commits re-root its trees, and between commits it may grow them up to the window.
- Window: at most `window` nodes per request that are neither committed nor stale by its own log.
- It proposes only for a request that the target attached on this link. What it grows before waits.
- Ids grow strictly over the whole life of an incarnation, and a child's id is above its parent's, so
  that id order sends parents first. Every live node is proposed once per attachment.
- The target's word wins: `Attached` truncates the log; a gap is answered with `Have`, never guessed over.
- The target may speak of a request before the coordinator opens it here, if ever: its id is remembered until
  the target closes it. Once a request is open here and attached, the target is told what is here, and sends
  commits from then on.
"""

import itertools
from collections.abc import Iterator, Sequence

from amusd.errors import ProtocolError
from amusd.speculation.draft_request import DraftRequest, LogChange
from amusd.speculation.log import CommitLog, GapError
from amusd.speculation.messages import (
    Attached,
    Close,
    Commit,
    Draws,
    Have,
    Hello,
    NodeId,
    Propose,
    RequestId,
)
from amusd.speculation.tree import SpeculationTree, TreeNode

__all__ = ["DrafterEndpoint", "LogChange"]


class DrafterEndpoint:
    """The drafter's half of the protocol; owned by one thread.

    Args:
        ids: of nodes, ascending; endpoints of one incarnation share them.
    """

    def __init__(
        self,
        incarnation: int,
        window: int = 64,
        frame_nodes_max: int = 512,
        ids: Iterator[int] | None = None,
    ) -> None:
        if window < 1 or frame_nodes_max < 1:
            raise ValueError(f"window {window} and frame_nodes_max {frame_nodes_max} must be at least 1")
        self.incarnation = incarnation
        self.window = window
        self.frame_nodes_max = frame_nodes_max
        self._requests: dict[RequestId, DraftRequest] = {}
        self._early: set[RequestId] = set()
        self._linked = False
        self._ids = itertools.count() if ids is None else ids

    # What the coordinator and the link say.

    def on_open(self, request: RequestId, tokens: Sequence[int], length_max: int) -> LogChange:
        """Open a request whose log is `tokens` (prompt plus what the ledger delivered) so far.

        Opening an open request again only tells it tokens that it may not know yet.

        Args:
            length_max: the length, prompt included, at which the target ends the request.
        """
        known = self._requests.get(request)
        if known is not None:
            return known.advance(known.log.append(0, tokens))
        opened = self._requests[request] = DraftRequest(request, tokens, length_max)
        opened.attached = request in self._early
        opened.must_have = self._linked
        self._early.discard(request)
        return LogChange(request, length=opened.log.length)

    def hello(self) -> Hello:
        """Start a link: the first message on it. Everything live will be proposed again."""
        self.on_link_lost()
        self._linked = True
        return Hello(self.incarnation, {key: state.log.length for key, state in self._requests.items()})

    def on_link_lost(self) -> None:
        """The link is gone: nothing is attached, and what was sent may be lost."""
        self._linked = False
        self._early.clear()
        for state in self._requests.values():
            state.attached = state.must_have = False

    def on_attached(self, message: Attached) -> LogChange | None:
        """Take the target's word on a request's log; None for a request that is not open here yet."""
        request = message.request
        state = self._requests.get(request)
        if state is None:
            self._early.add(request)
            return None
        state.attached = True
        state.resend()
        state.must_have = True
        if message.start > state.log.length:
            return LogChange(request, length=state.log.length)
        return state.obey(message)

    def on_commit(self, message: Commit) -> LogChange | None:
        """Follow a commit; None for a request that is not open here.

        Raises:
            ProtocolError: it contradicts the log, or the request was not attached on this link.
        """
        state = self._requests.get(message.request)
        if state is None:
            return None
        if not state.attached:
            raise ProtocolError(f"target: a commit for request {message.request}, which it never attached")
        try:
            new = state.log.append(message.start, message.tokens)
        except GapError:
            state.must_have = True
            return LogChange(message.request, length=state.log.length)
        state.must_have = False
        if message.final is not None:
            state.log.finish(message.final)
        return state.advance(new)

    def on_close(self, request: RequestId) -> bool:
        """Forget a request on the target's word; tells whether it was open."""
        self._early.discard(request)
        return self._requests.pop(request, None) is not None

    def on_abort(self, request: RequestId) -> bool:
        """Forget a request on the coordinator's word; tells whether it was open.

        The target may go on speaking of it until its own Close.
        """
        state = self._requests.pop(request, None)
        if state is not None and state.attached:
            self._early.add(request)
        return state is not None

    def on_message(self, message: Attached | Commit | Close) -> LogChange | None:
        """Dispatch one message of the target's; None where there is nothing left to follow."""
        match message:
            case Attached():
                return self.on_attached(message)
            case Commit():
                return self.on_commit(message)
            case Close():
                self.on_close(message.request)
                return None

    # What the drafter does.

    def room(self, request: RequestId) -> int:
        """Return how many nodes may be grown now; 0 for a request that is over or not open."""
        state = self._requests.get(request)
        if state is None or state.log.final is not None:
            return 0
        return max(0, self.window - state.tree.count)

    def depth_max(self, request: RequestId) -> int:
        """Return how deep below the root a node is of use: the pass adds a token of its own at the end."""
        return self._requests[request].depth_max

    def grow(
        self,
        request: RequestId,
        parent: NodeId | None,
        candidates: Sequence[tuple[int, float]],
        draws: Draws | None = None,
    ) -> list[NodeId]:
        """Hang guesses below a node (None: the root) and return the ids of the new ones, in order.

        Children that exist are skipped; a parent that is no longer live, a full window and the length
        limit yield fewer nodes or none, never an error.

        Args:
            candidates: (token, score) pairs, best first, with scores in (0, 1].
            draws: all that a rule drew below the node, whichever of it are candidates; once for each node.
        """
        state = self._requests.get(request)
        node = None if state is None else state.find(parent)
        if state is None or node is None:
            return []
        if node.position - state.tree.root.position >= state.depth_max:
            return []
        if draws is not None:
            state.add_draws(node, draws)
        grown: list[NodeId] = []
        for token, score in candidates:
            if self.room(request) == 0:
                break
            if token in node.children:
                continue
            if not 0 < score <= 1:
                raise ValueError(f"score {score} of token {token} is outside (0, 1]")
            grown.append(state.add(NodeId(next(self._ids)), node, token, score))
        return grown

    def outgoing(self) -> list[Propose | Have]:
        """Hand out what is unsent as one frame, parents first; call again until it is empty."""
        frame: list[Propose | Have] = []
        budget = self.frame_nodes_max
        for request, state in self._requests.items():
            if state.must_have and self._linked:
                frame.append(Have(request, state.log.length))
                state.must_have = False
            if not state.attached:
                continue
            nodes = state.take_unsent(budget)
            budget -= len(nodes)
            draws = state.take_draws()
            if nodes or draws:
                frame.append(Propose(request, nodes, draws))
        return frame

    # What the drafter's policy looks at.

    def requests(self) -> list[RequestId]:
        """Return the open requests; one that is over stays until its Close, with no room."""
        return list(self._requests)

    def attached(self, request: RequestId) -> bool:
        """Tell whether the target attached the request on this link."""
        state = self._requests.get(request)
        return state is not None and state.attached

    def tree(self, request: RequestId) -> SpeculationTree:
        """Return the request's tree; read it, grow it only through `grow`."""
        return self._requests[request].tree

    def log(self, request: RequestId) -> CommitLog:
        """Return the request's log; read it only."""
        return self._requests[request].log

    def node(self, request: RequestId, node: NodeId) -> TreeNode | None:
        """Return a live node by its id, or None."""
        state = self._requests.get(request)
        return None if state is None else state.nodes.get(node)
