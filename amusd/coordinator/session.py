"""The coordinator's stream to one worker: kept up, and everything said again after a break."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio

from amusd.errors import AmusdError, WorkerError
from amusd.rpc.v1 import common_pb2, common_pb2_grpc
from amusd.tracing import Event, Track
from amusd.transport.codec import unpack
from amusd.transport.options import CLIENT_OPTIONS

Command = TypeVar("Command")
Reply = TypeVar("Reply")

RECONNECT_SECONDS_MIN = 0.05
RECONNECT_SECONDS_MAX = 1.0
PROBE_SECONDS = 1.0
PROBE_TIMEOUT_SECONDS = 1.5
TRACE_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker between two forwards.

    Attributes:
        counts: what live requests hold in it; see ``Engine.occupancy``.
        seconds: of its forwards, by their shapes, as it has learned them so far.
        price: the least reach of a node that pays for its row in a pass; None of a draft worker.
        waits: of a target, seconds until a drafted node came, links included, by what it was awaited after.
    """

    counts: dict[str, int]
    seconds: dict[str, float]
    price: float | None = None
    waits: dict[str, float] = field(default_factory=dict)

    def costs(self) -> dict[str, Any]:
        """What was learned, in milliseconds, shortest first, under the names that `info` has for it."""
        shapes = sorted(self.seconds, key=self.seconds.__getitem__)
        milliseconds = {shape: 1e3 * self.seconds[shape] for shape in shapes}
        if self.price is not None:
            waits = {after: 1e3 * seconds for after, seconds in sorted(self.waits.items())}
            learned = {"draft_wait_ms": waits} if waits else {}
            return {"pass_ms": milliseconds, "node_price": self.price, **learned}
        return {"step_ms": milliseconds} if milliseconds else {}


