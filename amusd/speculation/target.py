"""The target's endpoint: the commit logs, their trees, and everybody who reads or feeds them.

Laws:

- The log decides: a node is live, committed or stale by its path alone, whoever sent it and whenever.
- Only `on_verified` appends. It takes the target's own tokens, cuts at the first end token or at the
  length limit, inside an accepted block too, and re-roots the tree.
- Readers are cursors, never queues: a slow reader costs one number, and gets what is newest at once.
- A pass with nothing to verify is always possible: no method waits for a drafter.
- Request ids are never reused. After an abort an open of the same id is refused.
- A frame that no honest drafter sends is a ProtocolError; the shell then closes the stream and calls
  `on_detach`, which leaves no trace of the drafter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from amusd.errors import ProtocolError
from amusd.speculation.attachment import Limits
from amusd.speculation.links import Links, Received
from amusd.speculation.log import CommitLog
from amusd.speculation.messages import (
    Attached,
    Close,
    Commit,
    DrafterId,
    Final,
    Have,
    Hello,
    Propose,
    RequestId,
)
from amusd.speculation.request import Guess, TargetRequest
from amusd.speculation.stats import RequestStats
from amusd.speculation.tree import SpeculationTree, TreeNode
from amusd.speculation.walk import walk

__all__ = ["Guess", "Limits", "Received", "TargetEndpoint", "Verified"]


@dataclass(frozen=True, slots=True)
class Verified:
    """What a pass did to one request.

    Attributes:
        accepted_rows: the committed draft rows, from the root down (row 0, the root, is not listed).
        emitted: the committed tokens: those of the accepted rows, then at most one of the target's own.
        rolled_back: whether the commit left the tree.
        guesses: what the drafters had guessed below the committed tokens, and what was right.
        final: why the request ended, or None.
    """

    accepted_rows: tuple[int, ...]
    emitted: tuple[int, ...]
    rolled_back: bool
    guesses: tuple[Guess, ...]
    final: Final | None


class TargetEndpoint:
    """The target's half of the protocol; owned by one thread."""

    def __init__(self, incarnation: int, vocabulary_size: int, limits: Limits | None = None) -> None:
        self.incarnation = incarnation
        self.vocabulary_size = vocabulary_size
        self.limits = limits or Limits()
        self._requests: dict[RequestId, TargetRequest] = {}
        self._ended: dict[RequestId, bool] = {}  # recently forgotten -> whether it was aborted
        self._links = Links(incarnation, vocabulary_size, self.limits, self._requests, self._ended)

    # What the coordinator says.

    def on_open(
        self,
        request: RequestId,
        tokens: Sequence[int],
        prompt_length: int,
        length_max: int,
        end_tokens: frozenset[int],
        *,
        speculative: bool = True,
        num_speculative_tokens: int | None = None,
    ) -> bool:
        """Open a request at prompt plus delivered tokens; returns whether it is new and wants a prefill.

        Opening a live request again rewinds the feed to what the coordinator holds and changes
        nothing else. A request that was aborted is refused.

        Args:
            length_max: the length, prompt included, at which the request ends.
            end_tokens: tokens that end it; the end token is committed.
            speculative: False: no drafter takes part in it, and no guess is of use.
            num_speculative_tokens: most draft tokens that one pass verifies; None: as many as there are.

        Raises:
            ProtocolError: the tokens contradict the log, or no token can come.
        """
        known = self._requests.get(request)
        if known is not None:
            self._rewind_feed(request, known, tokens)
            return False
        if self._ended.get(request, False):
            return False
        if not 1 <= prompt_length <= len(tokens):
            raise ProtocolError(f"coordinator: a prompt of {prompt_length} among {len(tokens)} tokens")
        opened = self._requests[request] = TargetRequest(
            tokens,
            length_max,
            end_tokens,
            speculative=speculative,
            num_speculative_tokens=num_speculative_tokens,
        )
        self._links.open(request, again=self._ended.pop(request, None) is not None)
        final = opened.end_at_open(prompt_length)
        if final is not None:
            self._finish(request, opened, final)
        return final is None

    def on_abort(self, request: RequestId) -> None:
        """End a request that nobody wants any more; its id is refused from now on."""
        state = self._requests.get(request)
        if state is None:
            self._remember(request, aborted=True)
        elif state.log.final is None:
            self._finish(request, state, "abort")

    def on_drop(self, request: RequestId) -> None:
        """Forget a request whose reader is gone, without an end: it may be opened again."""
        if request in self._requests:
            self._forget(request)

    def on_feed_have(self, have: Have) -> bool:
        """Rewind the feed to what the coordinator holds; False if the request must be opened again."""
        state = self._requests.get(have.request)
        if state is None:
            return False
        if not 0 <= have.length <= state.log.length:
            raise ProtocolError(f"coordinator: it holds {have.length} tokens of {state.log.length}")
        state.feed_cursor, state.feed_done = have.length, False
        return True

    def feed(self) -> list[Commit]:
        """Hand the coordinator what is newest, one commit per request.

        An ended request stays readable (`log`, `stats`) until the next call.
        """
        self._sweep()
        commits = []
        for request, state in self._requests.items():
            ends = state.log.final is not None and not state.feed_done
            if state.feed_cursor < state.log.length or ends:
                commits.append(state.commit_from(request, self.incarnation, state.feed_cursor))
                state.feed_cursor, state.feed_done = state.log.length, state.log.final is not None
        return commits

    # What the drafters say.

    def on_attach(self, drafter: DrafterId, hello: Hello) -> DrafterId | None:
        """Start a drafter's link; everything its older link said is forgotten.

        Returns:
            The same drafter incarnation's older link, detached here: the shell closes its stream.

        Raises:
            ProtocolError: too many drafters, or a hello with a length below 1.
        """
        return self._links.attach(drafter, hello)

    def on_detach(self, drafter: DrafterId) -> None:
        """Forget a drafter: its aliases go, then the nodes that nobody else proposed."""
        self._links.detach(drafter)

    def on_propose(self, drafter: DrafterId, message: Propose) -> Received:
        """Take nodes into the tree and tell what became of them.

        Raises:
            ProtocolError: no honest drafter sends this; close its stream and detach it.
        """
        return self._links.propose(drafter, message)

    def on_guess(
        self,
        drafter: DrafterId,
        request: RequestId,
        guesses: Sequence[tuple[int, int, float]],
        below: TreeNode | None = None,
    ) -> None:
        """Hang the guesses of a lookup, which lives here and needs no link, below a live node or the root.

        What it guessed after earlier commits stays while it is live. So what it holds is bounded by how much
        it guesses between two commits, times the positions that it looks ahead.

        Args:
            drafter: below 0, where no link is.
            guesses: (parent, token, score), parents first, none deeper than `room`; a parent is a place in
                the list, or -1 for the node below which they hang; scores are in (0, 1].
            below: that node; None is the root.
        """
        state = self._requests[request]
        state.hang(drafter, guesses, below or state.tree.root)

    def on_have(self, drafter: DrafterId, have: Have) -> None:
        """Rewind a drafter's cursor; the next hand-out is one commit from there.

        Raises:
            ProtocolError: it claims more tokens than there are.
        """
        self._links.have(drafter, have)

    def messages_for(self, drafter: DrafterId) -> list[Attached | Commit | Close]:
        """Hand a drafter what is newest: per request one Attached or Commit, then a Close at its end."""
        return self._links.messages(drafter)

    # What a pass needs, and what it brings.

    def requests(self) -> list[RequestId]:
        """Return the requests that go on."""
        return [request for request, state in self._requests.items() if state.log.final is None]

    def drafters(self) -> list[DrafterId]:
        """Return the attached drafters."""
        return self._links.drafters()

    def drafting(self) -> list[DrafterId]:
        """Return the attached drafters that have spoken of some request that goes on; all while none has."""
        return self._links.drafting() or self._links.drafters()

    def log(self, request: RequestId) -> CommitLog:
        """Return a request's log; read it only."""
        return self._requests[request].log

    def tree(self, request: RequestId) -> SpeculationTree:
        """Return a request's tree; read it only."""
        return self._requests[request].tree

    def stats(self, request: RequestId) -> RequestStats:
        """Return a request's counts."""
        return self._requests[request].stats

    def room(self, request: RequestId) -> int:
        """Return how many draft tokens in a row can still be of use; see `TargetRequest.room`."""
        return self._requests[request].room

    def on_verified(
        self, request: RequestId, nodes: Sequence[TreeNode], parents: Sequence[int], winners: Sequence[int]
    ) -> Verified | None:
        """Commit what a pass found; None for a request that ended meanwhile.

        A node that died during the pass is discarded with its row. At most one pass per request is
        in flight.

        Args:
            nodes: [rows - 1] the verified nodes; row 0 is the root, row i + 1 is nodes[i].
            parents: [rows - 1] the row of each node's parent.
            winners: [rows] the target's own token after each row.

        Raises:
            ValueError: a live node's parent row is not its parent, or a winner is no token.
        """
        state = self._requests.get(request)
        if state is None or state.log.final is not None:
            return None
        self._check_rows(state, nodes, parents, winners)
        tokens = [state.tree.root.token] + [node.token if node.live else -1 for node in nodes]
        walked = walk(tokens, [0, *parents], winners)
        last_row = walked.accepted[-1] if walked.accepted else 0
        emitted, final = state.cut(walked.emitted)
        accepted = walked.accepted[: len(emitted)]
        guesses = tuple(state.guesses(emitted))
        state.credit(
            [{self._links.source(drafter) for drafter, _ in node.aliases} for node in nodes], accepted
        )
        advance = state.commit(emitted, len(accepted), verified=len(nodes), corrected=last_row in parents)
        self._links.follow(request, advance.kept, advance.dropped)
        if final is not None:
            self._finish(request, state, final)
        return Verified(accepted, emitted, advance.rolled_back, guesses, final)

    # Inside.

    def _rewind_feed(self, request: RequestId, state: TargetRequest, tokens: Sequence[int]) -> None:
        if len(tokens) > state.log.length:
            raise ProtocolError(
                f"coordinator: request {request} opened at {len(tokens)} tokens, there are {state.log.length}"
            )
        state.log.append(0, tokens)
        state.feed_cursor, state.feed_done = len(tokens), False

    def _check_rows(
        self, state: TargetRequest, nodes: Sequence[TreeNode], parents: Sequence[int], winners: Sequence[int]
    ) -> None:
        rows = [state.tree.root, *nodes]
        if any(not 0 <= winner < self.vocabulary_size for winner in winners):
            raise ValueError(f"a winner is outside the vocabulary of {self.vocabulary_size} tokens")
        for row, (node, parent) in enumerate(zip(nodes, parents, strict=True), 1):
            if not 0 <= parent < row or (node.live and node.parent is not rows[parent]):
                raise ValueError(f"row {row} was verified below row {parent}, which is not its parent")

    def _finish(self, request: RequestId, state: TargetRequest, final: Final) -> None:
        state.log.finish(final)
        self._links.follow(request, (), state.tree.reset(state.log.length, state.log.last))

    def _sweep(self) -> None:
        """Forget what ended and was handed out, except the newest while a drafter has yet to read it."""
        done = [request for request, state in self._requests.items() if state.feed_done]
        awaited = [request for request in done if self._links.awaits(request)]
        kept = set(awaited[-self.limits.finished_max :])
        for request in done:
            if request not in kept:
                self._forget(request)

    def _forget(self, request: RequestId) -> None:
        state = self._requests.pop(request)
        self._remember(request, aborted=state.log.final == "abort")
        self._links.forget(request)

    def _remember(self, request: RequestId, aborted: bool) -> None:
        self._ended[request] = aborted
        while len(self._ended) > self.limits.remembered_max:
            del self._ended[next(iter(self._ended))]
