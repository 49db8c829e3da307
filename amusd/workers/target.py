"""The target worker's gRPC side: streams in and out of the target's engine."""

import itertools
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial

import grpc.aio

from amusd.errors import ProtocolError
from amusd.rpc.v1 import target_pb2, target_pb2_grpc
from amusd.speculation.messages import DrafterId, Have, Hello, RequestId
from amusd.transport.codec import decode_drafter
from amusd.transport.link import Link, converse
from amusd.transport.orders import order_from_wire
from amusd.workers.events import Aborted, CoordinatorJoined, CoordinatorLeft, LinkReady, Opened
from amusd.workers.target_engine import TargetEngine
from amusd.workers.target_events import DrafterJoined, DrafterLeft, DrafterSaid, FeedGap


class TargetServicer(target_pb2_grpc.TargetServicer):
    """One coordinator and any number of drafters at one engine."""

    def __init__(self, engine: TargetEngine) -> None:
        self._engine = engine
        self._drafter_ids = itertools.count(1)

    def _ready(self, link: object) -> None:
        self._engine.wake(LinkReady())

    async def Control(  # noqa: N802
        self,
        request_iterator: AsyncIterator[target_pb2.TargetCommand],
        context: grpc.aio.ServicerContext[target_pb2.TargetCommand, target_pb2.TargetEvent],
    ) -> AsyncIterator[target_pb2.TargetEvent]:
        """Orders in, commits out; ends when either side ends it."""
        link: Link[target_pb2.TargetEvent] = Link(self._ready)
        await self._engine.post(CoordinatorJoined(link))

        async def on_command(command: target_pb2.TargetCommand) -> None:
            match command.WhichOneof("kind"):
                case "open":
                    await self._engine.post(Opened(link, order_from_wire(command.open)))
                case "abort":
                    await self._engine.post(Aborted(RequestId(command.abort.request)))
                case "have":
                    have = Have(RequestId(command.have.request), command.have.length)
                    await self._engine.post(FeedGap(have))
                case kind:
                    raise ProtocolError(f"the coordinator sent a command of unknown kind {kind!r}")

        try:
            async with aclosing(converse(request_iterator, context, link, on_command)) as events:
                async for event in events:
                    yield event
        finally:
            await self._engine.post(CoordinatorLeft(link))

    async def Trees(  # noqa: N802
        self, request: target_pb2.TreesRequest, context: object
    ) -> target_pb2.TreesReply:
        """The trees of the moment, to look at."""
        trees = await self._engine.ask(partial(self._engine.trees, request.nodes_max))
        return target_pb2.TreesReply(trees=trees)

    async def Speculate(  # noqa: N802
        self,
        request_iterator: AsyncIterator[target_pb2.DrafterFrame],
        context: grpc.aio.ServicerContext[target_pb2.DrafterFrame, target_pb2.TargetFrame],
    ) -> AsyncIterator[target_pb2.TargetFrame]:
        """Proposals in, commits out; a drafter that breaks the protocol is cut off with the reason."""
        link: Link[target_pb2.TargetFrame] = Link(self._ready)
        drafter = DrafterId(next(self._drafter_ids))
        greeted = False

        async def on_frame(frame: target_pb2.DrafterFrame) -> None:
            nonlocal greeted
            for message in decode_drafter(frame):
                if isinstance(message, Hello) == greeted:
                    raise ProtocolError("the drafter must say hello first, and once")
                if isinstance(message, Hello):
                    greeted = True
                    await self._engine.post(DrafterJoined(drafter, link, message))
                else:
                    await self._engine.post(DrafterSaid(drafter, message, self._engine.now()))

        try:
            async with aclosing(converse(request_iterator, context, link, on_frame)) as frames:
                async for frame in frames:
                    yield frame
        finally:
            await self._engine.post(DrafterLeft(drafter))
