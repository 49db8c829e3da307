"""The target's links to its drafters: who reads which log how far, and who proposed which node.

Laws:

- A drafter takes part in a request from `Attached` to `Close` on its link; a frame for a request that
  ended is answered with `Close`, one for a request it was never attached to is a protocol error.
- Hand-outs are cursors into the log, never queues. A drafter that has not spoken of a request, for the
  coordinator gave it to others, hears that it is there and that it is over, and nothing between.
- A drafter that detaches takes its aliases; then nodes that nobody else proposed go.
- Whatever a drafter does, it holds a bounded number of nodes here, and no other drafter notices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from amusd.errors import ProtocolError
from amusd.speculation.attachment import Attachment, Lane, Limits, check_propose
from amusd.speculation.messages import (
    Attached,
    Close,
    Commit,
    DrafterId,
    Have,
    Hello,
    NodeId,
    Propose,
    RequestId,
)
from amusd.speculation.request import TargetRequest
from amusd.speculation.tree import TreeNode


@dataclass(frozen=True, slots=True)
class Received:
    """What became of a proposal: `live` nodes, `late` ones that the log already holds, `stale` ones."""

    live: int = 0
    late: int = 0
    stale: int = 0


class Links:
    """All attached drafters.

    Args:
        requests: the endpoint's requests, ended ones that were not forgotten included.
        ended: ids of requests that were forgotten; a bounded memory.
    """

    def __init__(
        self,
        incarnation: int,
        vocabulary_size: int,
        limits: Limits,
        requests: Mapping[RequestId, TargetRequest],
        ended: Mapping[RequestId, bool],
    ) -> None:
        self._incarnation = incarnation
        self._vocabulary_size = vocabulary_size
        self._limits = limits
        self._requests = requests
        self._ended = ended
        self._links: dict[DrafterId, Attachment] = {}

    def drafters(self) -> list[DrafterId]:
        """Return who is attached."""
        return list(self._links)

    def drafting(self) -> list[DrafterId]:
        """Return who has spoken of some request that goes on."""
        return [
            drafter
            for drafter, link in self._links.items()
            if any(lane.known for lane in link.lanes.values())
        ]

    def attach(self, drafter: DrafterId, hello: Hello) -> DrafterId | None:
        """Start a link and forget what an older one said; returns the older one of the same incarnation."""
        if any(length < 1 for length in hello.lengths.values()):
            raise ProtocolError(f"drafter {drafter}: a hello with a log length below 1")
        self.detach(drafter)
        same = (other for other, link in self._links.items() if link.incarnation == hello.incarnation)
        older = next(same, None)
        if older is not None:
            self.detach(older)
        if len(self._links) >= self._limits.drafters_max:
            raise ProtocolError(
                f"drafter {drafter}: {len(self._links)} others are attached, the most allowed"
            )
        link = self._links[drafter] = Attachment(hello.incarnation)
        link.closes.update(request for request in hello.lengths if request in self._ended)
        for request, state in self._requests.items():
            if not state.speculative:
                continue
            length = state.log.length
            cursor = min(hello.lengths.get(request, length), length)
            link.lanes[request] = Lane(cursor, known=request in hello.lengths)
        return older

    def detach(self, drafter: DrafterId) -> None:
        """End a link, if there is one."""
        link = self._links.pop(drafter, None)
        if link is None:
            return
        for request, lane in link.lanes.items():
            for node_id, node in lane.live.items():
                node.aliases.pop((drafter, node_id), None)
            self._requests[request].tree.prune_unaliased()

    def open(self, request: RequestId, *, again: bool) -> None:
        """Let every drafter take part in a request that was just opened, if it is speculative.

        One that is opened `again` after its Close is left alone on the present links: frames of its
        earlier life may still be on their way.
        """
        state = self._requests[request]
        for link in self._links.values() if state.speculative else ():
            if again:
                link.shunned.add(request)
            else:
                link.lanes[request] = Lane(state.log.length)

    def forget(self, request: RequestId) -> None:
        """Owe a Close to every drafter that knows of a request, and to no other: debts stay bounded."""
        for link in self._links.values():
            link.shunned.discard(request)
            lane = link.lanes.pop(request, None)
            if lane is not None and (lane.attached or lane.known):
                link.closes.add(request)

    def awaits(self, request: RequestId) -> bool:
        """Tell whether some drafter has yet to read the end of a request."""
        return any(request in link.lanes for link in self._links.values())

    def follow(
        self, request: RequestId, kept: Sequence[TreeNode | None], dropped: Sequence[TreeNode]
    ) -> None:
        """Let aliases follow what a commit did to the tree."""
        for node in dropped:
            for lane, node_id in self._aliases(request, node):
                del lane.live[node_id]
        for committed in kept:
            if committed is not None:
                for lane, node_id in self._aliases(request, committed):
                    lane.commit(node_id, committed.position + 1, 2 * self._limits.window)

    def propose(self, drafter: DrafterId, message: Propose) -> Received:
        """Take a proposal into the request's tree; raises ProtocolError for a hostile one."""
        link = self._link(drafter)
        request = message.request
        lane = link.lanes.get(request)
        if lane is None and request in link.shunned:
            return Received(stale=len(message.nodes))
        if lane is None and self._is_over(request):
            link.closes.add(request)
            return Received(stale=len(message.nodes))
        if lane is None or not lane.attached:
            raise ProtocolError(
                f"drafter {drafter} proposes for request {request} without being attached to it"
            )
        state = self._requests[request]
        fault = check_propose(lane, message, state.log.length, self._vocabulary_size, self._limits)
        if fault:
            raise ProtocolError(f"drafter {drafter}, request {request}: {fault}")
        received = self._take(drafter, lane, state, message)
        if len(lane.live) > 2 * self._limits.window or link.live_count > self._limits.nodes_total_max:
            raise ProtocolError(
                f"drafter {drafter}: {len(lane.live)} live nodes for request {request} and {link.live_count} "
                f"in all, at most {2 * self._limits.window} and {self._limits.nodes_total_max} are allowed"
            )
        return received

    def have(self, drafter: DrafterId, have: Have) -> None:
        """Rewind a cursor; raises ProtocolError for a claim beyond the log."""
        link = self._link(drafter)
        lane = link.lanes.get(have.request)
        if lane is None:
            if self._is_over(have.request):
                link.closes.add(have.request)
            return  # if it is not open here yet, its Attached will come
        length = self._requests[have.request].log.length
        if not 1 <= have.length <= length:
            raise ProtocolError(
                f"drafter {drafter} claims {have.length} tokens of request {have.request}, there are {length}"
            )
        lane.cursor, lane.known = have.length, True

    def source(self, drafter: DrafterId) -> int:
        """Return under which number a drafter is credited: its incarnation, of a lookup its own id."""
        link = self._links.get(drafter)
        return drafter if link is None else link.incarnation

    def messages(self, drafter: DrafterId) -> list[Attached | Commit | Close]:
        """Hand out what is newest: per request one Attached or Commit, then a Close at its end.

        A drafter that opens a request later says what it has, and gets one commit from there.
        """
        link = self._link(drafter)
        messages: list[Attached | Commit | Close] = [Close(request) for request in sorted(link.closes)]
        link.closes.clear()
        for request, lane in list(link.lanes.items()):
            state = self._requests[request]
            over = state.log.final is not None
            if lane.attached and lane.known and (lane.cursor < state.log.length or over):
                messages.append(state.commit_from(request, self._incarnation, lane.cursor))
                lane.cursor = state.log.length
            elif not lane.attached and not over:
                messages.append(Attached(request, lane.cursor, state.log.since(lane.cursor)))
                lane.attached, lane.cursor = True, state.log.length
            if over:
                messages.append(Close(request))
                del link.lanes[request]
        return messages

    def _is_over(self, request: RequestId) -> bool:
        state = self._requests.get(request)
        return request in self._ended if state is None else state.log.final is not None

    def _link(self, drafter: DrafterId) -> Attachment:
        link = self._links.get(drafter)
        if link is None:
            raise ProtocolError(f"drafter {drafter} is not attached: it must say hello first")
        return link

    def _take(self, drafter: DrafterId, lane: Lane, state: TargetRequest, message: Propose) -> Received:
        live = late = stale = 0
        for node in message.nodes:
            lane.first_id = node.id if lane.first_id is None else lane.first_id
            lane.last_id = node.id
            place = state.place(lane, node)
            if isinstance(place, TreeNode):
                live += 1
                place.aliases[drafter, node.id] = node.score
                lane.live[node.id] = place
            elif place is None:
                stale += 1
            else:
                late += 1
                lane.commit(node.id, place, 2 * self._limits.window)
        for parent, draws in message.draws.items():
            drawn_below = lane.resolve(parent, state.tree.root)
            if isinstance(drawn_below, TreeNode) and drawn_below.draws is None:
                drawn_below.draws = draws
        state.stats.drafted += len(message.nodes)
        state.stats.stale_nodes += stale
        state.stats.credit(self._links[drafter].incarnation).drafted += len(message.nodes)
        return Received(live, late, stale)

    def _aliases(self, request: RequestId, node: TreeNode) -> list[tuple[Lane, NodeId]]:
        """The names of a node on the links; a lookup, which has none, is passed over."""
        return [
            (self._links[drafter].lanes[request], node_id)
            for drafter, node_id in node.aliases
            if drafter in self._links
        ]
