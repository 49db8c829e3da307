"""Places to decode in, and who gets the next one.

Laws:
- A place that is given back goes to whoever waits with the lowest priority, and of equals to who came first.
- Nobody waits while a place is free.
- Who stops waiting leaves no trace; a place that was on its way to it goes to the next.
"""

import asyncio
from bisect import bisect_left, insort
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count


class Places:
    """So many places, for the tasks of one event loop.

    Args:
        total: how many can be held at a time.
    """

    def __init__(self, total: int) -> None:
        self._free = total
        self._tickets = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []  # sorted; no two tickets are the same

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._waiting)

    @asynccontextmanager
    async def hold(self, priority: int) -> AsyncIterator[None]:
        """Wait for a place, and give it back in the end.

        Args:
            priority: lower is handled earlier, as in vLLM.
        """
        if self._free:
            self._free -= 1
        else:
            await self._wait(priority)
        try:
            yield
        finally:
            self._give()

    async def _wait(self, priority: int) -> None:
        ticket = next(self._tickets)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        insort(self._waiting, (priority, ticket, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                del self._waiting[bisect_left(self._waiting, (priority, ticket))]
            else:
                self._give()  # it had come in the meantime
            raise

    def _give(self) -> None:
        """Hand a place on, or keep it until somebody comes."""
        for index, (_, _, turn) in enumerate(self._waiting):
            if not turn.done():  # else it was cancelled, and takes itself off
                del self._waiting[index]
                turn.set_result(None)
                return
        self._free += 1
