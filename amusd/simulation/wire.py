"""What a message is on the wire: a copy that shares nothing with its sender, and a number of bytes.

The bytes are those that msgpack takes for the columns of amusd's frames, without protobuf's, gRPC's and
TCP's own: they are estimated here because the transport lies on a higher floor.
"""

import struct
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import TypeVar

from amusd.speculation.messages import (
    Attached,
    Close,
    Commit,
    Have,
    Hello,
    Node,
    Price,
    Propose,
    score_level,
    score_of_level,
)

Message = Hello | Propose | Have | Attached | Commit | Close | Price
M = TypeVar("M", bound=Message)

_SINGLE = struct.Struct("<f")
_MESSAGE_BYTES = 8  # the envelope: which kind it is, how long it is, how many columns there are


def transfer(message: M) -> M:
    """The message as its receiver decodes it; scores travel in steps."""
    copy: Message
    match message:
        case Propose(request, nodes):
            copy = Propose(request, tuple(_transfer_node(node) for node in nodes))
        case Hello(incarnation, lengths):
            copy = Hello(incarnation, dict(lengths))
        case Attached(request, start, tokens):
            copy = Attached(request, start, (*tokens,))
        case Commit(request, incarnation, start, tokens, drafted, final):
            copy = Commit(request, incarnation, start, (*tokens,), (*drafted,), final)
        case Have(request, length):
            copy = Have(request, length)
        case Close(request):
            copy = Close(request)
        case Price(reach):
            copy = Price(*_SINGLE.unpack(_SINGLE.pack(reach)))
    assert type(copy) is type(message)
    return copy


def bytes_of(messages: Sequence[Message]) -> int:
    """About how many bytes the messages of one send take."""
    return sum(_MESSAGE_BYTES + _payload_bytes(message) for message in messages)


def _transfer_node(node: Node) -> Node:
    return Node(node.id, node.parent, node.token, score_of_level(score_level(node.score)))


def _payload_bytes(message: Message) -> int:
    match message:
        case Propose(request, nodes):
            columns = [(node.id - node.parent, node.token, score_level(node.score)) for node in nodes]
            gaps = [after.id - before.id for before, after in pairwise(nodes)]
            first = [node.id for node in nodes[:1]]
            return _ints((request, *first, *gaps, *chain.from_iterable(columns)))
        case Hello(incarnation, lengths):
            return _ints((incarnation, *lengths.keys(), *lengths.values()))
        case Attached(request, start, tokens):
            return _ints((request, start, *tokens))
        case Commit(request, incarnation, start, tokens, drafted, _):
            return _ints((request, incarnation, start, *tokens)) + len(drafted) + 1
        case Have(request, length):
            return _ints((request, length))
        case Close(request):
            return _ints((request,))
        case Price():
            return _SINGLE.size


def _ints(values: Iterable[int]) -> int:
    return sum(map(_int_bytes, values))


def _int_bytes(value: int) -> int:
    """Bytes of a msgpack integer."""
    size = value if value >= 0 else -value - 1
    if -32 <= value < 128:
        return 1
    return 2 if size < 1 << 8 else 3 if size < 1 << 16 else 5 if size < 1 << 32 else 9
