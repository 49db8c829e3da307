"""What a rule drew below a node reaches the target whole, with its node, and only once."""

import math
from typing import get_args

import pytest

from amusd.config import RULES_WITH_Q
from amusd.errors import ProtocolError
from amusd.params import RuleName
from amusd.speculation.drafter import DrafterEndpoint
from amusd.speculation.messages import Attached, DrafterId, Draws, Hello, Node, NodeId, Propose, RequestId
from amusd.speculation.target import Limits, TargetEndpoint
from amusd.workers.entry import drafters_max

from .pair import LIMITS, D, R, attach, attached_target, commit, drafter, hear, say, target

FIRST = Draws((5, 5, 6), (5, 6, 7), (0.5, 0.25, 0.25))
SECOND = Draws((8,), (8, 9), (0.75, 0.25))


def linked() -> tuple[TargetEndpoint, DrafterEndpoint]:
    of, by = target(), drafter()
    attach(of, by)
    say(of, by)
    return of, by


def draws_below(of: TargetEndpoint, *path: int) -> Draws | None:
    node = of.tree(R).root
    for token in path:
        node = node.children[token]
    return node.draws


def test_draws_lie_below_their_node_whatever_became_of_the_nodes_that_stand_for_them() -> None:
    of, by = linked()
    (five,) = by.grow(R, None, [(5, 0.5)], FIRST)
    by.grow(R, five, [(8, 0.5)], SECOND)
    say(of, by)
    assert draws_below(of) == FIRST
    assert draws_below(of, 5) == SECOND
    assert draws_below(of, 5, 8) is None
    assert list(of.tree(R).root.children) == [5], "six was drawn, and is not in the tree"


def test_draws_go_with_the_tree_that_a_commit_leaves() -> None:
    of, by = linked()
    (five,) = by.grow(R, None, [(5, 0.5)], FIRST)
    by.grow(R, five, [(8, 0.5)], SECOND)
    say(of, by)
    assert commit(of, 5, 7).emitted == (5, 7)
    assert draws_below(of) is None


def test_draws_of_an_accepted_node_are_those_of_the_new_root() -> None:
    of, by = linked()
    (five,) = by.grow(R, None, [(5, 0.5)], FIRST)
    by.grow(R, five, [(8, 0.5)], SECOND)
    say(of, by)
    of.on_verified(R, [], [], [5])
    assert draws_below(of) == SECOND


def test_draws_that_were_not_sent_before_their_node_was_committed_hang_off_the_prefix() -> None:
    of, by = linked()
    (five,) = by.grow(R, None, [(5, 0.5)])
    say(of, by)
    by.grow(R, five, [(8, 0.5)], SECOND)
    of.on_verified(R, [], [], [5])
    hear(of, by)
    (message,) = by.outgoing()
    assert isinstance(message, Propose)
    assert list(message.draws) == [-3]
    of.on_propose(D, message)
    assert draws_below(of) == SECOND


def test_draws_of_a_position_that_is_decided_are_stale() -> None:
    of, by = linked()
    by.grow(R, None, [(5, 0.5)], FIRST)
    (message,) = by.outgoing()
    of.on_verified(R, [], [], [4])
    assert isinstance(message, Propose)
    of.on_propose(D, message)
    assert draws_below(of) is None


def test_draws_wait_for_their_node_when_a_frame_is_full() -> None:
    by = DrafterEndpoint(3, window=8, frame_nodes_max=2)
    by.hello()
    by.on_open(R, [1, 2], 50)
    by.on_attached(Attached(R, 2, ()))
    *_, last = by.grow(R, None, [(5, 0.5), (6, 0.2), (7, 0.1)], FIRST)
    by.grow(R, last, [(8, 0.5)], SECOND)
    frames = [message for _ in range(2) for message in by.outgoing() if isinstance(message, Propose)]
    assert [list(frame.draws) for frame in frames] == [[-2], [last]]
    assert next(node.id for node in frames[1].nodes) == last


def test_a_fresh_link_carries_the_draws_again_and_the_first_drawing_stays() -> None:
    of, by = linked()
    by.grow(R, None, [(5, 0.5)], FIRST)
    say(of, by)
    again = drafter(incarnation=4)
    attach(of, again)
    again.grow(R, None, [(9, 0.5)], SECOND)
    say(of, again)
    assert draws_below(of) == FIRST
    other = target()
    attach(other, by)
    say(other, by)
    assert draws_below(other) == FIRST


@pytest.mark.parametrize("rule", get_args(RuleName))
def test_a_rule_that_needs_a_law_takes_one_drafter_at_a_time(rule: str) -> None:
    of = TargetEndpoint(7, 100, Limits(drafters_max=drafters_max(rule)))
    of.on_attach(D, Hello(1, {}))
    if rule in RULES_WITH_Q:
        with pytest.raises(ProtocolError, match="1 others are attached, the most allowed"):
            of.on_attach(DrafterId(2), Hello(2, {}))
        of.on_detach(D)
    of.on_attach(DrafterId(2), Hello(2, {}))


def test_nothing_is_drawn_twice_below_a_node() -> None:
    _, by = linked()
    by.grow(R, None, [(5, 0.5)], FIRST)
    with pytest.raises(ValueError, match="position 1 were drawn before"):
        by.grow(R, None, [(6, 0.5)], SECOND)


@pytest.mark.parametrize(
    ("parent", "draws", "match"),
    [
        pytest.param(7, FIRST, "later parent 7", id="parent never sent"),
        pytest.param(-3, FIRST, "prefix of 3 tokens", id="prefix beyond the log"),
        pytest.param(-2, Draws((), (5,), (1.0,)), "0 draws", id="nothing drawn"),
        pytest.param(-2, Draws((5,) * 5, (5,), (1.0,)), "5 draws", id="more than a window"),
        pytest.param(-2, Draws((5,), (6,), (1.0,)), "does not hold", id="not of its law"),
        pytest.param(-2, Draws((5,), (), ()), "law of 0 tokens", id="no law"),
        pytest.param(-2, Draws((5,), (5, 6), (1.0,)), "2 tokens with 1 weights", id="weights missing"),
        pytest.param(-2, Draws((5,), (6, 5), (0.5, 0.5)), "do not ascend", id="order"),
        pytest.param(-2, Draws((5,), (5, 5), (0.5, 0.5)), "do not ascend", id="twice"),
        pytest.param(-2, Draws((5,), (5, 100), (0.5, 0.5)), "below 100", id="outside the vocabulary"),
        pytest.param(-2, Draws((5,), (-1, 5), (0.5, 0.5)), "below 100", id="negative"),
        pytest.param(-2, Draws((5,), (5, 6), (0.5, 0.0)), "above 0 and finite", id="weight zero"),
        pytest.param(-2, Draws((5,), (5, 6), (0.5, math.inf)), "above 0 and finite", id="weight infinite"),
        pytest.param(-2, Draws((5,), (5, 6), (0.5, math.nan)), "above 0 and finite", id="weight NaN"),
    ],
)
def test_hostile_draws_are_refused_with_their_whole_frame(parent: int, draws: Draws, match: str) -> None:
    of = attached_target()
    with pytest.raises(ProtocolError, match=match):
        of.on_propose(D, Propose(RequestId(R), (Node(NodeId(1), -2, 5, 0.5),), {parent: draws}))
    assert of.tree(R).count == 0
    assert LIMITS.window == 4, "what the case of too many draws assumes"
