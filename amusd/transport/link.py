"""The sending half of one stream between two workers.

At most one frame is on its way. An engine asks ``ready`` before it takes what is newest from its
endpoint, so a slow reader makes frames fewer and newer, never a queue longer.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

import grpc
import grpc.aio

from amusd.errors import AmusdError

Frame = TypeVar("Frame")
Message = TypeVar("Message")


class Link(Generic[Frame]):
    """Hands frames from an engine's thread to a stream on the event loop.

    Args:
        on_ready: called on the event loop whenever the link can take the next frame.

    Thread rule: ``send`` and ``close`` from the engine's thread or the loop, ``frames`` on the loop.
    """

    def __init__(self, on_ready: Callable[["Link[Frame]"], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_ready = on_ready
        self._outgoing: asyncio.Queue[list[Frame] | None] = asyncio.Queue()
        self.ready = True
        self.closed = False
        self.reason: Exception | None = None

    def send(self, frames: list[Frame]) -> None:
        """Send these frames, in order; only when ``ready``. A link that was closed meanwhile drops them."""
        assert frames and (self.ready or self.closed)
        self.ready = False
        self._call(frames)

    def close(self, reason: Exception | None = None) -> None:
        """End the stream once what is on its way has left; ``reason`` says why it is broken off."""
        if not self.closed:
            self.closed = True
            self.ready = False
            self.reason = reason
            self._call(None)

    def _call(self, item: list[Frame] | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._outgoing.put_nowait, item)
        except RuntimeError:
            self.closed = True  # the loop has stopped: the stream is gone already

    async def frames(self) -> AsyncIterator[Frame]:
        """What the stream writes; returns when the link is closed."""
        while True:
            item = await self._outgoing.get()
            if item is None:
                return
            for frame in item:
                yield frame  # resumed when the frame has been written
            if not self.closed:
                self.ready = True
                self._on_ready(self)


async def converse(
    incoming: AsyncIterator[Message],
    context: grpc.aio.ServicerContext[Message, Frame],
    link: Link[Frame],
    on_message: Callable[[Message], Awaitable[None]],
) -> AsyncGenerator[Frame, None]:
    """Both halves of a stream at its server: hand over what comes in, yield what the link sends.

    A message is read when the one before it was taken. The stream ends when the peer ends it or the
    link is closed. A peer that was at fault is told why (INVALID_ARGUMENT), and so is one whose stream
    broke on a fault of ours (INTERNAL).
    """

    async def read() -> None:
        try:
            async for message in incoming:
                await on_message(message)
            link.close()
        except Exception as error:  # noqa: BLE001 - a stream that nobody reads must not stay open
            link.close(error)

    reader = asyncio.create_task(read())
    try:
        async for frame in link.frames():
            yield frame
        if link.reason is not None:
            at_fault = isinstance(link.reason, AmusdError)
            code = grpc.StatusCode.INVALID_ARGUMENT if at_fault else grpc.StatusCode.INTERNAL
            await context.abort(code, str(link.reason))
    finally:
        reader.cancel()
