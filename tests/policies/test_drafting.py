"""Which futures are expanded next: tables over real trees."""

import pytest

from amusd.errors import InputError
from amusd.policies.costs import CostCurve
from amusd.policies.drafting import BestFirstPolicy, ChainPolicy, draft_policy
from amusd.policies.leading import NOTHING, ROOT_ONLY
from amusd.speculation.drafter import DrafterEndpoint
from amusd.speculation.messages import Attached, Commit

PROMPT = (5, 6, 7)


def endpoint(*requests, window=64, length_max=100):
    """An endpoint with open, attached requests."""
    made = DrafterEndpoint(incarnation=1, window=window)
    made.hello()
    for request in requests:
        made.on_open(request, PROMPT, length_max)
        made.on_attached(Attached(request, len(PROMPT), ()))
    return made


def grow(made, request, *steps):
    """Hang (parent index or None, token, score) nodes below each other; returns their ids."""
    ids = []
    for parent, token, score in steps:
        ids += made.grow(request, None if parent is None else ids[parent], [(token, score)])
    return ids


def brief(choices):
    return [(choice.request, choice.node, choice.count) for choice in choices]


# -- chain -----------------------------------------------------------------------------------------


def test_a_chain_starts_at_the_root():
    (choice,) = ChainPolicy(4).choose(endpoint(1))
    assert (choice.node, choice.token, choice.position) == (None, 7, 2)
    assert (choice.ancestors, choice.path, choice.count) == ((), (), 1)


def test_a_chain_grows_at_its_end_and_says_what_lies_above():
    made = endpoint(1)
    first, second, third = grow(made, 1, (None, 11, 0.9), (0, 12, 0.8), (1, 13, 0.7))
    (choice,) = ChainPolicy(4).choose(made)
    assert (choice.node, choice.token, choice.position) == (third, 13, 5)
    assert (choice.ancestors, choice.path) == ((first, second), (11, 12, 13))


def test_a_full_chain_waits_for_the_verdict_and_then_goes_on():
    made = endpoint(1)
    grow(made, 1, (None, 11, 0.9), (0, 12, 0.8))
    policy = ChainPolicy(2)
    assert policy.choose(made) == []
    made.on_commit(Commit(1, 1, 3, (11, 99), (True, False), None))
    assert brief(policy.choose(made)) == [(1, None, 1)]


def test_a_chain_expands_one_row_of_every_request():
    made = endpoint(1, 2)
    (node,) = grow(made, 2, (None, 11, 0.9))
    assert brief(ChainPolicy(4).choose(made)) == [(1, None, 1), (2, node, 1)]


def test_a_chain_follows_the_best_child_and_of_equals_the_lowest_token():
    made = endpoint(1)
    ids = grow(made, 1, (None, 13, 0.5), (None, 11, 0.5), (None, 12, 0.4))
    assert brief(ChainPolicy(4).choose(made)) == [(1, ids[1], 1)]


# -- best first ------------------------------------------------------------------------------------


def best_first(rows_max=4, depth_max=8, branch=2, reach_min=1e-6):
    return BestFirstPolicy(rows_max, depth_max, branch, reach_min)


def test_the_root_comes_first_with_its_branches():
    assert brief(best_first(branch=3).choose(endpoint(1))) == [(1, None, 3)]


def test_nodes_are_expanded_in_the_order_of_the_product_of_their_scores():
    made = endpoint(1)
    ids = grow(made, 1, (None, 11, 0.6), (None, 12, 0.3), (0, 13, 0.9), (0, 14, 0.4), (2, 15, 0.2))
    # reaches: 12 0.3, 14 0.24, 15 0.108; 11 and 13 have children already
    assert brief(best_first().choose(made)) == [(1, ids[1], 2), (1, ids[3], 2), (1, ids[4], 2)]
    assert brief(best_first(rows_max=2).choose(made)) == [(1, ids[1], 2), (1, ids[3], 2)]


def test_rows_are_shared_by_all_requests():
    made = endpoint(1, 2, 3)
    ids = grow(made, 1, (None, 11, 0.5), (None, 12, 0.4))
    other = grow(made, 2, (None, 11, 0.45))
    assert brief(best_first(rows_max=3).choose(made)) == [(3, None, 2), (1, ids[0], 2), (2, other[0], 2)]


