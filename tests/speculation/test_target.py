import pytest

from amusd.errors import ProtocolError
from amusd.speculation.messages import Attached, Close, Commit, DrafterId, Have, Hello, NodeId, RequestId

from .pair import (
    END,
    LIMITS,
    D,
    R,
    attach,
    attached_target,
    commit,
    drafter,
    grow,
    hear,
    kinds,
    propose,
    say,
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
    assert verified.drafted == (True, True, False)
    assert not verified.rolled_back


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
    chain = of.chain(R, 1) + [node for node in of.tree(R).nodes() if node.token == 6]
    verified = of.on_verified(R, chain, [0, 1], [5, 8, 9])
    assert verified is not None
    assert not verified.rolled_back
    assert of.stats(R).foreseen_corrections == 1
    assert [node.token for node in of.chain(R, 8)] == [9]


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
    assert len(of.chain(R, 8)) == of.room(R) == 2


def test_an_end_token_of_the_prompt_ends_nothing() -> None:
    of = target((1, END))
    assert of.requests() == [R]


def test_opened_at_its_end_it_says_so_without_a_token() -> None:
    of = target()
    other = RequestId(2)
    assert not of.on_open(other, (1, 2, 3), 2, 3, frozenset({END}))
    assert of.feed() == [Commit(other, 7, 3, (), (), "length")]


def test_stale_node_is_counted_and_never_forwarded() -> None:
    of = attached_target()
    step(of, 9)
    assert propose(of, (0, -2, 5), (1, 0, 6), (2, 1, 7)) == (0, 0, 3)
    assert of.chain(R, 8) == []
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
    chain = of.chain(R, 8)
    of.on_detach(D)
    verified = of.on_verified(R, chain, [0, 1], [5, 6, 7])
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
    first, second = of.chain(R, 8)
    with pytest.raises(ValueError, match="not its parent"):
        of.on_verified(R, [first, second], [0, 0], [5, 6, 7])
    with pytest.raises(ValueError, match="outside the vocabulary"):
        of.on_verified(R, [], [], [-1])


def test_the_feed_is_a_cursor_and_hands_out_what_is_newest_once() -> None:
    of = target()
    step(of, 5)
    step(of, 6, 7)
    (newest,) = of.feed()
    assert (newest.start, newest.tokens, newest.incarnation) == (2, (5, 6, 7), 7)
    assert of.feed() == []


def test_a_slow_drafter_gets_one_commit_however_late() -> None:
    of = attached_target()
    step(of, *range(10, 30))
    (message,) = of.messages_for(D)
    assert isinstance(message, Commit)
    assert message.tokens == tuple(range(10, 30))
    assert of.messages_for(D) == []


def test_have_is_answered_with_one_commit_from_there() -> None:
    of = attached_target()
    step(of, 5, 6)
    of.messages_for(D)
    of.on_have(D, Have(R, 3))
    (message,) = of.messages_for(D)
    assert isinstance(message, Commit)
    assert (message.start, message.tokens) == (3, (6,))


def test_the_coordinators_have_rewinds_the_feed() -> None:
    of = target()
    step(of, 5, 6)
    of.feed()
    assert of.on_feed_have(Have(R, 3))
    assert of.feed()[0].tokens == (6,)
    assert not of.on_feed_have(Have(RequestId(44), 3))


def test_attach_sends_the_length_and_the_missing_tokens() -> None:
    of = target()
    step(of, 5, 6)
    of.on_attach(D, Hello(3, {R: 3}))
    assert of.messages_for(D) == [Attached(R, 3, (6,))]
    of.on_attach(OTHER, Hello(4, {R: 99}))
    assert of.messages_for(OTHER) == [Attached(R, 4, ())]


def test_attaching_again_forgets_the_older_links_aliases() -> None:
    of, by = target(), drafter()
    attach(of, by)
    grow(by, 5, 6)
    say(of, by)
    assert of.on_attach(OTHER, by.hello()) == D
    assert (of.tree(R).count, of.drafters()) == (0, [OTHER])
    hear(of, by, OTHER)
    say(of, by, OTHER)
    assert of.tree(R).count == 2


def test_after_the_end_the_drafter_reads_the_last_commit_then_close() -> None:
    of = attached_target()
    step(of, END)
    assert kinds(of.messages_for(D)) == ["Commit", "Close"]
    assert of.messages_for(D) == []
    assert of.feed()[0].final == "stop"
    of.feed()
    assert propose(of, (0, -2, 5)) == (0, 0, 1)
    assert of.messages_for(D) == [Close(R)]


def test_statistics_stay_readable_until_the_next_feed() -> None:
    of = target()
    step(of, END)
    of.feed()
    assert of.stats(R).to_dict()["committed"] == 1
    of.feed()
    with pytest.raises(KeyError):
        of.stats(R)


def test_a_stalled_drafter_cannot_keep_finished_requests_for_ever() -> None:
    of = attached_target()
    step(of, END)
    of.feed()
    for number in range(2, 40):
        request = RequestId(number)
        of.on_open(request, (1, 2), 2, 50, frozenset({END}))
        of.on_verified(request, [], [], [END])
        of.feed()
    of.feed()
    assert len(of.messages_for(D)) <= 1 + LIMITS.finished_max


def test_a_late_open_after_an_abort_is_refused() -> None:
    of = target()
    of.on_abort(R)
    of.feed()
    of.feed()
    assert not of.on_open(R, (1, 2), 2, 50, frozenset())
    unknown = RequestId(5)
    of.on_abort(unknown)
    assert not of.on_open(unknown, (1, 2), 2, 50, frozenset())
    assert of.requests() == []


def test_opening_again_rewinds_the_feed_and_nothing_else() -> None:
    of = attached_target()
    propose(of, (0, -2, 5), (1, 0, 6))
    commit(of, 5, nodes_max=0)
    of.feed()
    assert not of.on_open(R, (1, 2), 2, 50, frozenset({END}))
    assert of.feed()[0].tokens == (5,)
    assert of.tree(R).count == 1


@pytest.mark.parametrize("tokens", [(1, 9), (1, 2, 3)])
def test_opening_again_against_the_log_is_a_protocol_error(tokens: tuple[int, ...]) -> None:
    with pytest.raises(ProtocolError):
        target().on_open(R, tokens, 2, 50, frozenset())


def test_a_dropped_request_is_opened_again_and_frames_of_its_earlier_life_are_stale() -> None:
    of = attached_target()
    of.on_drop(R)
    assert of.on_open(R, (1, 2), 2, 50, frozenset({END}))
    assert propose(of, (0, -2, 5)) == (0, 0, 1)
    assert of.messages_for(D) == [Close(R)]
    of.on_attach(D, Hello(3, {}))
    assert kinds(of.messages_for(D)) == ["Attached"]


def test_a_hello_for_a_request_that_ended_gets_close() -> None:
    of = target()
    of.on_abort(R)
    of.feed()
    of.feed()
    of.on_attach(D, Hello(3, {R: 2}))
    assert of.messages_for(D) == [Close(R)]


def test_a_restarted_target_goes_on_from_the_ledger_and_the_drafter_truncates() -> None:
    first, by = target(), drafter()
    attach(first, by)
    step(first, 5, 6)
    hear(first, by)
    by.on_link_lost()
    second = target((1, 2, 5))
    attach(second, by)
    assert tuple(by.log(R).tokens) == (1, 2, 5)
    step(second, 6)
    hear(second, by)
    assert tuple(by.log(R).tokens) == (1, 2, 5, 6)


def test_a_restarted_drafter_is_used_again() -> None:
    of, by = target(), drafter()
    attach(of, by)
    grow(by, 5)
    say(of, by)
    of.on_detach(D)
    again = drafter(incarnation=9)
    attach(of, again, OTHER)
    grow(again, 6)
    say(of, again, OTHER)
    assert [node.aliases for node in of.tree(R).nodes()] == [{(OTHER, NodeId(0))}]
