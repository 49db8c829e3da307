"""What both kinds of worker serve: who they are, and what they did when."""

import os
from collections.abc import Callable

from amusd.orders import Order
from amusd.params import SamplingParams
from amusd.rpc.v1 import common_pb2, common_pb2_grpc
from amusd.speculation.messages import RequestId
from amusd.tracing import Recorder
from amusd.transport.codec import decode_map, encode_map, pack


class WorkerServicer(common_pb2_grpc.WorkerServicer):
    """Info and Trace of one worker.

    Args:
        details: JSON about the model and the device.
    """

    def __init__(
        self, role: str, device: str, incarnation: int, recorder: Recorder, details: Callable[[], str]
    ) -> None:
        self._role = role
        self._device = device
        self._incarnation = incarnation
        self._recorder = recorder
        self._details = details

    async def Info(self, request: common_pb2.InfoRequest, context: object) -> common_pb2.InfoReply:  # noqa: N802
        """Who this worker is; also the probe for round-trip time and clock offset."""
        return common_pb2.InfoReply(
            role=self._role,
            device=self._device,
            incarnation=self._incarnation,
            pid=os.getpid(),
            clock_ns=self._recorder.now_ns(),
            details=self._details(),
        )

    async def Trace(self, request: common_pb2.TraceRequest, context: object) -> common_pb2.TraceReply:  # noqa: N802
        """The events since a moment of this worker's clock."""
        events = [
            [event.name, event.start_ns, event.end_ns, event.arguments]
            for event in self._recorder.since(request.since_ns)
        ]
        return common_pb2.TraceReply(incarnation=self._incarnation, events=pack(events))


def order_from_wire(message: common_pb2.Open) -> Order:
    """Raises ProtocolError or InputError on parameters that this version does not know."""
    return Order(
        request=RequestId(message.request),
        tokens=tuple(message.tokens),
        prompt_length=message.prompt_length,
        length_max=message.length_max,
        end_tokens=frozenset(message.end_tokens),
        seed=message.seed,
        sample_index=message.sample_index,
        params=SamplingParams.from_dict(decode_map(message.sampling, "coordinator")),
    )


def order_to_wire(order: Order) -> common_pb2.Open:
    """The inverse of ``order_from_wire``."""
    return common_pb2.Open(
        request=order.request,
        tokens=order.tokens,
        prompt_length=order.prompt_length,
        length_max=order.length_max,
        end_tokens=sorted(order.end_tokens),
        seed=order.seed,
        sample_index=order.sample_index,
        sampling=encode_map(order.params.to_dict()),
    )
