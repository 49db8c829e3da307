"""A link copies, delays and keeps the order; its bytes are those of the real codec, nearly."""

import pytest

from amusd.simulation.clock import Clock
from amusd.simulation.link import NetworkLink
from amusd.simulation.wire import bytes_of, transfer
from amusd.speculation.messages import (
    Attached,
    Close,
    Commit,
    Have,
    Hello,
    Node,
    NodeId,
    Price,
    Propose,
    RequestId,
)
from amusd.transport.codec import encode_commits, encode_drafter

R = RequestId(1)
NODES = tuple(Node(NodeId(index), index - 1 if index else -300, 31_000 + index, 0.3) for index in range(8))
MESSAGES = [
    Hello(3, {R: 5}),
    Propose(R, NODES),
    Have(R, 7),
    Attached(R, 5, (1, 2)),
    Commit(R, 9, 5, (1, 2, 3), ("accepted", "accepted", "own"), "length"),
    Close(R),
    Price(0.25),
]


def test_a_copy_says_the_same_with_scores_in_steps():
    for message in MESSAGES:
        copy = transfer(message)
        assert copy is not message
        if isinstance(message, Propose):
            assert [node.token for node in copy.nodes] == [node.token for node in message.nodes]
            assert copy.nodes[0].score != 0.3
            assert copy.nodes[0].score == pytest.approx(0.3, rel=0.07)
        else:
            assert copy == message


def test_peers_share_no_memory():
    lengths = {R: 5}
    clock, arrived = Clock(), []
    link = NetworkLink(clock, 10, None, arrived.append, lambda: None)
    link.send([Hello(3, lengths)])
    lengths[R] = 6
    clock.step()
    assert arrived == [Hello(3, {R: 5})]


def test_messages_arrive_after_the_latency_in_order():
    clock, arrived = Clock(), []
    link = NetworkLink(clock, 10, None, lambda message: arrived.append((message, clock.now_ns)), lambda: None)
    link.send([Have(R, 1), Have(R, 2)])
    assert link.ready
    link.send([Have(R, 3)])
    while clock.step():
        pass
    assert arrived == [(Have(R, length), 10) for length in (1, 2, 3)]


def test_a_narrow_link_is_not_ready_while_it_writes():
    clock, ready_at = Clock(), []
    link = NetworkLink(clock, 10, 1e6, lambda message: None, lambda: ready_at.append(clock.now_ns))
    link.send([Have(R, 1)])
    size = bytes_of([Have(R, 1)])
    assert not link.ready
    while clock.step():
        pass
    assert link.ready
    assert ready_at == [size * 1000]  # a megabyte per second
    assert link.bytes_sent == size


def test_bytes_are_about_those_of_the_real_codec():
    (frame,) = encode_drafter([Propose(R, NODES)])
    assert bytes_of([Propose(R, NODES)]) == pytest.approx(len(frame.propose.columns), rel=0.1)
    commit = Commit(R, 9, 300, tuple(range(1000, 1040)), ("accepted",) * 40, None)
    assert bytes_of([commit]) == pytest.approx(len(encode_commits([commit])), rel=0.1)
