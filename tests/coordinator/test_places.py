"""Who gets a place, and that none is lost, whatever happens to those who wait."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amusd.coordinator.places import Places


class Guest:
    """Holds a place from when it gets one until it is told to leave."""

    def __init__(self, places, priority, log):
        self.priority, self.inside = priority, False
        self.leave = asyncio.Event()
        self._places, self._log = places, log
        self.task = asyncio.create_task(self._visit())

    async def _visit(self):
        async with self._places.hold(self.priority):
            self.inside = True
            self._log.append(self)
            try:
                await self.leave.wait()
            finally:
                self.inside = False


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


def test_lower_priorities_go_first_and_equals_in_the_order_of_their_coming():
    async def run():
        places, log = Places(1), []
        first = Guest(places, 9, log)
        await settle()
        waiting = [Guest(places, priority, log) for priority in (1, 0, 1, -5, 0)]
        await settle()
        assert places.waiting == 5
        for guest in [first, *waiting]:
            guest.leave.set()
        await asyncio.gather(*(guest.task for guest in [first, *waiting]))
        assert [guest.priority for guest in log] == [9, -5, 0, 0, 1, 1]
        assert log == [first, waiting[3], waiting[1], waiting[4], waiting[0], waiting[2]]

    asyncio.run(run())


@pytest.mark.parametrize("cancelled_first", [True, False])
def test_a_place_that_is_on_its_way_to_who_leaves_goes_to_the_next(cancelled_first):
    async def run():
        places, log = Places(1), []
        place = places.hold(0)
        await place.__aenter__()
        leaving, next_one = Guest(places, 0, log), Guest(places, 0, log)
        await settle()
        if cancelled_first:
            leaving.task.cancel()
        await place.__aexit__(None, None, None)
        leaving.task.cancel()  # before it had its turn
        await settle()
        assert log == [next_one]
        next_one.leave.set()
        await next_one.task
        assert places.waiting == 0

    asyncio.run(run())


moves = st.lists(
    st.tuples(
        st.sampled_from(["come", "come", "leave", "cancel"]),
        st.integers(-1, 1),
        st.integers(0, 20),
        st.integers(0, 3),  # turns that everybody else gets before the next move; 3 are enough to settle
    ),
    max_size=60,
)


@given(moves, st.integers(1, 3))
def test_no_place_is_lost_and_nobody_is_overtaken(script, total):
    async def run():
        places, log, guests = Places(total), [], []
        for move, priority, number, turns in script:
            if move == "come":
                guests.append(Guest(places, priority, log))
                await asyncio.sleep(0)  # it stands in the line
            elif guests:
                guest = guests[number % len(guests)]
                guest.leave.set() if move == "leave" else guest.task.cancel()
            before = len(log)
            if turns < 3:
                for _ in range(turns):
                    await asyncio.sleep(0)
                continue
            await settle()
            there = [guest for guest in guests if not guest.task.done()]
            inside = [guest for guest in there if guest.inside]
            assert len(inside) == min(total, len(there)), "a place was lost, or given twice"
            assert places.waiting == len(there) - len(inside)
            left = [guest for guest in there if not guest.inside]
            for entered in log[before:]:
                # Whoever came earlier with the same priority, or with a lower one, does not wait still.
                came = guests.index(entered)
                assert not [
                    guest
                    for guest in left
                    if guest.priority <= entered.priority and guests.index(guest) < came
                ]
        for guest in guests:
            guest.leave.set()
        for _ in guests:  # one after the other
            await settle()
        assert all(guest.task.done() for guest in guests)
        assert places.waiting == 0
        again = [Guest(places, 0, log) for _ in range(total)]
        await settle()
        assert all(guest.inside for guest in again), "not all places are there again"
        for guest in again:
            guest.leave.set()
        await settle()

    asyncio.run(run())