class WorkerSession(ABC, Generic[Command, Reply]):
    """One worker, across reconnects and restarts.

    Args:
        name: how the worker is called in notes and traces, such as "draft 0".
        address: asked before every attempt, because a restarted worker may live elsewhere; raises
            WorkerError when there will not be another.
        on_failure: told the error when the worker will not come back.
    """

    def __init__(
        self, name: str, address: Callable[[], str], on_failure: Callable[[AmusdError], None]
    ) -> None:
        self.name = name
        self.connected = asyncio.Event()
        self.round_trip_seconds: float | None = None
        self._address = address
        self._on_failure = on_failure
        self._commands: asyncio.Queue[Command | None] = asyncio.Queue()
        self._channel: grpc.aio.Channel | None = None
        self._clock_offset_ns = 0  # the worker's clock minus ours
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect, and stay connected."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """End the stream; the worker drops what it did for us."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def tell(self, command: Command) -> None:
        """Send a command on the present stream; after a break ``on_welcome`` says what is still true."""
        if self.connected.is_set():
            self._commands.put_nowait(command)

    async def _run(self) -> None:
        try:
            await self._stay_connected()
        except AmusdError as error:
            self._on_failure(error)
        except Exception as error:  # noqa: BLE001 - nobody awaits this task: whoever waits must hear of it
            self._on_failure(WorkerError(f"{self.name}: {type(error).__name__}: {error}"))

    async def _stay_connected(self) -> None:
        """Connect again after each break, a little later after each failure."""
        wait_seconds = RECONNECT_SECONDS_MIN
        while True:
            async with grpc.aio.insecure_channel(self._address(), options=CLIENT_OPTIONS) as channel:
                self._channel = channel
                try:
                    if await self._converse(channel):
                        wait_seconds = RECONNECT_SECONDS_MIN
                finally:
                    self._channel = None
            await asyncio.sleep(wait_seconds)
            wait_seconds = min(2 * wait_seconds, RECONNECT_SECONDS_MAX)

    async def _converse(self, channel: grpc.aio.Channel) -> bool:
        """One stream from welcome to its end; returns whether the worker ever answered.

        Raises:
            WorkerError: the worker says that this coordinator is at fault, or another took over.
        """
        self._commands = asyncio.Queue()
        call = self.open_stream(channel, self._outgoing(self._commands))
        try:
            async for reply in call:
                if not self.connected.is_set():
                    await self._measure_clock()
                    self.connected.set()
                self.on_reply(reply)
        except grpc.aio.AioRpcError as error:
            reason = error.details() or error.code().name
            self.on_lost(reason)
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise WorkerError(
                    f"{self.name} ended the stream: {reason}; start it again for this client"
                ) from error
        except AmusdError as error:
            self.on_lost(str(error))
        else:
            self.on_lost("the worker closed the stream")
        finally:
            call.cancel()
            self._commands.put_nowait(None)  # gRPC waits for the end of what we send, even after a failure
            answered = self.connected.is_set()
            self.connected.clear()
        return answered

    @staticmethod
    async def _outgoing(commands: asyncio.Queue[Command | None]) -> AsyncIterator[Command]:
        while (command := await commands.get()) is not None:
            yield command

    # -- beside the stream ---------------------------------------------------------------------

    async def info(self, timeout_seconds: float = PROBE_TIMEOUT_SECONDS) -> common_pb2.InfoReply | None:
        """Who the worker is, or None when it does not answer in time."""
        if self._channel is None:
            return None
        stub = common_pb2_grpc.WorkerStub(self._channel)
        return await answered(stub.Info(common_pb2.InfoRequest(), timeout=timeout_seconds))

    async def state(self, timeout_seconds: float = PROBE_TIMEOUT_SECONDS) -> WorkerState | None:
        """What the worker holds and has learned, or None when it does not answer in time."""
        if self._channel is None:
            return None
        stub = common_pb2_grpc.WorkerStub(self._channel)
        reply = await answered(stub.Occupancy(common_pb2.OccupancyRequest(), timeout=timeout_seconds))
        if reply is None:
            return None
        price = reply.price if reply.HasField("price") else None
        return WorkerState(dict(reply.counts), dict(reply.seconds), price, dict(reply.waits))

    async def _measure_clock(self) -> None:
        """Keep the offset of the fastest of a few round trips; one within the trip counts as none."""
        best: tuple[float, int] | None = None
        for _ in range(3):
            sent_ns = time.monotonic_ns()
            reply = await self.info()
            if reply is None:
                continue
            trip_ns = time.monotonic_ns() - sent_ns
            offset_ns = reply.clock_ns - sent_ns - trip_ns // 2
            if best is None or trip_ns < best[0]:
                best = (trip_ns, 0 if abs(offset_ns) <= trip_ns else offset_ns)
        if best is not None:
            self.round_trip_seconds = best[0] / 1e9
            self._clock_offset_ns = best[1]

    async def track(self, since_ns: int) -> Track:
        """What the worker did since a moment of our clock; empty when it cannot be asked."""
        empty = Track(self.name)
        if self._channel is None:
            return empty
        request = common_pb2.TraceRequest(since_ns=max(0, since_ns + self._clock_offset_ns))
        stub = common_pb2_grpc.WorkerStub(self._channel)
        reply = await answered(stub.Trace(request, timeout=TRACE_TIMEOUT_SECONDS))
        if reply is None:
            return empty
        events = (Event(*row).shifted(self._clock_offset_ns) for row in unpack(reply.events, self.name))
        return Track(self.name, tuple(events), reply.incarnation)

    # -- what each kind of worker means ----------------------------------------------------------

    @abstractmethod
    def open_stream(
        self, channel: grpc.aio.Channel, commands: AsyncIterator[Command]
    ) -> grpc.aio.StreamStreamCall[Command, Reply]:
        """Start the control stream."""

    @abstractmethod
    def on_reply(self, reply: Reply) -> None:
        """Take one message; the first is a welcome."""

    @abstractmethod
    def on_lost(self, reason: str) -> None:
        """The stream is gone; another attempt follows."""


async def answered(call: Awaitable[Reply]) -> Reply | None:
    """The reply, or None if the worker did not answer."""
    try:
        return await call
    except grpc.aio.AioRpcError:
        return None
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return None  # the channel was closed under the call


def unreachable(name: str, seconds: float) -> WorkerError:
    """The error of a request whose worker stayed away."""
    return WorkerError(f"{name} could not be reached for {seconds:.0f} s: see its log, or start it again")
