"""An engine's loop on the virtual clock.

`amusd.workers.engine` takes what arrived, works, and sleeps until an event or a time; a forward keeps it
from all three. Here the same loop is driven by the clock, and a forward is time that passes.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

from amusd.simulation.clock import Clock, ns_from_ms
from amusd.tracing import Event

E = TypeVar("E")


class Worker(Generic[E]):
    """A worker with an inbox; a subclass says what it does with events and when it works.

    Args:
        overhead_ms: of the host after each forward, in which nothing else happens here.

    Attributes:
        events: what it did when, for the timeline.
    """

    def __init__(self, clock: Clock, overhead_ms: float) -> None:
        self.clock = clock
        self.events: list[Event] = []
        self._overhead_ns = ns_from_ms(overhead_ms)
        self._inbox: deque[E] = deque()
        self._busy = False
        self._turn_count = 0

    def post(self, event: E) -> None:
        """Hand over an event: taken now, or when the forward that runs is over."""
        self._inbox.append(event)
        self._turn_after(0)

    def mark(self, name: str, **arguments: Any) -> None:
        """Note an instant."""
        self.events.append(Event(name, self.clock.now_ns, self.clock.now_ns, arguments))

    def occupy(self, name: str, ms: float, then: Callable[[], None], **arguments: Any) -> None:
        """Be busy for a while, then go on; `arguments` are noted with the slice of time."""
        start_ns, self._busy = self.clock.now_ns, True

        def end() -> None:
            self.events.append(Event(name, start_ns, self.clock.now_ns, arguments))
            then()
            self.clock.after(self._overhead_ns, self._free)

        self.clock.after(ns_from_ms(ms), end)

    def on_event(self, event: E) -> None:
        """Change the state."""
        raise NotImplementedError

    def work(self) -> None:
        """Do one step, if there is one to do."""
        raise NotImplementedError

    def wait_ns(self) -> int | None:
        """How long to wait for the next event before working: None for ever, 0 not at all."""
        raise NotImplementedError

    def _turn_after(self, delay_ns: int) -> None:
        """Ask for a turn; one that was asked for before comes to nothing."""
        self._turn_count += 1
        self.clock.after(delay_ns, partial(self._turn, self._turn_count))

    def _turn(self, count: int) -> None:
        if self._busy or count != self._turn_count:
            return
        while self._inbox and not self._busy:
            self.on_event(self._inbox.popleft())
        if not self._busy:
            self.work()
        if not self._busy:
            self._sleep()

    def _sleep(self) -> None:
        wait_ns = 0 if self._inbox else self.wait_ns()
        if wait_ns is not None:
            self._turn_after(wait_ns)

    def _free(self) -> None:
        self._busy = False
        self._turn_after(0)