def test_reaches_count_from_the_root_of_today():
    made = endpoint(1, 2)
    first, second = grow(made, 1, (None, 11, 0.1), (0, 12, 0.9))
    (other,) = grow(made, 2, (None, 11, 0.5))
    assert brief(best_first(rows_max=1).choose(made)) == [(2, other, 2)]
    made.on_commit(Commit(1, 1, 3, (11,), (True,), None))  # 0.1 is certain now
    assert brief(best_first(rows_max=1).choose(made)) == [(1, second, 2)]
    assert first not in [choice.node for choice in best_first().choose(made)]


def test_nothing_grows_beyond_the_depth():
    made = endpoint(1)
    ids = grow(made, 1, (None, 11, 0.9), (0, 12, 0.9), (None, 13, 0.05))
    assert brief(best_first(depth_max=2).choose(made)) == [(1, ids[2], 2)]
    assert best_first(depth_max=1).choose(made) == []


@pytest.mark.parametrize("policy", [best_first(), ChainPolicy(8)])
@pytest.mark.parametrize(("length_max", "nodes"), [(4, 0), (5, 1), (6, 2), (100, 3)])
def test_nothing_grows_beyond_the_length_of_the_request(policy, length_max, nodes):
    made = endpoint(1, length_max=length_max)  # the pass itself adds the last token
    grown = [None]
    for token in range(11, 14):
        grown += made.grow(1, grown[-1], [(token, 0.9)])
    assert made.tree(1).count == nodes
    chosen = [choice.node for choice in policy.choose(made)]
    assert chosen == (grown[-1:] if length_max == 100 else [])


@pytest.mark.parametrize("policy", [best_first(), ChainPolicy(8)])
def test_a_full_window_is_left_alone(policy):
    made = endpoint(1, window=2)
    grow(made, 1, (None, 11, 0.9), (0, 12, 0.9))
    assert policy.choose(made) == []


def test_branches_leave_room_for_the_chain_to_reach_its_depth():
    policy = best_first(depth_max=5, branch=2)
    made = endpoint(1, window=policy.window)
    while choices := policy.choose(made):
        for choice in choices:
            scores = [0.5, 0.45] if choice.node is None or choice.path[0] == 1 else [0.99, 0.98]
            made.grow(1, choice.node, [(token, scores[token - 1]) for token in range(1, choice.count + 1)])
    tree = made.tree(1)
    assert tree.count == policy.window
    assert max(node.position for node in tree.nodes()) == tree.root.position + 5
    chain, node = 0, tree.root
    while node.children:
        chain, node = chain + 1, node.children[1]
    assert chain == 5  # although the other half of the tree has the higher reaches below


def test_what_the_chain_takes_is_reserved_for_it_no_longer():
    made = endpoint(1, window=6)
    ids = grow(made, 1, (None, 11, 0.9), (None, 12, 0.5))
    assert brief(best_first(depth_max=2, branch=2).choose(made)) == [(1, ids[0], 2), (1, ids[1], 2)]


def test_the_choice_is_a_function_of_the_trees():
    made = endpoint(1, 2)
    grow(made, 1, (None, 11, 0.5), (None, 12, 0.5))
    assert best_first().choose(made) == best_first().choose(made)


def test_futures_that_are_too_unlikely_are_neither_expanded_nor_proposed():
    made = endpoint(1)
    ids = grow(made, 1, (None, 11, 0.5), (None, 12, 0.05), (0, 13, 0.1))
    policy = best_first(reach_min=0.06)
    assert policy.choose(made) == []  # 12 reaches 0.05, 13 too
    assert brief(best_first(reach_min=0.05).choose(made)) == [(1, ids[1], 2), (1, ids[2], 2)]
    candidates = [(1, 0.4), (2, 0.3), (3, 0.1)]
    assert policy.worth_proposing(0.2, candidates) == [(1, 0.4), (2, 0.3)]
    assert policy.worth_proposing(0.01, candidates) == [(1, 0.4)], "a node that was expanded has a child"


def test_each_mode_has_its_policy_and_its_window():
    assert draft_policy("sync", 5) == ChainPolicy(5)
    assert draft_policy("sync", 5).window == 5
    assert draft_policy("amusd", 5) == draft_policy("pearl", 5) == ChainPolicy(11)
    drafting = draft_policy("async", 3)
    assert isinstance(drafting, BestFirstPolicy)
    assert drafting.depth_max == 7
    assert drafting.window == 2 * 7 * drafting.branch
    with pytest.raises(InputError, match="mode: alone"):
        draft_policy("alone", 5)


