"""Who has cells: whatever comes, goes and grows, the first always has room and nobody overtakes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from amusd.config import REQUESTS_MAX
from amusd.errors import InputError
from amusd.workers.room import AHEAD_TOKENS, Need, Room, settle

CELLS, BLOCK, ROWS, LENGTH_MAX = 2000, 16, 8, 1000


def fits(requests, cells):
    """Dense slots of whole blocks, as in a bank."""
    return requests <= 8 and requests * -(-cells // BLOCK) * BLOCK <= CELLS


@st.composite
def needs(draw):
    """Needs in order of arrival, some of which have cells."""
    count = draw(st.integers(1, 10))
    rows = []
    for arrival in range(count):
        cells = draw(st.integers(1, LENGTH_MAX))
        rows.append(
            Need(draw(st.integers(-1, 1)), arrival, 100 + arrival, cells, min(cells + 32, LENGTH_MAX))
        )
    return rows, draw(st.lists(st.booleans(), min_size=count, max_size=count))


@settings(max_examples=200, deadline=None)
@given(needs())
def test_those_who_have_cells_fit_and_the_first_of_them_is_never_set_aside(drawn):
    everybody, holds = drawn
    holding = [need for need, has in zip(everybody, holds, strict=True) if has]
    waiting = [need for need, has in zip(everybody, holds, strict=True) if not has]
    kept = settle(holding, waiting, fits)
    assert kept == sorted(kept)
    assert kept, "somebody always runs"
    assert len(kept) == 1 or fits(len(kept), max(need.cells for need in kept))
    assert not holding or min(holding) in kept
    aside = [need for need in holding if need not in kept]
    stayed = [need for need in holding if need in kept]
    assert all(last > other for last in aside for other in stayed), "the last in order go first"
    left = [need for need in everybody if need not in kept]
    came = [need for need in waiting if need in kept]
    assert all(need < other for need in came for other in left), "nobody overtakes"
    assert not (came and aside) or max(came) < min(aside)


def test_nobody_is_set_aside_while_all_fit_and_everybody_comes_in_who_fits():
    one, other, third = (Need(0, arrival, arrival, 500, 532) for arrival in range(3))
    assert settle([one], [other, third], fits) == [one, other, third]
    grown = Need(0, 0, 0, 700, 732)
    assert settle([grown, other, third], [], fits) == [grown, other]


def test_whoever_has_the_lowest_priority_is_set_aside_first_however_early_it_came():
    early, late = Need(1, 0, 0, 900, 932), Need(0, 1, 1, 1000, 1000)
    assert settle([early, late], [], lambda requests, cells: requests == 1) == [late]


def test_what_comes_in_stays_for_some_tokens():
    room = Room(lambda requests, cells: requests * cells <= 200, rows_max=1)
    lengths = {1: 100 - AHEAD_TOKENS + 1, 2: 10}
    room.enter(1, 0, 200)
    room.enter(2, 0, 200)
    assert room.settle(lengths.__getitem__) == ([], [1])
    lengths[1] -= 1
    assert room.settle(lengths.__getitem__) == ([], [2])
    lengths[1] = 100
    assert room.settle(lengths.__getitem__) == ([], [])
    lengths[1] = 101
    assert room.settle(lengths.__getitem__) == ([2], [])


def test_what_would_never_fit_is_refused_at_the_door():
    room = Room(fits, ROWS)
    with pytest.raises(
        InputError, match=r"^max_tokens: 2001 tokens with the prompt: .*kv_cache_memory_bytes"
    ):
        room.enter(1, 0, 2001)
    assert room.requests == []
    for request in range(REQUESTS_MAX):
        room.enter(request, 0, 10)
    with pytest.raises(InputError, match="max_requests"):
        room.enter(REQUESTS_MAX, 0, 10)


class Crowd(RuleBasedStateMachine):
    """Requests that come, grow by passes, are aborted and end by themselves."""

    def __init__(self):
        super().__init__()
        self.room, self.next = Room(fits, ROWS), 0
        self.lengths, self.limits, self.holding = {}, {}, []

    @rule(priority=st.integers(-1, 1), length=st.integers(1, 900), more=st.integers(1, 100))
    def enter(self, priority, length, more):
        """One more."""
        self.room.enter(self.next, priority, length + more)
        self.lengths[self.next], self.limits[self.next] = length, length + more
        self.next += 1

    @precondition(lambda self: self.lengths)
    @rule(data=st.data())
    def abort(self, data):
        """One less."""
        self._leave(data.draw(st.sampled_from(sorted(self.lengths))))

    def _leave(self, request):
        self.room.leave(request)
        del self.lengths[request], self.limits[request]
        if request in self.holding:
            self.holding.remove(request)

    @rule(grow=st.integers(1, ROWS))
    def turn(self, grow):
        """Settle, then one pass over all that have cells."""
        aside, admitted = self.room.settle(self.lengths.__getitem__)
        assert set(aside) <= set(self.holding)
        assert not set(admitted) & set(self.holding)
        self.holding = [request for request in self.holding if request not in aside] + admitted
        assert bool(self.holding) == bool(self.lengths)
        for request in list(self.holding):
            self.lengths[request] += grow
            if self.lengths[request] >= self.limits[request]:
                self._leave(request)

    @invariant()
    def counted(self):
        """It knows who waits."""
        assert self.room.waiting == len(self.lengths) - len(self.holding)

    def teardown(self):
        """Without newcomers everybody comes to an end."""
        turns = 0
        while self.lengths:
            self.turn(1)
            turns += 1
            assert turns <= 100 * self.next
        assert self.room.requests == []


TestCrowd = Crowd.TestCase
TestCrowd.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
