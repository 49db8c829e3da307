"""When a pass starts and how wide it is: tables over reaches and times."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amusd.errors import InputError
from amusd.policies.adaptive import FIRST_SECONDS, PATIENCE_SECONDS_MAX, STEP_SECONDS
from amusd.policies.costs import CostCurve
from amusd.policies.table import SpeculationTable
from amusd.policies.verifying import SYNC_PATIENCE_SECONDS, verify_policy

PLENTY = 100
ZEN5 = {1: 0.0132, 4: 0.0132, 8: 0.0161, 16: 0.0207}
some_chains = st.dictionaries(
    st.integers(0, 9),
    st.lists(st.floats(0, 1), max_size=9).map(lambda found: sorted(found, reverse=True)),
    min_size=1,
    max_size=5,
)


def deadline(policy, nodes, now, rooms=None, prospect=0.75):
    """`nodes`: per request how many there are, or their reaches."""
    reaches = {key: [0.9] * value if isinstance(value, int) else value for key, value in nodes.items()}
    return policy.deadline(reaches, rooms or dict.fromkeys(nodes, PLENTY), prospect=prospect, now=now)


def pass_at(policy, end, verified=None, accepted=None):
    verified = verified or {1: 0}
    policy.on_pass(verified, accepted or dict.fromkeys(verified, 0), end)


def async_policy(count=7, seconds=ZEN5, multiple=4):
    policy = verify_policy("async", count)
    policy.costs = CostCurve(seconds, multiple)
    return policy


# -- fixed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "count", "room", "prospect", "waits"),
    [
        ("sync", 5, PLENTY, 1, False),
        ("sync", 4, PLENTY, 1, True),
        ("sync", 0, PLENTY, 1, True),
        ("sync", 4, 4, 1, False),  # the request cannot use more
        ("sync", 0, 0, 1, False),
        ("sync", 0, PLENTY, 0, False),  # nobody to wait for
        ("amusd", 1, PLENTY, 1, True),  # the paper verifies when two or more wait
        ("amusd", 2, PLENTY, 1, False),
        ("pearl", 0, PLENTY, 1, True),
        ("pearl", 1, PLENTY, 1, False),  # pre-verify: the first token by itself
        ("alone", 0, PLENTY, 0, False),
        ("alone", 0, PLENTY, 1, False),
    ],
)
def test_a_pass_waits_only_for_nodes_that_can_come(mode, count, room, prospect, waits):
    at = deadline(verify_policy(mode, 5), {1: count}, now=10.0, rooms={1: room}, prospect=prospect)
    assert at == (10.0 + SYNC_PATIENCE_SECONDS if waits else 10.0)


def test_the_wait_is_bounded_by_the_end_of_the_last_pass():
    policy = verify_policy("sync", 5)
    deadline(policy, {1: 5}, now=10.0)
    pass_at(policy, 11.0)
    for now in (11.0, 11.2, 11.4):
        assert deadline(policy, {1: 1}, now=now) == 11.0 + SYNC_PATIENCE_SECONDS
    assert deadline(policy, {1: 1}, now=11.6) == 11.6


def test_one_request_is_waited_for_although_others_are_ready():
    policy = verify_policy("sync", 5)
    assert deadline(policy, {1: 5, 2: 3, 3: 5}, now=1.0) == 1.0 + SYNC_PATIENCE_SECONDS


@pytest.mark.parametrize("mode", ["sync", "amusd", "pearl", "async"])
def test_patience_is_spent_once_until_a_node_comes(mode):
    policy = verify_policy(mode, 5)
    assert deadline(policy, {1: 0}, now=0.0) > 0.0
    assert deadline(policy, {1: 0}, now=1.0) == 1.0
    for now in (1.0, 2.0, 3.0):
        pass_at(policy, now)
        assert deadline(policy, {1: 0}, now=now) == now
    policy.on_proposal(1, 1, 3.001)
    pass_at(policy, 4.0)
    assert mode == "async" or deadline(policy, {1: 0}, now=4.0) > 4.0


def test_a_request_that_lapsed_costs_the_others_nothing():
    policy = verify_policy("sync", 5)
    deadline(policy, {1: 0, 2: 5}, now=0.0)
    deadline(policy, {1: 0, 2: 5}, now=1.0)
    pass_at(policy, 1.0, {1: 0, 2: 5})
    assert deadline(policy, {1: 0, 2: 5}, now=1.0) == 1.0
    assert deadline(policy, {1: 0, 2: 1}, now=1.0) == 1.0 + SYNC_PATIENCE_SECONDS


def test_a_new_request_gets_its_own_patience_and_an_old_id_leaves_nothing():
    policy = verify_policy("sync", 5)
    deadline(policy, {1: 0}, now=0.0)
    deadline(policy, {1: 0}, now=1.0)
    policy.forget(1)
    assert deadline(policy, {1: 0}, now=2.0) == 2.0 + SYNC_PATIENCE_SECONDS
    assert deadline(policy, {1: 0, 2: 0}, now=2.1) == 2.1 + SYNC_PATIENCE_SECONDS
    policy.forget(1)
    policy.forget(2)
    assert not policy._since
    assert not policy._lapsed


@pytest.mark.parametrize(
    ("mode", "chains", "widths"),
    [
        ("alone", {1: []}, {1: 0}),
        ("sync", {1: [0.9, 0.001, 0.001, 0.001, 0.001]}, {1: 5}),
        ("sync", {1: [0.5] * 9}, {1: 7}),
        ("amusd", {1: [0.5] * 9, 2: [0.1]}, {1: 7, 2: 1}),
        ("pearl", {1: [0.5] * 9}, {1: 1}),
    ],
)
def test_fixed_policies_take_what_there_is(mode, chains, widths):
    assert verify_policy(mode, 7).widths(chains) == widths


def test_a_fixed_width_takes_nodes_that_do_not_pay_and_never_more_than_it_may():
    policy = verify_policy("async", 3, "fixed")
    policy.costs = CostCurve({1: 1.0, 64: 64.0}, 1)
    chains = {1: [0.5] * 9, 2: [1e-6], 3: []}
    assert policy.widths(chains) == {1: 3, 2: 1, 3: 0}
    pays = async_policy(3, seconds={1: 1.0, 64: 64.0}, multiple=1)
    assert pays.widths(chains) == {1: 0, 2: 0, 3: 0}


@given(st.sampled_from(["goodput", "fixed", "table"]), some_chains, st.integers(1, 5))
def test_everybody_is_in_the_pass_with_no_more_nodes_than_there_are_and_may_be(name, chains, most):
    policy = verify_policy("async", most, name, SpeculationTable({1: 3, 3: 7, 4: 0}))
    policy.costs = CostCurve(ZEN5, together=True)
    widths = policy.widths(chains)
    assert widths.keys() == chains.keys(), "each has its own row in every pass"
    assert all(0 <= widths[request] <= min(most, len(chain)) for request, chain in chains.items())


def test_a_fixed_width_waits_as_long_as_a_chosen_one():
    policy = verify_policy("async", 7, "fixed")
    policy.costs = CostCurve(ZEN5)
    assert deadline(policy, {1: []}, now=5.0) == deadline(async_policy(), {1: []}, now=5.0) > 5.0


def test_pearl_verifies_blocks_while_they_are_accepted_whole():
    policy = verify_policy("pearl", 4)
    chain = {1: [0.9] * 6}
    pass_at(policy, 1.0, {1: 1}, {1: 1})
    assert policy.widths(chain) == {1: 4}
    assert deadline(policy, {1: 3}, now=1.0) > 1.0, "a block is waited for"
    pass_at(policy, 2.0, {1: 4}, {1: 4})
    assert policy.widths(chain) == {1: 4}
    pass_at(policy, 3.0, {1: 4}, {1: 2})
    assert policy.widths(chain) == {1: 1}
    pass_at(policy, 4.0, {1: 0}, {1: 0})
    assert policy.widths(chain) == {1: 1}, "nothing verified is nothing accepted"


# -- adaptive: width -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chains", "widths"),
    [
        ({1: []}, {1: 0}),
        ({1: [0.01, 0.001]}, {1: 2}),  # four rows cost what one costs
        ({1: [0.9, 0.8, 0.7, 0.6, 0.5]}, {1: 5}),  # worth four more rows
        ({1: [0.5, 0.2, 0.1, 0.02, 0.01, 0.005]}, {1: 3}),  # not worth them
        ({1: [0.9] * 9}, {1: 7}),
        ({1: [0.9, 0.8, 0.7, 0.6, 0.5], 2: []}, {1: 3, 2: 0}),  # the other would take four rows more too
        ({1: [0.5, 0.3, 0.2, 0.1, 0.05], 2: [0.01] * 4, 3: []}, {1: 3, 2: 3, 3: 0}),
    ],
)
def test_a_pass_is_as_wide_as_it_pays(chains, widths):
    assert async_policy().widths(chains) == widths


def test_where_every_row_costs_unlikely_nodes_stay_out():
    policy = async_policy(seconds={1: 0.034, 2: 0.038, 4: 0.046, 8: 0.058, 16: 0.084}, multiple=1)
    assert policy.widths({1: [0.05, 0.04]}) == {1: 0}
    assert policy.widths({1: [0.7, 0.5, 0.08, 0.05, 0.03]}) == {1: 2}


def test_zero_acceptance_means_zero_rows_and_load_never_adds_any():
    policy = async_policy(seconds={1: 1.0, 64: 32.0}, multiple=1)
    assert policy.widths({1: [1e-6] * 7}) == {1: 0}
    chain = [0.8, 0.6, 0.4, 0.3, 0.2, 0.1, 0.05]
    totals = [max(policy.widths(dict.fromkeys(range(count), chain)).values()) for count in (1, 2, 4, 8, 16)]
    assert totals == sorted(totals, reverse=True)
    assert all(set(policy.widths(dict.fromkeys(range(n), chain))) == set(range(n)) for n in (1, 8))


def test_who_counts_for_more_is_asked_about_again():
    policy = verify_policy("async", 7)
    policy.costs = CostCurve({1: 1.0, 64: 32.5}, 1, together=True)
    chains = {1: [0.4], 2: [0.4]}
    assert policy.widths(chains) == policy.widths(chains, {}) == {1: 0, 2: 0}
    late = policy.widths(chains, {2: 8.0})
    assert late == {1: 0, 2: 1}
    assert policy.widths(chains, {2: 8.0}) is late
    assert policy.widths(chains, {1: 8.0}) == {1: 1, 2: 0}
    assert policy.widths(chains) == {1: 0, 2: 0}


# -- the price for drafters ------------------------------------------------------------------------


def price_after(requests, accepted=0, together=True, passes=1):
    """Of a policy whose passes verify three nodes of each of so many requests."""
    policy = verify_policy("async", 7)
    policy.costs = CostCurve(ZEN5, together=together)
    assert policy.price == 0
    for _ in range(passes):
        pass_at(policy, 1.0, dict.fromkeys(range(requests), 3), dict.fromkeys(range(requests), accepted))
    return policy.price


@pytest.mark.parametrize("together", [True, False])
def test_the_price_grows_with_the_number_of_requests_and_with_what_their_nodes_bring(together):
    prices = [price_after(requests, together=together) for requests in (1, 2, 4, 8, 16)]
    assert prices == sorted(set(prices))
    assert prices[0] == pytest.approx((0.0184 - 0.0132) / (8 * 0.0132))
    assert price_after(1, accepted=3, together=together, passes=60) == pytest.approx(4 * prices[0], rel=0.01)


@pytest.mark.parametrize("mode", ["alone", "sync", "amusd", "pearl", "async"])
def test_where_all_nodes_are_taken_none_is_too_unlikely(mode):
    policy = verify_policy(mode, 5, "fixed")
    pass_at(policy, 1.0, {1: 5, 2: 5, 3: 5})
    assert policy.price == 0


# -- adaptive: patience ----------------------------------------------------------------------------


def test_a_first_node_is_worth_a_short_wait_and_a_full_chain_none():
    policy = async_policy()
    assert deadline(policy, {1: []}, now=5.0) == pytest.approx(5.0 + 2 * FIRST_SECONDS)
    assert deadline(policy, {1: 7}, now=5.0) == 5.0
    assert deadline(policy, {1: []}, now=5.0, prospect=0.0) == 5.0
    assert deadline(policy, {1: []}, now=5.0, rooms={1: 0}) == 5.0


def test_a_first_node_of_a_drafter_that_is_never_right_is_not_waited_for():
    assert deadline(async_policy(), {1: []}, now=5.0, prospect=0.01) == 5.0


def test_a_further_node_is_awaited_while_it_is_likely_enough():
    policy = async_policy(seconds={4: 0.05, 8: 0.06})
    deadline(policy, {1: []}, now=5.0)
    policy.on_proposal(1, 1, 5.001)
    assert deadline(policy, {1: [0.9]}, now=5.001) == pytest.approx(5.001 + 2 * STEP_SECONDS)
    assert deadline(policy, {1: [0.1]}, now=5.001) == 5.001


def test_a_new_request_expects_what_others_showed():
    policy = async_policy(seconds={4: 0.1, 8: 0.11})
    assert not policy.waits
    deadline(policy, {1: []}, now=1.0)
    policy.on_proposal(1, 1, 1.020)
    policy.on_proposal(1, 1, 1.030)
    policy.forget(1)
    assert policy.waits == pytest.approx({"commit": 0.020, "node": 0.010})
    assert deadline(policy, {2: []}, now=2.0) == pytest.approx(2.0 + 2 * 0.020)
    policy.on_proposal(2, 1, 2.001)
    assert deadline(policy, {2: [0.9]}, now=2.001) == pytest.approx(2.001 + 2 * 0.010)


def test_a_drafter_slower_than_the_target_is_not_waited_for():
    policy = async_policy()
    for round_ in range(10):
        start = float(round_)
        deadline(policy, {1: []}, now=start)
        policy.on_proposal(1, 1, start + 0.020)  # the pass takes 0.013
        pass_at(policy, start + 0.5)
    assert deadline(policy, {1: []}, now=10.0) == 10.0


def test_a_drafter_that_gets_fast_again_is_waited_for_again():
    policy = async_policy()
    for round_ in range(20):
        start = float(round_)
        deadline(policy, {1: []}, now=start)
        policy.on_proposal(1, 1, start + (0.1 if round_ < 10 else 0.002))
        pass_at(policy, start + 1.0)
    assert deadline(policy, {1: []}, now=20.0) > 20.0


def test_frames_of_several_drafters_do_not_look_like_one_fast_drafter():
    """Two drafters that each take 10 ms a step, their frames a hair apart: the next comes in 10 ms."""
    policy = async_policy()
    for round_ in range(10):
        start = float(round_)
        deadline(policy, {1: []}, now=start)
        for step in (0.010, 0.020, 0.030):
            policy.on_proposal(1, 1, start + step)
            policy.on_proposal(1, 2, start + step + 0.0001)
        pass_at(policy, start + 0.9)
    assert policy._paces[1].expected_seconds(empty=False) == pytest.approx(0.010)


def test_no_wait_is_longer_than_its_bound():
    policy = async_policy(seconds={4: 100.0, 8: 100.0})
    for round_ in range(10):
        deadline(policy, {1: []}, now=float(round_))
        policy.on_proposal(1, 1, round_ + 0.9)
        pass_at(policy, round_ + 1.0)
    assert 10.0 < deadline(policy, {1: []}, now=10.0) <= 10.0 + PATIENCE_SECONDS_MAX


def test_an_ended_request_leaves_nothing():
    policy = async_policy()
    deadline(policy, {1: [], 2: []}, now=0.0)
    policy.forget(1)
    policy.forget(2)
    assert not policy._paces


def test_an_unknown_mode_is_refused():
    with pytest.raises(InputError, match="mode: turbo"):
        verify_policy("turbo", 5)


# -- nodes that were looked up ------------------------------------------------------------------------


def waits(policy, chain, drafted, now=10.0005):
    """Whether it still waits half a millisecond after the last pass; `drafted` nodes came over a link."""
    policy.deadline({1: chain}, {1: PLENTY}, prospect=0.75, now=10.0, drafted={1: drafted})
    return policy.deadline({1: chain}, {1: PLENTY}, prospect=0.75, now=now, drafted={1: drafted}) > now


@pytest.mark.parametrize(
    ("chain", "drafted", "expected"),
    [
        ([], 0, True),
        ([0.4], 0, False),
        ([0.05], 0, True),  # a doubtful guess is no reason not to wait for the draft
        ([0.95, 0.93], 0, False),  # a sure one leaves nothing to wait for
        ([0.9, 0.05], 1, True),
        ([0.9, 0.88], 1, False),
    ],
)
def test_async_waits_for_what_a_lookup_leaves_open(chain, drafted, expected):
    assert waits(async_policy(), chain, drafted) == expected


def test_without_lookups_every_node_counts_as_drafted():
    for chain in ([], [0.9], [0.9, 0.5], [0.2]):
        policies = async_policy(), async_policy()
        given = deadline(policies[0], {1: chain}, now=10.0)
        assert given == policies[1].deadline(
            {1: chain}, {1: PLENTY}, prospect=0.75, now=10.0, drafted={1: len(chain)}
        )


def test_turns_wait_for_the_draft_whatever_was_looked_up():
    assert waits(verify_policy("sync", 5), [0.9] * 5, drafted=0)
    assert not waits(verify_policy("sync", 5), [0.9] * 5, drafted=5)
