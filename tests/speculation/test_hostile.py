"""Frames that no honest drafter sends are refused, and leave no trace after the detach."""

import math

import pytest

from amusd.errors import ProtocolError
from amusd.speculation.attachment import Limits
from amusd.speculation.messages import DrafterId, Have, Hello, Node, NodeId, Propose, RequestId

from .pair import LIMITS, D, R, attached_target, propose


def node(number: int, parent: int, token: int = 5, score: float = 0.5) -> Node:
    return Node(NodeId(number), parent, token, score)


@pytest.mark.parametrize(
    ("nodes", "match"),
    [
        pytest.param([node(1, -2), node(1, -2)], "grow strictly", id="repeated id"),
        pytest.param([node(2, -2), node(1, -2)], "grow strictly", id="falling ids"),
        pytest.param([node(-1, -2)], "grow strictly", id="negative id"),
        pytest.param([node(1, 1)], "unknown or later parent", id="its own parent"),
        pytest.param([node(1, -2), node(2, 3), node(3, -2)], "unknown or later parent", id="forward parent"),
        pytest.param([node(5, -2), node(6, 4)], "unknown or later parent", id="parent never sent"),
        pytest.param([node(1, -2, token=100)], "vocabulary has 100", id="token too high"),
        pytest.param([node(1, -2, token=-1)], "vocabulary has 100", id="token negative"),
        pytest.param([node(1, -2, score=0.0)], "outside", id="score zero"),
        pytest.param([node(1, -2, score=1.5)], "outside", id="score above one"),
        pytest.param([node(1, -2, score=math.nan)], "outside", id="score NaN"),
        pytest.param([node(1, -3)], "prefix of 3 tokens", id="prefix beyond the log"),
        pytest.param([node(i, -2, token=i) for i in range(10)], "frame of 10", id="frame too large"),
        pytest.param([node(i, -2, token=i) for i in range(9)], "at most 8", id="twice the window exceeded"),
    ],
)
def test_a_hostile_frame_is_refused_and_leaves_no_trace(nodes: list[Node], match: str) -> None:
    of = attached_target()
    with pytest.raises(ProtocolError, match=match) as caught:
        of.on_propose(D, Propose(R, tuple(nodes)))
    assert "drafter 1" in str(caught.value)
    of.on_detach(D)
    assert of.tree(R).count == 0


def test_a_frame_is_refused_as_a_whole() -> None:
    of = attached_target()
    with pytest.raises(ProtocolError):
        of.on_propose(D, Propose(R, (node(1, -2), node(2, -2, token=500))))
    assert of.tree(R).count == 0


def test_one_path_under_ever_new_ids_hits_the_window_too() -> None:
    of = attached_target()
    with pytest.raises(ProtocolError, match="live nodes"):
        for number in range(2 * LIMITS.window + 1):
            propose(of, (number, -2, 5))


def test_the_total_over_all_requests_is_bounded() -> None:
    of = attached_target()
    for number in (2, 3):
        of.on_open(RequestId(number), (1, 2), 2, 50, frozenset())
    of.messages_for(D)
    with pytest.raises(ProtocolError, match="at most 8 and 12"):
        for request in (1, 2, 3):
            of.on_propose(D, Propose(RequestId(request), tuple(node(i, -2, token=i) for i in range(6))))


def test_a_proposal_before_attached_is_refused() -> None:
    of = attached_target()
    of.on_open(RequestId(2), (1, 2), 2, 50, frozenset())
    with pytest.raises(ProtocolError, match="without being attached"):
        of.on_propose(D, Propose(RequestId(2), (node(1, -2),)))


def test_a_proposal_for_a_request_that_never_was_is_refused() -> None:
    with pytest.raises(ProtocolError, match="without being attached"):
        attached_target().on_propose(D, Propose(RequestId(77), (node(1, -2),)))


def test_a_frame_before_hello_is_refused() -> None:
    with pytest.raises(ProtocolError, match="hello first"):
        attached_target().on_propose(DrafterId(5), Propose(R, ()))


@pytest.mark.parametrize("length", [-1, 0, 3])
def test_a_have_that_cannot_be_is_refused(length: int) -> None:
    with pytest.raises(ProtocolError, match="claims"):
        attached_target().on_have(D, Have(R, length))


def test_a_have_for_a_request_that_is_not_open_yet_waits_for_its_attached() -> None:
    of = attached_target()
    of.on_have(D, Have(RequestId(9), 2))
    assert of.messages_for(D) == []


def test_more_drafters_than_allowed_are_refused() -> None:
    of = attached_target()
    of.on_attach(DrafterId(2), Hello(11, {}))
    with pytest.raises(ProtocolError, match="most allowed"):
        of.on_attach(DrafterId(3), Hello(12, {}))


def test_a_hello_with_an_impossible_length_is_refused() -> None:
    with pytest.raises(ProtocolError, match="below 1"):
        attached_target().on_attach(DrafterId(2), Hello(11, {R: 0}))


def test_nodes_past_the_length_limit_are_stale() -> None:
    of = attached_target()
    of.on_open(RequestId(2), (1, 2), 2, 3, frozenset())
    of.messages_for(D)
    received = of.on_propose(D, Propose(RequestId(2), (node(1, -2), node(2, 1))))
    assert (received.live, received.stale) == (1, 1)


def test_limits_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="window is 0"):
        Limits(window=0)
