import pytest

from amusd.errors import ProtocolError
from amusd.speculation.drafter import DrafterEndpoint
from amusd.speculation.messages import Attached, Close, Commit, Have, Propose, RequestId

from .pair import LIMITS, R, attach, commit, drafter, grow, hear, say, target


def told(start: int, *tokens: int, request: RequestId = R) -> Commit:
    return Commit(request, 7, start, tokens, ("own",) * len(tokens), None)


def attached(prompt: tuple[int, ...] = (1, 2)) -> DrafterEndpoint:
    endpoint = drafter(prompt)
    endpoint.hello()
    endpoint.on_attached(Attached(R, len(prompt), ()))
    assert endpoint.outgoing() == [Have(R, len(prompt))]
    return endpoint


def sent_ids(endpoint: DrafterEndpoint) -> list[int]:
    return [node.id for each in endpoint.outgoing() if isinstance(each, Propose) for node in each.nodes]


def test_it_proposes_only_after_attached() -> None:
    endpoint = drafter()
    grow(endpoint, 5)
    assert endpoint.outgoing() == []
    endpoint.hello()
    assert endpoint.outgoing() == []
    endpoint.on_attached(Attached(R, 2, ()))
    assert len(sent_ids(endpoint)) == 1


def test_every_node_is_sent_once_parents_first() -> None:
    endpoint = attached()
    chain = grow(endpoint, 5, 6)
    (branch,) = endpoint.grow(R, chain[0], [(8, 0.5)])
    (message,) = endpoint.outgoing()
    assert isinstance(message, Propose)
    assert [(node.id, node.parent) for node in message.nodes] == [
        (chain[0], -2),
        (chain[1], chain[0]),
        (branch, chain[0]),
    ]
    assert endpoint.outgoing() == []


def test_a_frame_is_bounded_and_the_rest_comes_in_the_next() -> None:
    endpoint = DrafterEndpoint(3, window=8, frame_nodes_max=3)
    endpoint.hello()
    for request in (RequestId(1), RequestId(2)):
        endpoint.on_open(request, [1], 50)
        endpoint.on_attached(Attached(request, 1, ()))
        endpoint.grow(request, None, [(token, 0.1) for token in range(4)])
    frames = [sent_ids(endpoint) for _ in range(4)]
    assert [len(frame) for frame in frames] == [3, 3, 2, 0]
    assert sorted(node for frame in frames for node in frame) == list(range(8))


def test_the_window_stops_growth_and_a_commit_reopens_it() -> None:
    endpoint = attached()
    grow(endpoint, 5, 6, 7, 8)
    assert endpoint.room(R) == 0
    assert endpoint.grow(R, None, [(9, 0.5)]) == []
    endpoint.on_commit(told(2, 5))
    assert endpoint.room(R) == 1


def test_an_existing_child_and_a_dead_parent_yield_nothing() -> None:
    endpoint = attached()
    (node,) = grow(endpoint, 5)
    assert endpoint.grow(R, None, [(5, 0.5)]) == []
    endpoint.on_commit(told(2, 9))
    assert endpoint.grow(R, node, [(6, 0.5)]) == []
    assert endpoint.grow(RequestId(55), None, [(6, 0.5)]) == []


def test_a_node_that_became_the_root_still_takes_children_by_its_id() -> None:
    endpoint = attached()
    (node,) = grow(endpoint, 5)
    endpoint.on_commit(told(2, 5))
    (child,) = endpoint.grow(R, node, [(6, 0.5)])
    (message,) = endpoint.outgoing()
    assert isinstance(message, Propose)
    assert [(each.id, each.parent) for each in message.nodes] == [(child, -3)]


def test_nodes_beyond_the_length_limit_are_never_grown() -> None:
    endpoint = DrafterEndpoint(3, 8)
    endpoint.on_open(R, [1, 2], length_max=5)
    (first,) = endpoint.grow(R, None, [(5, 0.5)])
    (second,) = endpoint.grow(R, first, [(5, 0.5)])
    assert endpoint.grow(R, second, [(5, 0.5)]) == []  # the pass itself adds the last token


def test_a_commit_says_which_nodes_were_committed_and_which_dropped() -> None:
    endpoint = attached()
    first, second = grow(endpoint, 5, 6)
    (branch,) = endpoint.grow(R, None, [(8, 0.2)])
    change = endpoint.on_commit(told(2, 5, 7))
    assert change is not None
    assert change.committed == {first: 2}
    assert set(change.dropped) == {second, branch}
    assert (change.tokens, change.length, change.rolled_back) == ((5, 7), 4, True)
    assert endpoint.tree(R).count == 0


