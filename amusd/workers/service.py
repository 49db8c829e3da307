"""What both kinds of worker serve: who they are, and what they did when."""

import os
from typing import Any

from amusd.rpc.v1 import common_pb2, common_pb2_grpc
from amusd.tracing import Recorder
from amusd.transport.codec import pack
from amusd.workers.engine import Engine


class WorkerServicer(common_pb2_grpc.WorkerServicer):
    """Info, Occupancy and Trace of one worker.

    Args:
        details: JSON about the model and the device.
    """

    def __init__(
        self,
        role: str,
        device: str,
        incarnation: int,
        recorder: Recorder,
        details: str,
        engine: Engine[Any],
    ) -> None:
        self._role = role
        self._device = device
        self._incarnation = incarnation
        self._recorder = recorder
        self._details = details
        self._engine = engine

    async def Info(self, request: common_pb2.InfoRequest, context: object) -> common_pb2.InfoReply:  # noqa: N802
        """Who this worker is; also the probe for round-trip time and clock offset."""
        return common_pb2.InfoReply(
            role=self._role,
            device=self._device,
            incarnation=self._incarnation,
            pid=os.getpid(),
            clock_ns=self._recorder.now_ns(),
            details=self._details,
        )

    async def Occupancy(  # noqa: N802
        self, request: common_pb2.OccupancyRequest, context: object
    ) -> common_pb2.OccupancyReply:
        """What live requests hold and what work costs, as the engine says when it comes to it."""
        counts, costs = await self._engine.ask(lambda: (self._engine.occupancy(), self._engine.costs()))
        return common_pb2.OccupancyReply(
            counts=counts, seconds=costs.seconds, price=costs.price, waits=costs.waits
        )

    async def Trace(self, request: common_pb2.TraceRequest, context: object) -> common_pb2.TraceReply:  # noqa: N802
        """The events since a moment of this worker's clock."""
        events = [
            [event.name, event.start_ns, event.end_ns, event.arguments]
            for event in self._recorder.since(request.since_ns)
        ]
        return common_pb2.TraceReply(incarnation=self._incarnation, events=pack(events))
