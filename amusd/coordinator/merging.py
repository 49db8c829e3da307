"""Several streams as one."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _End:
    """A source has no more, or failed."""

    error: Exception | None


async def merge(sources: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
    """The items of all sources as they come; the first error ends all of them, and so does closing.

    Raises:
        Exception: what a source raised.
    """
    # Unbounded: of several sources that wait for a place, asyncio would serve one for ever.
    items: asyncio.Queue[T | _End] = asyncio.Queue()

    async def pump(source: AsyncGenerator[T, None]) -> None:
        error: Exception | None = None
        try:
            async with aclosing(source):
                async for item in source:
                    items.put_nowait(item)
        except Exception as caught:  # noqa: BLE001 - raised where the items are read
            error = caught
        items.put_nowait(_End(error))

    tasks = [asyncio.create_task(pump(source)) for source in sources]
    running = len(tasks)
    try:
        while running:
            item = await items.get()
            if not isinstance(item, _End):
                yield item
                continue
            if item.error is not None:
                raise item.error
            running -= 1
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
