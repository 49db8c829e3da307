"""The drafter's engine: it grows the speculation trees of all requests and never waits for a verdict.

One turn: take what arrived, choose the futures worth expanding, expand them in one forward, and send
what is new if the stream is ready. With nothing worth expanding it sleeps until something arrives.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from amusd.drafters.base import Drafter, DrawingDrafter, Drawn, Expansion
from amusd.errors import InputError, ProtocolError
from amusd.orders import Order
from amusd.policies.calibration import Forecasts
from amusd.policies.drafting import DraftPolicy
from amusd.rpc.v1 import common_pb2, draft_pb2, target_pb2
from amusd.speculation.drafter import DrafterEndpoint, LogChange
from amusd.speculation.messages import Attached, Close, Commit, NodeId, RequestId
from amusd.tracing import Recorder
from amusd.transport.codec import encode_drafter
from amusd.transport.link import Link
from amusd.workers.engine import Engine
from amusd.workers.events import Aborted, CoordinatorJoined, CoordinatorLeft, LinkReady, Opened

ControlLink = Link[draft_pb2.DraftEvent]
TargetLink = Link[target_pb2.DrafterFrame]


@dataclass(frozen=True, slots=True)
class TargetJoined:
    """The stream to the target is up."""

    link: TargetLink


@dataclass(frozen=True, slots=True)
class TargetLeft:
    """The stream to the target is gone."""

    link: TargetLink
    reason: str


@dataclass(frozen=True, slots=True)
class TargetSaid:
    """The target's message."""

    link: TargetLink
    message: Attached | Commit | Close


DraftInput = (
    CoordinatorJoined
    | CoordinatorLeft
    | Opened
    | Aborted
    | TargetJoined
    | TargetLeft
    | TargetSaid
    | LinkReady
)


