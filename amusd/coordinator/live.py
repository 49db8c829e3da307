"""A live request at the coordinator: its ledger, and whoever waits for its next tokens."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from amusd.errors import AmusdError
from amusd.logprobs import RowLogprobs
from amusd.orders import Order
from amusd.speculation.ledger import Ledger
from amusd.speculation.messages import Origin


@dataclass(slots=True)
class LiveRequest:
    """Filled by the target's session, drained by the request's own task."""

    order: Order
    ledger: Ledger
    arrived_ns: int = field(default_factory=time.monotonic_ns)  # before it waited for a place
    started_ns: int = field(default_factory=time.monotonic_ns)
    first_commit_ns: int | None = None
    last_commit_ns: int | None = None
    output_ended_ns: int | None = None  # where a stop string ended the text
    statistics: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    logprobs: dict[int, RowLogprobs] = field(default_factory=dict)  # by position, where they are wanted
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _fresh: list[tuple[int, Origin]] = field(default_factory=list)
    _error: AmusdError | None = None

    @property
    def output_length(self) -> int:
        """Tokens of output delivered so far."""
        return len(self.ledger.tokens) - self.order.prompt_length

    @property
    def deadline_seconds(self) -> float | None:
        """What is left now of the time in which it should be finished; below 0 where that is over."""
        wished = self.order.deadline_seconds
        return None if wished is None else wished - (time.monotonic_ns() - self.arrived_ns) / 1e9

    @property
    def finished(self) -> bool:
        """Whether the last commit and its statistics are here."""
        return self.ledger.final is not None and self.statistics is not None

    def add(self, fresh: list[tuple[int, Origin]]) -> None:
        """New tokens, each with its origin."""
        now = time.monotonic_ns()
        if fresh:
            self.first_commit_ns = self.first_commit_ns or now
            self.last_commit_ns = now
        self._fresh.extend(fresh)
        self._arrived.set()

    def fail(self, error: AmusdError) -> None:
        """Nothing more will come."""
        self._error = error
        self._arrived.set()

    def note(self, text: str) -> None:
        """Something that the caller may want to know, said once."""
        if text not in self.notes:
            self.notes.append(text)

    async def next(self) -> list[tuple[int, Origin]]:
        """The tokens since the last call; waits for some, or for the end.

        Raises:
            AmusdError: the request cannot be finished.
        """
        while not self._fresh and not self.finished:
            if self._error is not None:
                raise self._error
            self._arrived.clear()
            await self._arrived.wait()
        fresh, self._fresh = self._fresh, []
        return fresh