def test_a_duplicate_commit_changes_nothing() -> None:
    endpoint = attached()
    endpoint.on_commit(told(2, 5))
    change = endpoint.on_commit(told(2, 5))
    assert change is not None
    assert (change.tokens, change.rolled_back) == ((), False)


def test_a_contradicting_commit_is_a_protocol_error() -> None:
    endpoint = attached()
    endpoint.on_commit(told(2, 5))
    with pytest.raises(ProtocolError):
        endpoint.on_commit(told(2, 6))


def test_a_commit_before_attached_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError, match="never attached"):
        drafter().on_commit(told(2, 5))


def test_a_gap_is_answered_with_have_once() -> None:
    endpoint = attached()
    endpoint.on_commit(told(4, 5))
    assert endpoint.outgoing() == [Have(R, 2)]
    assert endpoint.outgoing() == []
    endpoint.on_commit(told(2, 8, 9, 5))
    assert tuple(endpoint.log(R).tokens) == (1, 2, 8, 9, 5)


def test_attached_truncates_to_the_targets_log() -> None:
    endpoint = drafter((1, 2, 3, 4))
    grow(endpoint, 5)
    endpoint.hello()
    change = endpoint.on_attached(Attached(R, 3, (9,)))
    assert change is not None
    assert change.truncated
    assert len(change.dropped) == 1
    assert tuple(endpoint.log(R).tokens) == (1, 2, 3, 9)


def test_attached_that_only_extends_the_log_keeps_the_tree() -> None:
    endpoint = drafter((1, 2))
    grow(endpoint, 5, 6)
    endpoint.hello()
    change = endpoint.on_attached(Attached(R, 2, (5,)))
    assert change is not None
    assert not change.truncated
    assert endpoint.tree(R).count == 1


def test_a_new_link_re_proposes_the_live_tree_with_the_same_ids() -> None:
    endpoint = attached()
    ids = grow(endpoint, 5, 6)
    assert sent_ids(endpoint) == ids
    endpoint.on_link_lost()
    assert not endpoint.attached(R)
    assert dict(endpoint.hello().lengths) == {R: 2}
    endpoint.on_attached(Attached(R, 2, ()))
    assert sent_ids(endpoint) == ids


def test_a_request_that_the_target_attached_first_is_attached_on_open() -> None:
    endpoint = DrafterEndpoint(3)
    endpoint.hello()
    assert endpoint.on_attached(Attached(R, 4, ())) is None
    assert endpoint.on_message(told(4, 5)) is None
    endpoint.on_open(R, [1, 2], 50)
    assert endpoint.attached(R)
    assert endpoint.outgoing() == [Have(R, 2)]


def test_a_request_that_was_closed_before_its_open_is_not_attached() -> None:
    endpoint = DrafterEndpoint(3)
    endpoint.hello()
    endpoint.on_attached(Attached(R, 4, ()))
    endpoint.on_message(Close(R))
    endpoint.on_open(R, [1, 2], 50)
    assert not endpoint.attached(R)


def test_opening_again_tells_it_new_tokens_and_keeps_the_tree() -> None:
    endpoint = attached()
    grow(endpoint, 5, 6)
    change = endpoint.on_open(R, [1, 2, 5], 50)
    assert change.tokens == (5,)
    assert endpoint.attached(R)
    assert endpoint.tree(R).count == 1


def test_abort_and_open_again_on_one_link_still_drafts() -> None:
    of, by = target(), drafter()
    attach(of, by)
    grow(by, 5)
    say(of, by)
    by.on_abort(R)
    by.on_open(R, [1, 2], 50)
    grow(by, 6)
    say(of, by)
    assert of.tree(R).count == 2


def test_nothing_grows_after_the_end_and_close_forgets_the_request() -> None:
    endpoint = attached()
    change = endpoint.on_commit(Commit(R, 7, 2, (5,), ("own",), "stop"))
    assert change is not None
    assert change.final == "stop"
    assert (endpoint.room(R), endpoint.grow(R, None, [(5, 0.5)])) == (0, [])
    endpoint.on_message(Close(R))
    assert endpoint.requests() == []


def test_a_score_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        drafter().grow(R, None, [(5, 0.0)])


def test_the_window_counts_nothing_that_was_committed_or_dropped() -> None:
    of, by = target(), drafter()
    attach(of, by)
    for token in range(10, 40):
        grow(by, token)
        say(of, by)
        commit(of, token, nodes_max=0)
        hear(of, by)
        assert by.room(R) == LIMITS.window
