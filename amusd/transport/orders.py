"""Orders to and from the wire."""

from amusd.orders import Order
from amusd.params import SamplingParams
from amusd.rpc.v1 import common_pb2
from amusd.speculation.messages import RequestId
from amusd.transport.codec import decode_map, encode_map


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
        speculative=message.speculative,
        num_speculative_tokens=(
            message.num_speculative_tokens if message.HasField("num_speculative_tokens") else None
        ),
        priority=message.priority,
        deadline_seconds=message.deadline_seconds if message.HasField("deadline_seconds") else None,
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
        speculative=order.speculative,
        num_speculative_tokens=order.num_speculative_tokens,
        priority=order.priority,
        deadline_seconds=order.deadline_seconds,
    )
