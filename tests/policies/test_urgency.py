"""Who is late gets more of a pass, as long as it is of use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amusd.policies.costs import CostCurve
from amusd.policies.urgency import SPEEDUP_MAX, WEIGHT_MAX, Urgency, weight
from amusd.policies.verifying import verify_policy


@pytest.mark.parametrize(
    ("tokens", "seconds", "pace", "expected"),
    [
        (100, 10.0, 0.05, 1.0),  # done in half the time
        (100, 5.0, 0.05, 1.0),  # just in time
        (100, 2.0, 0.05, 4.5),  # half-way to four times as fast
        (100, 1.25, 0.05, 8.0),
        (100, 0.001, 0.05, 8.0),  # it cannot be, unless it ends early
        (100, 0.0, 0.05, 1.0),  # too late
        (100, -1.0, 0.05, 1.0),
        (0, 1.0, 0.05, 1.0),
    ],
)
def test_what_a_token_of_a_request_counts_for(tokens, seconds, pace, expected):
    assert weight(tokens, seconds, pace) == pytest.approx(expected)


@given(
    st.integers(0, 10_000), st.floats(-10, 1000), st.floats(1e-6, 100), st.integers(0, 100), st.floats(0, 10)
)
def test_the_weight_is_bounded_and_grows_with_the_pace_that_is_needed(tokens, seconds, pace, more, slower):
    now = weight(tokens, seconds, pace)
    assert 1.0 <= now <= WEIGHT_MAX
    if tokens > 0:
        assert weight(tokens + more, seconds, pace) >= now
    assert weight(tokens, seconds, pace + slower) >= now
    if seconds > 0:
        assert weight(tokens, seconds * 2, pace) <= now


def run(urgency, request, *, passes, seconds, tokens, start=0.0):
    """So many passes of so many seconds and tokens; the log had ten tokens."""
    for index in range(1, passes + 1):
        urgency.on_pass(request, 10 + index * tokens, start + index * seconds)


def test_a_request_is_late_by_its_own_pace_until_its_deadline_has_passed():
    urgency = Urgency()
    urgency.open(1, deadline=10.0, length=10, length_max=110)
    urgency.open(2, deadline=100.0, length=10, length_max=110)
    urgency.on_pass(1, 11, 0.5)
    assert urgency.weights(0.5) == {}, "one pass tells no pace"
    for request in (1, 2, 3):  # a token every half second, so 100 take 50; nobody opened 3
        run(urgency, request, passes=4, seconds=0.5, tokens=1)
    assert urgency.weights(2.0) == {1: WEIGHT_MAX}  # 48 seconds of work in the 8 that are left
    assert urgency.weights(9.999) == {1: WEIGHT_MAX}  # the other has 90 seconds for 48 of work
    assert urgency.weights(10.0) == {}
    urgency.close(1)
    assert urgency.weights(2.0) == {}


def test_a_pace_that_has_changed_is_soon_the_pace():
    urgency = Urgency()
    urgency.open(1, deadline=40.0, length=10, length_max=510)
    run(urgency, 1, passes=20, seconds=0.5, tokens=1)
    assert urgency.weights(10.0)[1] > 1.0
    for index in range(1, 16):
        urgency.on_pass(1, 30 + 5 * index, 10.0 + 0.1 * index)  # fifty tokens a second
    assert urgency.weights(11.5) == {}


# Four rows cost what one does, four more much; the other request has nothing to verify and would take them.
CHAINS = {1: [0.9, 0.8, 0.7, 0.6, 0.5], 2: []}


def adaptive():
    policy = verify_policy("async", 7)
    policy.costs = CostCurve({1: 0.0132, 4: 0.0132, 8: 0.0161, 16: 0.0207})
    return policy


def test_under_competition_a_request_that_is_late_is_verified_wider_and_no_other():
    policy, urgency = adaptive(), Urgency()
    urgency.open(1, deadline=10.0, length=10, length_max=110)
    assert policy.widths(CHAINS, urgency.weights(0.0)) == {1: 3, 2: 0}
    run(urgency, 1, passes=4, seconds=0.05, tokens=1)
    assert policy.widths(CHAINS, urgency.weights(0.2)) == {1: 3, 2: 0}, "it will be in time"
    run(urgency, 1, passes=10, seconds=0.5, tokens=1, start=0.2)
    assert policy.widths(CHAINS, urgency.weights(5.2)) == {1: 5, 2: 0}
    assert policy.widths(CHAINS, urgency.weights(10.2)) == {1: 3, 2: 0}, "nothing is left to win"


def test_a_late_request_with_little_to_verify_keeps_passes_short():
    chains = {1: [0.95] * 7, 2: [0.5]}
    assert adaptive().widths(chains) == {1: 7, 2: 1}
    assert adaptive().widths(chains, {2: WEIGHT_MAX}) == {1: 3, 2: 1}


@pytest.mark.parametrize("value", [1.0, SPEEDUP_MAX, WEIGHT_MAX])
def test_alone_a_late_request_gets_the_width_that_is_fastest(value):
    for chain in ([0.9, 0.8, 0.7, 0.6, 0.5], [0.5, 0.2, 0.1, 0.02, 0.01, 0.005], []):
        assert adaptive().widths({1: chain}, {1: value}) == adaptive().widths({1: chain})
