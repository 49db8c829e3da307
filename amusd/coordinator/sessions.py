"""What the streams to a target and to a drafter mean to the coordinator."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace

import grpc.aio

from amusd.coordinator.live import LiveRequest
from amusd.coordinator.session import PROBE_SECONDS, PROBE_TIMEOUT_SECONDS, WorkerSession, answered
from amusd.errors import AmusdError, InputError, WorkerError
from amusd.rpc.v1 import common_pb2, draft_pb2, draft_pb2_grpc, target_pb2, target_pb2_grpc
from amusd.speculation.messages import Commit, RequestId
from amusd.tracing import Track
from amusd.transport.codec import decode_commits, decode_logprobs, decode_map
from amusd.transport.orders import order_to_wire

Live = Mapping[RequestId, LiveRequest]


def as_delivered(request: LiveRequest) -> common_pb2.Open:
    """The order as it is now: with everything delivered so far, and with the time that is left."""
    tokens, left = tuple(request.ledger.tokens), request.deadline_seconds
    return order_to_wire(replace(request.order, tokens=tokens, deadline_seconds=left))


class TargetSession(WorkerSession[target_pb2.TargetCommand, target_pb2.TargetEvent]):
    """Orders to the target, commits from it into the ledgers."""

    def __init__(
        self,
        name: str,
        address: Callable[[], str],
        on_failure: Callable[[AmusdError], None],
        live: Live,
        on_welcome: Callable[[], None],
    ) -> None:
        super().__init__(name, address, on_failure)
        self._live = live
        self._tell_of_welcome = on_welcome
        self._incarnation: int | None = None

    def open_stream(
        self, channel: grpc.aio.Channel, commands: AsyncIterator[target_pb2.TargetCommand]
    ) -> grpc.aio.StreamStreamCall[target_pb2.TargetCommand, target_pb2.TargetEvent]:
        """Start the control stream."""
        return target_pb2_grpc.TargetStub(channel).Control(commands)

    async def trees(self, nodes_max: int) -> Sequence[target_pb2.Tree]:
        """The speculation trees of the moment; none when the target does not answer in time."""
        if self._channel is None:
            return ()
        stub = target_pb2_grpc.TargetStub(self._channel)
        request = target_pb2.TreesRequest(nodes_max=nodes_max)
        reply = await answered(stub.Trees(request, timeout=PROBE_TIMEOUT_SECONDS))
        return () if reply is None else reply.trees

    def open(self, request: LiveRequest) -> None:
        """Ask the target to work on a request."""
        self.tell(target_pb2.TargetCommand(open=as_delivered(request)))

    def abort(self, request: RequestId) -> None:
        """Nobody wants the request any more."""
        self.tell(target_pb2.TargetCommand(abort=common_pb2.Abort(request=request)))

    def on_reply(self, reply: target_pb2.TargetEvent) -> None:
        """Take one message."""
        match reply.WhichOneof("kind"):
            case "welcome":
                self._on_welcome(reply.welcome.incarnation)
            case "commits":
                for placed in decode_logprobs(reply.commits.logprobs):
                    if (request := self._live.get(placed.request)) is not None:
                        request.logprobs[placed.position] = placed.row
                for commit in decode_commits(reply.commits.columns):
                    self._on_commit(commit)
            case "statistics":
                if (request := self._live.get(RequestId(reply.statistics.request))) is not None:
                    request.statistics = decode_map(reply.statistics.values, "target")
                    request.add([])
            case "refused":
                if (request := self._live.get(RequestId(reply.refused.request))) is not None:
                    refused = reply.refused
                    request.fail(InputError(refused.field, refused.value, refused.remedy))

    def _on_welcome(self, incarnation: int) -> None:
        """Open everything that is live, again if need be."""
        for request in self._live.values():
            if self._incarnation is not None:
                again = f"the target came back at token {request.output_length}"
                if incarnation != self._incarnation:
                    request.ledger.reopen()
                else:  # frames for it may still be on their way: no drafter takes part in it again
                    again += ", without drafts from there"
                request.note(again)
            self.open(request)
        self._incarnation = incarnation
        self._tell_of_welcome()

    def _on_commit(self, commit: Commit) -> None:
        request = self._live.get(commit.request)
        if request is None:
            return  # aborted meanwhile
        delivery = request.ledger.on_commit(commit)
        if delivery.have is not None:
            have = common_pb2.Have(request=delivery.have.request, length=delivery.have.length)
            self.tell(target_pb2.TargetCommand(have=have))
        request.add(list(zip(delivery.tokens, delivery.origins, strict=True)))

    def on_lost(self, reason: str) -> None:
        """Say so in every live request; the next welcome opens them again."""
        if self.connected.is_set():
            for request in self._live.values():
                request.note(f"the target was lost at token {request.output_length} ({reason})")


class DraftSession(WorkerSession[draft_pb2.DraftCommand, draft_pb2.DraftEvent]):
    """Orders to a drafter, and news of its link to the target.

    Attributes:
        requests: those that it is to draft for, whether or not it is there.
        on_presence: called after it came or went.
    """

    def __init__(
        self,
        name: str,
        address: Callable[[], str],
        on_failure: Callable[[AmusdError], None],
        live: Live,
        target_address: Callable[[], str],
    ) -> None:
        super().__init__(name, address, on_failure)
        self.attached = asyncio.Event()
        self.incarnations: set[int] = set()  # every one that said welcome
        self.requests: dict[RequestId, LiveRequest] = {}
        self.on_presence: Callable[[], None] = lambda: None
        self._live = live
        self._target_address = target_address
        self._probe: asyncio.Task[None] | None = None
        self._away = False  # lost, detached or silent: what the notes have said
        self._silent = False  # connected, but it does not answer

    def start(self) -> None:
        """Connect, and look now and then whether the drafter still answers."""
        super().start()
        self._probe = asyncio.create_task(self._probe_for_ever())

    async def close(self) -> None:
        """End the stream and the probe."""
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)
        await super().close()

    def open_stream(
        self, channel: grpc.aio.Channel, commands: AsyncIterator[draft_pb2.DraftCommand]
    ) -> grpc.aio.StreamStreamCall[draft_pb2.DraftCommand, draft_pb2.DraftEvent]:
        """Start the control stream."""
        return draft_pb2_grpc.DraftStub(channel).Control(commands)

    def absence(self) -> str | None:
        """Why a request that begins now begins without this drafter, as a predicate; None if it does not."""
        if not self.attached.is_set():
            return "was not there"
        return "did not answer" if self._silent else None

    def open(self, request: LiveRequest) -> None:
        """Ask the drafter to draft for a request, now or when it is back."""
        self.requests[request.order.request] = request
        self.tell(draft_pb2.DraftCommand(open=as_delivered(request)))

    def abort(self, request: RequestId) -> None:
        """Nobody wants it to draft for the request any more, if it does."""
        if self.requests.pop(request, None) is not None:
            self.tell(draft_pb2.DraftCommand(abort=common_pb2.Abort(request=request)))

    def retarget(self) -> None:
        """The target may live elsewhere now."""
        try:
            connect = draft_pb2.Connect(address=self._target_address())
        except WorkerError:
            return  # the target's own session reports it
        self.tell(draft_pb2.DraftCommand(connect=connect))

    def on_reply(self, reply: draft_pb2.DraftEvent) -> None:
        """Take one message."""
        match reply.WhichOneof("kind"):
            case "welcome":
                self.incarnations.add(reply.welcome.incarnation)
                self.retarget()
                for request in self.requests.values():
                    self.open(request)
            case "link":
                self._on_link(reply.link.attached, reply.link.reason)
            case "refused":
                refused = InputError(reply.refused.field, reply.refused.value, reply.refused.remedy)
                if (refusing := self.requests.get(RequestId(reply.refused.request))) is not None:
                    refusing.note(f"{self.name} does not draft for this request: {refused}")

    def on_lost(self, reason: str) -> None:
        """The target goes on alone until the drafter is back."""
        self.attached.clear()
        if self.connected.is_set():
            for request in self.requests.values():
                request.note(f"{self.name} was lost at token {request.output_length}")
            self._away = True
        self.on_presence()

    def _on_link(self, attached: bool, reason: str) -> None:
        if attached:
            self.attached.set()
            self._come_back()
            return
        if self.attached.is_set():
            for request in self.requests.values():
                request.note(f"{self.name} lost the target at token {request.output_length} ({reason})")
            self._away = True
        self.attached.clear()
        self.on_presence()

    async def track(self, since_ns: int) -> Track:
        """What the drafter did; empty, without asking, while it does not answer."""
        return Track(self.name) if self._silent else await super().track(since_ns)

    def _come_back(self) -> None:
        if self._away:
            self._away = self._silent = False
            for request in self.requests.values():
                request.note(f"{self.name} came back at token {request.output_length}")
        self.on_presence()

    async def _probe_for_ever(self) -> None:
        """A drafter that is stopped keeps its stream: only asking it shows that it does not answer."""
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            if not (self._live and self.connected.is_set()):
                continue
            answers = await self.info() is not None
            if answers and self.attached.is_set():
                self._come_back()
            elif not answers and self.connected.is_set() and not self._silent:
                for request in self.requests.values():
                    request.note(f"{self.name} stopped answering at token {request.output_length}")
                self._away = self._silent = True
                self.on_presence()
