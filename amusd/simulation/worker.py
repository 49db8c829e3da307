"""An engine's loop on the virtual clock.

`amusd.workers.engine` takes what arrived, works, and sleeps until an event or a time; a forward keeps it
from all three. Here the same loop is driven by the clock, and a forward is time that passes.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from amusd.simulation.clock import NS_PER_SECOND, Clock, ns_from_ms
from amusd.simulation.draws import draw_factor
from amusd.simulation.scenario import Curve
from amusd.tracing import Event

E = TypeVar("E")


_JITTER = 7  # the stream of the seed after those of the acceptance law


@dataclass(frozen=True, slots=True)
class Costs:
    """What one worker's work takes.

    Attributes:
        curve: of a forward.
        prefill_ms: of one prompt.
        overhead_ms: of the host before each forward: what arrives from then on waits for its end.
        seed: of the jitter.
        worker: which worker it is, so that no two jitter alike.
    """

    curve: Curve
    prefill_ms: float
    overhead_ms: float
    seed: int
    worker: int


class Worker(Generic[E]):
    """A worker with an inbox; a subclass says what it does with events and when it works.

    Attributes:
        events: what it did when, for the timeline.
    """

    def __init__(self, clock: Clock, costs: Costs) -> None:
        self.clock = clock
        self.costs = costs
        self.events: list[Event] = []
        self._forward_count = 0
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

    def forward_ms(self, widths: Sequence[int], lengths: Sequence[int]) -> float:
        """What the next forward takes, jitter included.

        Args:
            widths: rows of each request.
            lengths: positions that each request attends to.
        """
        self._forward_count += 1
        costs = self.costs
        factor = draw_factor(costs.curve.jitter, costs.seed, _JITTER, costs.worker, self._forward_count)
        return factor * costs.curve.forward_ms(widths, lengths)

    def occupy(self, name: str, ms: float, then: Callable[[float], None], **arguments: Any) -> None:
        """Be busy for a while, after the host's overhead.

        Args:
            then: called at the end with the second at which the slice of time began.
            arguments: noted with the slice.
        """
        self._busy = True
        start_ns = self.clock.now_ns + ns_from_ms(self.costs.overhead_ms)

        def end() -> None:
            self.events.append(Event(name, start_ns, self.clock.now_ns, arguments))
            then(start_ns / NS_PER_SECOND)
            self._busy = False
            self._turn_after(0)

        self.clock.after(start_ns - self.clock.now_ns + ns_from_ms(ms), end)

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
