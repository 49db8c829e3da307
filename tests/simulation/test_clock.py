"""Things happen in the order of their times, then in the order in which they were asked for."""

import pytest

from amusd.simulation.clock import Clock, ns_from_ms


def test_things_happen_in_order_and_may_ask_for_more():
    clock, seen = Clock(), []
    clock.after(5, lambda: seen.append(("late", clock.now_ns)))

    def first() -> None:
        seen.append(("first", clock.now_ns))
        clock.after(0, lambda: seen.append(("asked", clock.now_ns)))

    clock.after(1, first)
    clock.after(1, lambda: seen.append(("second", clock.now_ns)))
    while clock.step():
        pass
    assert seen == [("first", 1), ("second", 1), ("asked", 1), ("late", 5)]


def test_nothing_happens_in_the_past():
    with pytest.raises(ValueError, match="-1 ns"):
        Clock().after(-1, lambda: None)


def test_what_takes_time_never_takes_none():
    assert ns_from_ms(1e-9) == 1
    assert ns_from_ms(0) == 0
    assert ns_from_ms(2.5) == 2_500_000
