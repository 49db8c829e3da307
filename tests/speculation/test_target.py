"""Passes, trees and logs at the target."""

import pytest

from amusd.errors import ProtocolError
from amusd.speculation.messages import Commit, DrafterId, Node, NodeId, Propose, RequestId

from .pair import (
    END,
    LIMITS,
    D,
    R,
    attach,
    attached_target,
    chain,
    commit,
    drafter,
    propose,
    step,
    target,
)

OTHER = DrafterId(2)


def test_a_plain_step_is_always_possible() -> None:
    of = target()
    assert commit(of, 5).emitted == (5,)
    assert of.stats(R).passes == of.stats(R).committed == 1


def test_accepted_drafts_and_a_bonus_commit_in_one_pass() -> None:
    of = attached_target()
    propose(of, (0, -2, 5), (1, 0, 6))
    verified = commit(of, 5, 6, 7)
    assert (verified.accepted_rows, verified.emitted) == ((1, 2), (5, 6, 7))
    assert of.feed()[0].origins == ("accepted", "accepted", "own")
    assert not verified.rolled_back


def test_a_token_of_the_targets_own_that_a_branch_held_was_foreseen() -> None:
    of = attached_target()
    propose(of, (0, -2, 5), (1, -2, 8), (2, 0, 6))
    of.on_verified(R, [of.tree(R).root.children[5]], [0], [8, 1])
    assert of.feed()[0].origins == ("foreseen",)
    of.on_verified(R, [], [], [4])
    assert of.feed()[0].origins == ("own",)


def test_a_rejection_drops_the_tree() -> None:
    of = attached_target()
    propose(of, (0, -2, 5), (1, 0, 6))
    verified = commit(of, 5, 8, 9)
    assert verified.emitted == (5, 8)
    assert verified.rolled_back
    assert (of.tree(R).count, of.stats(R).rollbacks) == (0, 1)


def test_a_foreseen_correction_is_no_rollback_and_its_subtree_is_used_at_once() -> None:
    of = attached_target()
    propose(of, (0, -2, 5), (1, 0, 6), (2, 0, 8), (3, 2, 9))
    nodes = chain(of, 1) + [node for node in of.tree(R).nodes() if node.token == 6]
    verified = of.on_verified(R, nodes, [0, 1], [5, 8, 9])
    assert verified is not None
    assert not verified.rolled_back
    assert of.stats(R).foreseen_corrections == 1
    assert [node.token for node in chain(of)] == [9]


def test_a_foreseen_bonus_is_counted_apart() -> None:
    of = attached_target()
    propose(of, (0, -2, 5), (1, 0, 6))
    commit(of, 5, 6, nodes_max=1)
    assert (of.stats(R).foreseen_bonuses, of.stats(R).foreseen_corrections) == (1, 0)


def test_it_cuts_at_an_end_token_inside_an_accepted_block() -> None:
    of = attached_target()
    propose(of, (0, -2, 5), (1, 0, END), (2, 1, 7))
    verified = commit(of, 5, END, 7, 8)
    assert (verified.accepted_rows, verified.emitted, verified.final) == ((1, 2), (5, END), "stop")


def test_it_cuts_at_the_length_limit_inside_an_accepted_block() -> None:
    of = target(length_max=4)
    attach(of, drafter(length_max=50))
    propose(of, (0, -2, 5), (1, 0, 6), (2, 1, 7))
    nodes = list(of.tree(R).nodes())
    verified = of.on_verified(R, nodes, range(len(nodes)), [5, 6, 7][: len(nodes) + 1])
    assert verified is not None
    assert (verified.emitted, verified.final) == ((5, 6), "length")


def test_the_chain_never_reaches_past_the_length_limit() -> None:
    of = target(length_max=5)
    attach(of, drafter())
    propose(of, (0, -2, 5), (1, 0, 6), (2, 1, 7))
    assert len(chain(of)) == of.room(R) == 2


def test_an_end_token_of_the_prompt_ends_nothing() -> None:
    of = target((1, END))
    assert of.requests() == [R]


def test_a_request_without_drafts_has_room_for_none_and_no_drafter_hears_of_it() -> None:
    of, other = attached_target(), RequestId(2)
    of.on_open(other, (1, 2), 2, 50, frozenset(), speculative=False)
    of.on_attach(OTHER, drafter(incarnation=4).hello())
    for as_drafter in (D, OTHER):
        assert other not in [message.request for message in of.messages_for(as_drafter)]
    assert (of.room(R), of.room(other)) == (47, 0)
    assert of.on_verified(other, [], [], [5]) is not None
    with pytest.raises(ProtocolError, match="without being attached"):
        of.on_propose(D, Propose(other, (Node(NodeId(0), -3, 6, 0.5),)))


