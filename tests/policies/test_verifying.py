"""When a pass starts and how wide it is: tables over counts and times."""

import pytest

from amusd.errors import InputError
from amusd.policies.verifying import ASYNC_PATIENCE_SECONDS, SYNC_PATIENCE_SECONDS, verify_policy

PLENTY = 100


def deadline(policy, nodes, now, rooms=None, drafters=1):
    rooms = rooms or dict.fromkeys(nodes, PLENTY)
    return policy.deadline(nodes, rooms, drafters=drafters, now=now)


@pytest.mark.parametrize(
    ("mode", "count", "room", "drafters", "waits"),
    [
        ("sync", 5, PLENTY, 1, False),
        ("sync", 4, PLENTY, 1, True),
        ("sync", 0, PLENTY, 1, True),
        ("sync", 4, 4, 1, False),  # the request cannot use more
        ("sync", 0, 0, 1, False),
        ("sync", 0, PLENTY, 0, False),  # nobody to wait for
        ("async", 5, PLENTY, 1, False),
        ("async", 2, PLENTY, 1, False),
        ("async", 1, PLENTY, 1, True),
        ("async", 1, 1, 1, False),
        ("async", 0, PLENTY, 0, False),
        ("alone", 0, PLENTY, 0, False),
        ("alone", 0, PLENTY, 1, False),
    ],
)
def test_a_pass_waits_only_for_nodes_that_can_come(mode, count, room, drafters, waits):
    patience = {"sync": SYNC_PATIENCE_SECONDS, "async": ASYNC_PATIENCE_SECONDS, "alone": 0.0}[mode]
    at = deadline(verify_policy(mode, 5), {1: count}, now=10.0, rooms={1: room}, drafters=drafters)
    assert at == (10.0 + patience if waits else 10.0)


def test_the_wait_is_bounded_by_the_end_of_the_last_pass():
    policy = verify_policy("sync", 5)
    deadline(policy, {1: 5}, now=10.0)
    policy.on_pass(11.0)
    for now in (11.0, 11.2, 11.4):
        assert deadline(policy, {1: 1}, now=now) == 11.0 + SYNC_PATIENCE_SECONDS
    assert deadline(policy, {1: 1}, now=11.6) == 11.6


def test_one_request_is_waited_for_although_others_are_ready():
    policy = verify_policy("sync", 5)
    assert deadline(policy, {1: 5, 2: 3, 3: 5}, now=1.0) == 1.0 + SYNC_PATIENCE_SECONDS


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_patience_is_spent_once_until_a_node_comes(mode):
    policy = verify_policy(mode, 5)
    assert deadline(policy, {1: 0}, now=0.0) > 0.0
    assert deadline(policy, {1: 0}, now=1.0) == 1.0
    for now in (1.0, 2.0, 3.0):
        policy.on_pass(now)
        assert deadline(policy, {1: 0}, now=now) == now
    policy.on_proposal(1)
    policy.on_pass(4.0)
    assert deadline(policy, {1: 0}, now=4.0) > 4.0


def test_a_request_that_lapsed_costs_the_others_nothing():
    policy = verify_policy("sync", 5)
    deadline(policy, {1: 0, 2: 5}, now=0.0)
    deadline(policy, {1: 0, 2: 5}, now=1.0)
    policy.on_pass(1.0)
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
        ("async", {1: []}, {1: 0}),
        ("async", {1: [0.01, 0.001]}, {1: 2}),  # four rows cost what one costs
        ("async", {1: [0.9, 0.8, 0.7, 0.6, 0.5]}, {1: 5}),  # worth four more rows
        ("async", {1: [0.5, 0.2, 0.1, 0.02, 0.01, 0.005]}, {1: 3}),  # not worth them
        ("async", {1: [0.9] * 9}, {1: 7}),
        ("async", {1: [0.9, 0.8, 0.7, 0.6, 0.5], 2: []}, {1: 5, 2: 0}),
        ("async", {1: [0.7, 0.5, 0.3, 0.2, 0.15], 2: [0.01] * 4, 3: []}, {1: 3, 2: 3, 3: 0}),
    ],
)
def test_a_pass_is_as_wide_as_it_pays(mode, chains, widths):
    assert verify_policy(mode, 7).widths(chains) == widths


def test_an_unknown_mode_is_refused():
    with pytest.raises(InputError, match="mode: turbo"):
        verify_policy("turbo", 5)
