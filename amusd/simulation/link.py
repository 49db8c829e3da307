"""One direction of a stream between two workers.

Laws:

- What arrives was copied (`wire.transfer`): two workers never share memory.
- Messages arrive in the order in which they were sent.
- At most one send is being written; `ready` says when the next may come, as in `amusd.transport.link`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

from amusd.simulation.clock import NS_PER_SECOND, Clock
from amusd.simulation.wire import Message, bytes_of, transfer

M = TypeVar("M", bound=Message)


class NetworkLink(Generic[M]):
    """Carries messages with a latency, and written at a bandwidth if one is given.

    Args:
        latency_ns: from the end of writing to the arrival.
        bytes_per_second: how fast it is written; None takes no time.
        deliver: called with each message when it arrives.
        on_ready: called when a send that took time has been written.
    """

    def __init__(
        self,
        clock: Clock,
        latency_ns: int,
        bytes_per_second: float | None,
        deliver: Callable[[M], None],
        on_ready: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._latency_ns = latency_ns
        self._bytes_per_second = bytes_per_second
        self._deliver = deliver
        self._on_ready = on_ready
        self.ready = True
        self.bytes_sent = 0

    def send(self, messages: Sequence[M]) -> None:
        """Send some messages; only when `ready`."""
        assert messages and self.ready
        size = bytes_of(messages)
        self.bytes_sent += size
        writing_ns = (
            0 if self._bytes_per_second is None else int(NS_PER_SECOND * size / self._bytes_per_second)
        )
        copies = [transfer(message) for message in messages]
        self._clock.after(writing_ns + self._latency_ns, partial(self._arrive, copies))
        if writing_ns:
            self.ready = False
            self._clock.after(writing_ns, self._written)

    def _arrive(self, messages: Sequence[M]) -> None:
        for message in messages:
            self._deliver(message)

    def _written(self) -> None:
        self.ready = True
        self._on_ready()