def test_who_is_late_is_drafted_for_as_if_its_futures_were_likelier():
    made = endpoint(1, 2)
    sure = grow(made, 1, (None, 11, 0.8), (0, 12, 0.8))
    doubtful = grow(made, 2, (None, 21, 0.4), (0, 22, 0.4))
    policy = best_first(rows_max=1)
    assert brief(policy.choose(made)) == brief(policy.choose(made, weights={2: 3.9})) == [(1, sure[1], 2)]
    assert brief(policy.choose(made, weights={2: 4.1})) == [(2, doubtful[1], 2)]  # 0.16 times that, over 0.64
    unlikely = best_first(rows_max=2, reach_min=0.2)
    assert brief(unlikely.choose(made, weights={2: 8.0})) == [(1, sure[1], 2)], "no likelier than it was"


# -- rows of a step --------------------------------------------------------------------------------

FLAT = {1: 1.0, 32: 1.0}
STEEP = {1: 1.0, 4: 1.1, 8: 3.0}


def shared(seconds, rows_max=32):
    """Four rows of a request and more of several, at these costs of a step."""
    return BestFirstPolicy(4, 8, 2, 1e-6, rows_max, CostCurve(seconds, 1, together=True))


def leaves(made, request, count=12, score=0.08):
    """Equally likely futures."""
    return grow(made, request, *((None, token, score) for token in range(count)))


def test_one_request_gets_a_few_rows_however_cheap_they_are():
    made = endpoint(1)
    leaves(made, 1)
    assert len(shared(FLAT).choose(made)) == 4


@pytest.mark.parametrize(
    ("seconds", "requests", "rows_max", "rows"),
    [
        (FLAT, 2, 32, 8),
        (FLAT, 4, 32, 16),
        (FLAT, 40, 32, 32),
        (FLAT, 40, 20, 16),
        (FLAT, 40, None, 4),
        (STEEP, 2, 32, 4),
        (STEEP, 40, 32, 4),
        ({1: 1.0, 8: 1.1, 16: 3.0}, 4, 32, 8),
    ],
)
def test_several_requests_get_as_many_rows_as_bring_most_reach_in_a_second(seconds, requests, rows_max, rows):
    made = endpoint(*range(1, requests + 1))
    for request in made.requests():
        leaves(made, request)
    assert len(shared(seconds, rows_max).choose(made)) == rows


def test_unlikely_futures_are_no_reason_for_a_dearer_step():
    costs = {1: 1.0, 4: 1.0, 8: 1.3}
    likely, unlikely = endpoint(1, 2), endpoint(1, 2)
    for made, score in ((likely, 0.1), (unlikely, 0.01)):
        leaves(made, 1, count=4, score=0.1)
        leaves(made, 2, count=4, score=score)
    assert len(shared(costs).choose(likely)) == 8
    assert len(shared(costs).choose(unlikely)) == 4


def test_what_reaches_less_than_the_least_of_its_request_is_not_drafted():
    made = endpoint(1, 2)
    ids = grow(made, 1, (None, 11, 0.5), (None, 12, 0.2))
    other = grow(made, 2, (None, 21, 0.4), (None, 22, 0.3))
    least = {1: 0.3, 2: 0.35}.__getitem__
    policy = best_first()
    assert brief(policy.choose(made, least)) == [(1, ids[0], 2), (2, other[0], 2)]
    late = policy.choose(made, least, {2: 8.0})
    assert brief(late) == [(2, other[0], 2), (1, ids[0], 2)], "sooner, but nothing that is too unlikely"
    assert policy.choose(made, {1: NOTHING, 2: 0.0}.__getitem__, {1: 8.0})[0].request == 2
    assert {each.request for each in policy.choose(made, {1: NOTHING, 2: 0.0}.__getitem__)} == {2}


def test_a_trial_expands_the_root_and_nothing_else():
    made = endpoint(1, 2)
    grow(made, 1, (None, 11, 0.99), (None, 12, 0.5))
    assert brief(best_first().choose(made, lambda request: ROOT_ONLY)) == [(2, None, 2)]
    assert best_first().choose(made, lambda request: NOTHING) == []
    made.on_commit(Commit(1, 1, 3, (11,), ("accepted",), None))
    assert brief(best_first().choose(made, lambda request: ROOT_ONLY)) == [(1, None, 2), (2, None, 2)]
