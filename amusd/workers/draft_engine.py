"""The drafter's engine: it grows the speculation trees of all requests and never waits for a verdict.

One turn: take what arrived, choose the futures worth expanding, expand them in one forward, send what is new
if the stream is ready, and read a part of a new prompt. With nothing to do it sleeps until something arrives.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, assert_never

from amusd.devices import let_others_first
from amusd.drafters.base import Drafter, DrawingDrafter, Drawn, Expansion
from amusd.errors import InputError, ProtocolError
from amusd.orders import Order
from amusd.policies.calibration import Forecasts
from amusd.policies.drafting import DraftPolicy, lead
from amusd.policies.leading import Leads
from amusd.policies.prefilling import CHUNKS, PrefillPace
from amusd.policies.urgency import Urgency
from amusd.rpc.v1 import common_pb2, draft_pb2
from amusd.speculation.drafter import DrafterEndpoint, LogChange
from amusd.speculation.messages import Attached, Close, Commit, NodeId, Price, RequestId
from amusd.tracing import Recorder
from amusd.transport.codec import encode_drafter
from amusd.workers.cost_files import CostFile
from amusd.workers.draft_clients import Client, Clients, ControlLink, TargetLink
from amusd.workers.engine import Costs, Engine
from amusd.workers.events import Aborted, CoordinatorJoined, CoordinatorLeft, LinkReady, Opened

READ_SECONDS: Final = 0.02  # of a prompt that is read while others are drafted for, at a time


@dataclass(frozen=True, slots=True)
class TargetNamed:
    """A coordinator said where its target is, which will be dialled."""

    control: ControlLink
    address: str


@dataclass(frozen=True, slots=True)
class TargetJoined:
    """The stream to a coordinator's target is up."""

    control: ControlLink
    link: TargetLink


@dataclass(frozen=True, slots=True)
class TargetLeft:
    """A stream to a target is gone."""

    link: TargetLink
    reason: str


@dataclass(frozen=True, slots=True)
class TargetSaid:
    """A target's message."""

    link: TargetLink
    message: Attached | Commit | Close | Price


DraftInput = (
    CoordinatorJoined
    | CoordinatorLeft
    | Opened
    | Aborted
    | TargetNamed
    | TargetJoined
    | TargetLeft
    | TargetSaid
    | LinkReady
)


