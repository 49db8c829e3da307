"""The draft worker's gRPC side: a server for coordinators, a client of their targets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc.aio

from amusd.errors import AmusdError, ProtocolError
from amusd.rpc.v1 import draft_pb2, draft_pb2_grpc, target_pb2, target_pb2_grpc
from amusd.speculation.messages import RequestId
from amusd.transport.codec import decode_target
from amusd.transport.link import Link, converse
from amusd.transport.options import CLIENT_OPTIONS
from amusd.transport.orders import order_from_wire
from amusd.workers.draft_clients import ControlLink
from amusd.workers.draft_engine import DraftEngine, TargetJoined, TargetLeft, TargetNamed, TargetSaid
from amusd.workers.events import Aborted, CoordinatorJoined, CoordinatorLeft, LinkReady, Opened

RECONNECT_SECONDS_MIN = 0.05
RECONNECT_SECONDS_MAX = 1.0


class DraftServicer(draft_pb2_grpc.DraftServicer):
    """Any number of coordinators at one engine; each says which target to propose to.

    Args:
        target_address: of the target as this machine knows it, whatever a coordinator says, so that there is
            but one; None leaves it to the coordinators.
    """

    def __init__(self, engine: DraftEngine, target_address: str | None = None) -> None:
        self._engine = engine
        self._fixed_address = target_address

    def _ready(self, link: object) -> None:
        self._engine.wake(LinkReady())

    async def Control(  # noqa: N802
        self,
        request_iterator: AsyncIterator[draft_pb2.DraftCommand],
        context: grpc.aio.ServicerContext[draft_pb2.DraftCommand, draft_pb2.DraftEvent],
    ) -> AsyncIterator[draft_pb2.DraftEvent]:
        """Orders in, the state of the link to the target out."""
        link: ControlLink = Link(self._ready)
        dialling: tuple[str, asyncio.Task[None]] | None = None
        await self._engine.post(CoordinatorJoined(link))

        async def on_command(command: draft_pb2.DraftCommand) -> None:
            nonlocal dialling
            match command.WhichOneof("kind"):
                case "open":
                    await self._engine.post(Opened(link, order_from_wire(command.open)))
                case "abort":
                    await self._engine.post(Aborted(RequestId(command.abort.request)))
                case "connect":
                    address = self._fixed_address or command.connect.address
                    if dialling is None or dialling[0] != address:
                        if dialling is not None:
                            dialling[1].cancel()
                        await self._engine.post(TargetNamed(link, address))
                        dialling = address, asyncio.create_task(self._stay_connected(link, address))
                case kind:
                    raise ProtocolError(f"the coordinator sent a command of unknown kind {kind!r}")

        try:
            async with aclosing(converse(request_iterator, context, link, on_command)) as events:
                async for event in events:
                    yield event
        finally:
            if dialling is not None:
                dialling[1].cancel()
            await self._engine.post(CoordinatorLeft(link))

    async def _stay_connected(self, control: ControlLink, address: str) -> None:
        """Keep a stream to the target up; wait a little longer after each failure."""
        wait_seconds = RECONNECT_SECONDS_MIN
        while True:
            async with grpc.aio.insecure_channel(address, options=CLIENT_OPTIONS) as channel:
                if await self._propose_over(control, channel):
                    wait_seconds = RECONNECT_SECONDS_MIN
            await asyncio.sleep(wait_seconds)
            wait_seconds = min(2 * wait_seconds, RECONNECT_SECONDS_MAX)

    async def _propose_over(self, control: ControlLink, channel: grpc.aio.Channel) -> bool:
        """One stream from hello to its end; returns whether the target ever answered."""
        link: Link[target_pb2.DrafterFrame] = Link(self._ready)
        answered, reason = False, "the target closed the stream"
        await channel.channel_ready()
        call = target_pb2_grpc.TargetStub(channel).Speculate(link.frames())
        try:
            await self._engine.post(TargetJoined(control, link))
            async for frame in call:
                answered = True
                for message in decode_target(frame):
                    await self._engine.post(TargetSaid(link, message))
        except grpc.aio.AioRpcError as error:
            reason = error.details() or error.code().name
        except AmusdError as error:
            reason = str(error)
        finally:
            link.close()
            call.cancel()
            await self._engine.post(TargetLeft(link, reason))
        return answered