class DraftEngine(Engine[DraftInput]):
    """Owns the drafter's endpoint and the drafter itself.

    Args:
        build: loads the drafter; called on the engine's thread, after it was pinned.
        policy: which nodes of which requests are expanded next.
    """

    def __init__(
        self,
        build: Callable[[], tuple[Drafter, DrafterEndpoint]],
        policy: DraftPolicy,
        recorder: Recorder,
        cores: tuple[int, ...],
    ) -> None:
        super().__init__("amusd-draft", cores)
        self._build = build
        self._policy = policy
        self._recorder = recorder
        self._control: ControlLink | None = None
        self._target: TargetLink | None = None
        self._events: list[draft_pb2.DraftEvent] = []
        self._open_requests: set[RequestId] = set()
        self._forecasts = Forecasts()
        self._idle = True

    def load(self) -> None:
        """Load the model."""
        self.drafter, self.endpoint = self._build()

    # -- events --------------------------------------------------------------------------------

    def on_event(self, event: DraftInput) -> None:
        """Take one event."""
        self._idle = False
        match event:
            case CoordinatorJoined(link):
                self._drop_coordinator(ProtocolError("another coordinator took over this worker"))
                self._control = link
                welcome = common_pb2.Welcome(incarnation=self.endpoint.incarnation)
                state = draft_pb2.LinkState(attached=self._target is not None)
                link.send([draft_pb2.DraftEvent(welcome=welcome), draft_pb2.DraftEvent(link=state)])
            case CoordinatorLeft(link):
                if self._control is link:
                    self._drop_coordinator()
            case Opened(link, order):
                if self._control is link:
                    self._open(order)
            case Aborted(request):
                self._abort(request)
            case TargetJoined(stream):
                self._target = stream
                stream.send(encode_drafter([self.endpoint.hello()]))
                self._say_link(True, "")
            case TargetLeft(stream, reason):
                if self._target is stream:
                    self._leave_target(reason)
            case TargetSaid(stream, message):
                if self._target is stream:
                    self._hear(message)
            case LinkReady():
                pass
            case _:
                assert_never(event)

    def _open(self, order: Order) -> None:
        length_max = min(order.length_max, self.drafter.length_max)
        if order.request in self._open_requests:
            self._apply(self.endpoint.on_open(order.request, order.tokens, length_max))
            return
        started = self._recorder.now_ns()
        try:
            self.drafter.open(
                order.request,
                order.tokens,
                order.prompt_length,
                order.params,
                order.seed,
                sample_index=order.sample_index,
                end_tokens=order.end_tokens,
            )
        except InputError as error:
            refused = common_pb2.Refused(
                request=order.request, field=error.field, value=str(error.value), remedy=error.remedy
            )
            self._events.append(draft_pb2.DraftEvent(refused=refused))
            return
        self._open_requests.add(order.request)
        self._forecasts.open(order.request, order.params.greedy)
        self.endpoint.on_open(order.request, order.tokens, length_max)
        self._recorder.record("prefill", started, request=order.request)

    def _abort(self, request: RequestId) -> None:
        """Nobody wants drafts for this request any more; it may be opened again."""
        self.endpoint.on_abort(request)
        self._forget(request)

    def _forget(self, request: RequestId) -> None:
        if request in self._open_requests:
            self._open_requests.remove(request)
            self._forecasts.close(request)
            self.drafter.close(request)

    def _drop_coordinator(self, reason: ProtocolError | None = None) -> None:
        if self._control is not None:
            self._control.close(reason)
            self._control = None
        self._events.clear()
        for request in list(self._open_requests):
            self._abort(request)

    def _hear(self, message: Attached | Commit | Close) -> None:
        try:
            change = self.endpoint.on_message(message)
        except ProtocolError as error:
            self._leave_target(str(error))
            return
        if isinstance(message, Close):
            self._forget(message.request)
        elif change is not None:
            self._apply(change)

    def _apply(self, change: LogChange) -> None:
        """The drafter's cells follow the log."""
        if change.truncated:
            self._forecasts.truncate(change.request)
            self.drafter.truncate(change.request, self.endpoint.log(change.request).tokens)
            return
        follow = change.request, change.committed, change.dropped, change.tokens, change.length
        self._forecasts.on_commit(*follow)
        self.drafter.on_commit(*follow)
        if change.committed:
            nodes = [(change.request, node) for node in change.committed]
            self._recorder.mark("committed", committed=nodes)
        if change.rolled_back:
            self._recorder.mark("rollback", request=change.request, length=change.length)

    def _leave_target(self, reason: str) -> None:
        """End the stream, if it has not ended yet; the worker dials again."""
        if self._target is not None:
            self._target.close()
            self._target = None
            self.endpoint.on_link_lost()
            self._say_link(False, reason)

    def _say_link(self, attached: bool, reason: str) -> None:
        if self._control is not None:
            state = draft_pb2.LinkState(attached=attached, reason=reason)
            self._events.append(draft_pb2.DraftEvent(link=state))

    def occupancy(self) -> dict[str, int]:
        """Open requests, those that the drafter holds state of, and live nodes of all trees."""
        requests = self.endpoint.requests()
        return {
            "requests": len(requests),
            "slots": len(self._open_requests),
            "nodes": sum(self.endpoint.tree(request).count for request in requests),
            "window": self.endpoint.window * len(requests),
        }

    # -- drafting ------------------------------------------------------------------------------

    def wait_seconds(self) -> float | None:
        """Not at all while there is something to expand."""
        return None if self._idle else 0.0

    def work(self) -> None:
        """Expand the best futures and send what is new."""
        choices = self._policy.choose(self.endpoint) if self._target is not None else []
        self._idle = not choices
        if choices:
            started = self._recorder.now_ns()
            nodes = [
                (choice.request, node)
                for choice, drawn in zip(choices, self._expand(choices), strict=True)
                for node in self._grow(choice, drawn)
            ]
            self._recorder.record("draft", started, rows=len(choices), nodes=nodes)
        self._publish()

    def _expand(self, choices: list[Expansion]) -> list[Drawn]:
        if isinstance(self.drafter, DrawingDrafter):
            return self.drafter.draw(choices)
        return [Drawn(candidates, None) for candidates in self.drafter.expand(choices)]

    def _grow(self, choice: Expansion, drawn: Drawn) -> list[NodeId]:
        """Hang the candidates that are likely enough below their node."""
        request, node = choice.request, choice.node
        tree = self.endpoint.tree(request)
        parent = tree.root if node is None else self.endpoint.node(request, node)
        assert parent is not None, "nothing changes a tree while its engine drafts"
        estimates = self._forecasts.calibrate(request, node, choice.position, drawn.candidates)
        worth = self._policy.worth_proposing(tree.reach(parent), estimates)
        return self.endpoint.grow(request, node, worth, drawn.draws)

    def _publish(self) -> None:
        if self._target is not None and self._target.ready and (messages := self.endpoint.outgoing()):
            self._target.send(encode_drafter(messages))
        if self._control is not None and self._control.ready and self._events:
            events, self._events = self._events, []
            self._control.send(events)