class DraftEngine(Engine[DraftInput]):
    """Owns the drafter, and an endpoint for each coordinator with its target.

    Args:
        build: loads the drafter and what its steps cost earlier; called on the engine's thread, after it was
            pinned.
        incarnation: of all endpoints, whose node ids are drawn from one count.
        policy: which nodes of which requests are expanded next.
    """

    def __init__(
        self,
        build: Callable[[], tuple[Drafter, CostFile | None]],
        incarnation: int,
        policy: DraftPolicy,
        recorder: Recorder,
        cores: tuple[int, ...],
    ) -> None:
        super().__init__("amusd-draft", cores)
        self._build = build
        self._incarnation = incarnation
        self._policy = policy
        self._recorder = recorder
        self._clients = Clients()
        self._node_ids = itertools.count()
        self._forecasts = Forecasts()
        self._leads = Leads()
        self._urgency = Urgency()
        self._pace = PrefillPace(READ_SECONDS, lambda rows, _: self._policy.costs.of_rows(rows, 1))
        self._idle = True

    def load(self) -> None:
        """Load the model; on cores that it shares with streams, these go first: a target waits for them."""
        if self._cores:
            let_others_first()
        self.drafter, self._cost_file = self._build()

    def finish(self) -> None:
        """Keep what steps cost for the next life."""
        if self._cost_file is not None:
            self._cost_file.write()

    # -- events --------------------------------------------------------------------------------

    def on_event(self, event: DraftInput) -> None:
        """Take one event; a target that broke the protocol loses its stream, nobody else anything."""
        self._idle = False
        match event:
            case CoordinatorJoined(link):
                endpoint = DrafterEndpoint(self._incarnation, self._policy.window, ids=self._node_ids)
                self._clients.add(Client(link, endpoint))
                welcome = common_pb2.Welcome(incarnation=self._incarnation)
                link.send([draft_pb2.DraftEvent(welcome=welcome)])
            case CoordinatorLeft(link):
                if (client := self._clients.of(link)) is not None:
                    self._let_go(client)
            case Opened(link, order):
                if (client := self._clients.of(link)) is not None:
                    self._open(client, order)
            case Aborted(request):
                self._abort(request)
            case TargetNamed(link, address):
                if (client := self._clients.of(link)) is not None:
                    self._name_target(client, address)
            case TargetJoined(link, stream):
                if (client := self._clients.of(link)) is not None:
                    client.target, client.price = stream, 0.0
                    stream.send(encode_drafter([client.endpoint.hello()]))
                    client.say_link(True, "")
            case TargetLeft(stream, reason):
                if (client := self._clients.at(stream)) is not None:
                    self._leave_target(client, reason)
            case TargetSaid(stream, message):
                if (client := self._clients.at(stream)) is not None:
                    self._hear(client, message)
            case LinkReady():
                pass
            case _:
                assert_never(event)

    def _open(self, client: Client, order: Order) -> None:
        length_max = min(order.length_max, self.drafter.length_max)
        owner = self._clients.owners.get(order.request)
        if owner is client:
            self._apply(client, client.endpoint.on_open(order.request, order.tokens, length_max))
            return
        if owner is not None:  # no two coordinators use the same ids
            self._let_go(owner, ProtocolError("this coordinator came back on a newer stream"))
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
            client.events.append(draft_pb2.DraftEvent(refused=refused))
            return
        self._clients.owners[order.request] = client
        self._forecasts.open(order.request, order.params.greedy)
        self._leads.open(order.request)
        client.endpoint.on_open(order.request, order.tokens, length_max)
        if order.deadline_seconds is not None:
            deadline = self.now() + order.deadline_seconds
            self._urgency.open(order.request, deadline, len(order.tokens), order.length_max)
        if order.num_speculative_tokens is not None:
            self._clients.leads[order.request] = lead(order.num_speculative_tokens)
        self._clients.unread.append(order.request)

    def _abort(self, request: RequestId) -> None:
        """Nobody wants drafts for this request any more; it may be opened again."""
        if (client := self._clients.owners.get(request)) is not None:
            client.endpoint.on_abort(request)
            self._forget(request)

    def _forget(self, request: RequestId) -> None:
        del self._clients.owners[request]
        if request in self._clients.unread:
            self._clients.unread.remove(request)
        self._clients.leads.pop(request, None)
        self._forecasts.close(request)
        self._leads.close(request)
        self._urgency.close(request)
        self.drafter.close(request)

    def _name_target(self, client: Client, address: str) -> None:
        client.address = address
        for other in self._clients:
            if other is not client and other.address == address:
                self._let_go(other, ProtocolError(f"another coordinator took over the target at {address}"))

    def _let_go(self, client: Client, reason: ProtocolError | None = None) -> None:
        client.control.close(reason)
        if client.target is not None:
            client.target.close()
        for request in client.endpoint.requests():
            self._forget(request)
        self._clients.remove(client)

    def _hear(self, client: Client, message: Attached | Commit | Close | Price) -> None:
        if isinstance(message, Price):
            client.price = message.reach
            return
        is_open = self._clients.owners.get(message.request) is client
        try:
            change = client.endpoint.on_message(message)
        except ProtocolError as error:
            self._leave_target(client, str(error))
            return
        if change is not None:
            self._apply(client, change)
        elif isinstance(message, Close) and is_open:
            self._forget(message.request)

    def _apply(self, client: Client, change: LogChange) -> None:
        """The drafter's cells follow the log."""
        if change.truncated:
            self._forecasts.truncate(change.request)
            self.drafter.truncate(change.request, client.endpoint.log(change.request).tokens)
            return
        follow = change.request, change.committed, change.dropped, change.tokens, change.length
        hit = self._forecasts.on_commit(*follow)
        self.drafter.on_commit(*follow)
        if change.tokens:
            self._leads.on_commit(change.request, hit)
            self._urgency.on_pass(change.request, change.length, self.now())
        if change.committed:
            nodes = [(change.request, node) for node in change.committed]
            self._recorder.mark("committed", committed=nodes)
        if change.rolled_back:
            self._recorder.mark("rollback", request=change.request, length=change.length)

    def _leave_target(self, client: Client, reason: str) -> None:
        """End the stream, if it has not ended yet; the worker dials again."""
        if client.target is not None:
            client.target.close()
            client.target = None
            client.price = 0.0
            client.endpoint.on_link_lost()
            client.say_link(False, reason)

    def occupancy(self) -> dict[str, int]:
        """Open requests, those that the drafter holds state of, and live nodes of all trees."""
        requests = [request for client in self._clients for request in client.endpoint.requests()]
        return {
            "requests": len(requests),
            "slots": len(self._clients.owners),
            "nodes": sum(self._clients.tree(request).count for request in requests),
            "window": self._policy.window * len(requests),
        }

    def costs(self) -> Costs:
        """Of steps, where the drafter's were measured when it was loaded."""
        return Costs(self._policy.costs.table_seconds() if self.drafter.step_seconds else {})

    # -- drafting ------------------------------------------------------------------------------

    def wait_seconds(self) -> float | None:
        """Not at all while there is something to expand."""
        return None if self._idle else 0.0

    def work(self) -> None:
        """Expand the best futures, send what is new, and read on."""
        choices = self._policy.choose(self._clients, self._least_reach, self._urgency.weights(self.now()))
        if choices:
            started_ns, started = self._recorder.now_ns(), self.now()
            nodes = [
                (choice.request, node)
                for choice, drawn in zip(choices, self._expand(choices), strict=True)
                for node in self._grow(choice, drawn)
            ]
            self._recorder.record("draft", started_ns, rows=len(choices), nodes=nodes)
            self._learn_costs(choices, self.now() - started)
        self._publish()
        self._idle = not choices and not self._clients.unread
        if self._clients.unread:
            self._read(self._clients.unread[0])

    def _read(self, request: RequestId) -> None:
        """A part of a log, short where others are drafted for; none of one that ended or grew too long."""
        if not (self._clients.room(request) and self._clients.depth_max(request)):
            self._clients.unread.remove(request)
            return
        rows = self._pace.rows(CHUNKS[-1], 0, 0.0 if self._clients.requests() else None)
        assert rows is not None, "no step was kept waiting before"
        started_ns, started = self._recorder.now_ns(), self.now()
        left = self.drafter.read(request, rows)
        if left:
            self._pace.observe(rows, 0, self.now() - started)
        else:
            self._clients.unread.remove(request)
        self._recorder.record("prefill", started_ns, request=request)

    def _learn_costs(self, choices: list[Expansion], seconds: float) -> None:
        requests = len({choice.request for choice in choices})
        self._policy.costs.observe(len(choices), requests, seconds)
        if self._cost_file is not None:
            self._cost_file.write_if_due(self.now())

    def _least_reach(self, request: RequestId) -> float:
        price = self._clients.owners[request].price
        return self._leads.least_reach(request, price, self._forecasts.prospect(request))

    def _expand(self, choices: list[Expansion]) -> list[Drawn]:
        if isinstance(self.drafter, DrawingDrafter):
            return self.drafter.draw(choices)
        return [Drawn(candidates, None) for candidates in self.drafter.expand(choices)]

    def _grow(self, choice: Expansion, drawn: Drawn) -> list[NodeId]:
        """Hang the candidates that are likely enough below their node."""
        request, node = choice.request, choice.node
        endpoint = self._clients.owners[request].endpoint
        tree = endpoint.tree(request)
        parent = tree.root if node is None else endpoint.node(request, node)
        assert parent is not None, "nothing changes a tree while its engine drafts"
        estimates = self._forecasts.calibrate(request, node, choice.position, drawn.candidates)
        worth = self._policy.worth_proposing(tree.reach(parent), estimates)
        return endpoint.grow(request, node, worth, drawn.draws)

    def _publish(self) -> None:
        for client in self._clients:
            if client.target is not None and client.target.ready and (messages := client.endpoint.outgoing()):
                client.target.send(encode_drafter(messages))
            if client.control.ready and client.events:
                events, client.events = client.events, []
                client.control.send(events)
