"""Who reads the target's logs, how far, and what happens when streams break or processes restart."""

import pytest

from amusd.errors import ProtocolError
from amusd.speculation.messages import Attached, Close, Commit, DrafterId, Have, Hello, NodeId, RequestId
from amusd.speculation.target import Limits, TargetEndpoint

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


def test_a_drafter_that_another_request_was_given_to_hears_of_its_begin_and_end_alone() -> None:
    of = target()
    of.on_attach(OTHER, Hello(4, {}))
    assert of.messages_for(OTHER) == [Attached(R, 2, ())]
    step(of, 5)
    assert of.messages_for(OTHER) == []
    step(of, END)
    assert of.messages_for(OTHER) == [Close(R)]


def test_a_drafter_that_opens_a_request_late_reads_on_from_what_it_has() -> None:
    of, by = target(), drafter()
    of.on_attach(OTHER, Hello(3, {}))
    step(of, 5, 6)
    by.hello()
    by.on_abort(R)
    hear(of, by, OTHER)
    step(of, 7)
    assert of.drafting() == [OTHER]  # nobody drafts, so whoever is there may
    of.on_attach(D, Hello(4, {}))
    by.on_open(R, (1, 2, 5), 50)
    say(of, by, OTHER)
    assert of.drafting() == [OTHER]
    (message,) = of.messages_for(OTHER)
    assert isinstance(message, Commit)
    assert (message.start, message.tokens) == (3, (6, 7))


def test_a_drafter_that_spoke_of_a_request_before_the_target_opened_it_speaks_again() -> None:
    of, by = TargetEndpoint(7, 100, LIMITS), drafter()
    of.on_attach(D, by.hello())
    of.on_open(R, (1, 2), 2, 50, frozenset({END}))
    hear(of, by)
    assert say(of, by) == [Have(R, 2)]
    step(of, 5)
    assert kinds(of.messages_for(D)) == ["Commit"]


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
    assert [set(node.aliases) for node in of.tree(R).nodes()] == [{(OTHER, NodeId(0))}]


def test_a_frame_that_crosses_the_close_is_stale_and_answered_with_close() -> None:
    of = attached_target()
    step(of, END)
    of.messages_for(D)
    assert propose(of, (0, -2, 5)) == (0, 0, 1)
    of.on_have(D, Have(R, 2))
    assert of.messages_for(D) == [Close(R)]


def test_a_slow_drafter_still_reads_the_end_of_what_finished_lately() -> None:
    of = attached_target()
    step(of, END)
    for _ in range(3):
        of.feed()
    assert kinds(of.messages_for(D)) == ["Commit", "Close"]


def test_the_memory_of_ended_requests_is_bounded() -> None:
    of = TargetEndpoint(7, 100, Limits(remembered_max=2))
    for number in range(4):
        of.on_abort(RequestId(number))
    opened = [of.on_open(RequestId(number), (1, 2), 2, 50, frozenset()) for number in range(4)]
    assert opened == [True, True, False, False]