def test_a_request_with_a_cap_has_room_for_no_more_than_that() -> None:
    of, other = attached_target(), RequestId(2)
    of.on_open(other, (1, 2), 2, 6, frozenset(), num_speculative_tokens=2)
    assert (of.room(R), of.room(other)) == (47, 2)
    of.on_verified(other, [], [], [5])
    of.on_verified(other, [], [], [5])
    assert of.room(other) == 1


def test_opened_at_its_end_it_says_so_without_a_token() -> None:
    of = target()
    other = RequestId(2)
    assert not of.on_open(other, (1, 2, 3), 2, 3, frozenset({END}))
    assert of.feed() == [Commit(other, 7, 3, (), (), "length")]


def test_stale_node_is_counted_and_never_forwarded() -> None:
    of = attached_target()
    step(of, 9)
    assert propose(of, (0, -2, 5), (1, 0, 6), (2, 1, 7)) == (0, 0, 3)
    assert chain(of) == []
    assert of.stats(R).stale_nodes == of.stats(R).drafted == 3


def test_late_children_of_a_committed_node_still_attach() -> None:
    of = attached_target()
    propose(of, (0, -2, 5))
    commit(of, 5, 6)
    assert propose(of, (1, 0, 6), (2, 1, 7), (3, 1, 8)) == (2, 1, 0)
    assert sorted(node.token for node in of.tree(R).nodes()) == [7, 8]


def test_a_late_child_that_disagrees_with_the_log_is_stale() -> None:
    of = attached_target()
    propose(of, (0, -2, 5))
    commit(of, 5, 6)
    assert propose(of, (1, 0, 4), (2, 1, 7)) == (0, 0, 2)


def test_a_nodes_fate_does_not_depend_on_the_order_of_arrival() -> None:
    before, after = attached_target(), attached_target()
    nodes = [(0, -2, 5), (1, 0, 6), (2, 0, 8), (3, 2, 9)]
    propose(before, *nodes)
    for of in (before, after):
        step(of, 5, 8)
    propose(after, *nodes)
    trees = [[of.tree(R).path(node) for node in of.tree(R).nodes()] for of in (before, after)]
    assert trees[0] == trees[1] == [(9,)]


def test_committed_aliases_are_kept_only_while_the_window_lasts() -> None:
    of = attached_target()
    propose(of, (0, -2, 10))
    for node in range(1, 2 * LIMITS.window + 2):
        step(of, 9 + node)
        propose(of, (node, node - 1, 10 + node))
    step(of, 10 + node)
    assert propose(of, (90, 0, 11)) == (0, 0, 1)
    assert propose(of, (91, node, 70)) == (1, 0, 0)


def test_two_drafters_share_a_node_and_children_of_any_alias_attach() -> None:
    of = attached_target()
    attach(of, drafter(incarnation=4), OTHER)
    propose(of, (0, -2, 5))
    propose(of, (40, -2, 5), (41, 40, 6), as_drafter=OTHER)
    propose(of, (1, 0, 6), (2, 1, 7))
    assert of.tree(R).count == 3


def test_a_detaching_drafter_takes_its_aliases_then_orphans_go() -> None:
    of = attached_target()
    attach(of, drafter(incarnation=4), OTHER)
    propose(of, (0, -2, 5), (1, 0, 6), (2, 0, 7))
    propose(of, (40, -2, 5), (41, 40, 6), as_drafter=OTHER)
    of.on_detach(D)
    assert sorted(of.tree(R).path(node) for node in of.tree(R).nodes()) == [(5,), (5, 6)]
    of.on_detach(OTHER)
    assert of.tree(R).count == 0


def test_a_node_that_died_during_its_pass_is_discarded() -> None:
    of = attached_target()
    propose(of, (0, -2, 5), (1, 0, 6))
    nodes = chain(of)
    of.on_detach(D)
    verified = of.on_verified(R, nodes, [0, 1], [5, 6, 7])
    assert verified is not None
    assert (verified.accepted_rows, verified.emitted) == ((), (5,))


def test_a_request_that_ended_during_its_pass_is_left_alone() -> None:
    of = attached_target()
    of.on_abort(R)
    assert of.on_verified(R, [], [], [5]) is None
    assert of.feed()[0].final == "abort"


def test_a_pass_whose_rows_are_not_their_parents_is_refused() -> None:
    of = attached_target()
    propose(of, (0, -2, 5), (1, 0, 6))
    first, second = chain(of)
    with pytest.raises(ValueError, match="not its parent"):
        of.on_verified(R, [first, second], [0, 0], [5, 6, 7])
    with pytest.raises(ValueError, match="outside the vocabulary"):
        of.on_verified(R, [], [], [-1])


def test_a_child_of_a_node_that_a_commit_dropped_is_stale() -> None:
    of = attached_target()
    propose(of, (0, -2, 5), (1, 0, 6))
    step(of, 5, 8)
    assert propose(of, (2, 1, 7), (3, 0, 7)) == (0, 0, 2)
