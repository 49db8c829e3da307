"""Answers to a client that may leave at any moment: then the work for it ends."""

import asyncio
import json
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, Final, TypeVar

from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from amusd.errors import AmusdError
from amusd.serving.failures import failure
from amusd.serving.logs import LOGGER

T = TypeVar("T")
CLIENT_LEFT_STATUS: Final = 499  # as nginx logs it; nobody reads it


class ClientLeft(AmusdError):  # noqa: N818 - nothing went wrong
    """The connection was closed before the answer was whole."""


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do the work unless the client closes the connection meanwhile; its body has been read.

    Raises:
        ClientLeft: it did; the work was cancelled and has ended.
    """
    task = asyncio.ensure_future(work)
    left = asyncio.create_task(_wait_until_left(request.receive))
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientLeft("the client closed the connection")
        return task.result()
    finally:
        task.cancel()
        left.cancel()
        await asyncio.gather(task, left, return_exceptions=True)


async def _wait_until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Server-sent events, each a JSON object, with OpenAI's end mark.

    Args:
        begun: events that are there already.
        rest: closed when the client leaves, and in the end.
    """

    media_type = "text/event-stream"

    def __init__(self, begun: list[dict[str, Any]], rest: AsyncGenerator[dict[str, Any], None]) -> None:
        self.status_code = 200
        self.background = None
        self._begun = begun
        self._rest = rest
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write events until there are no more or nobody reads them."""
        writer = asyncio.create_task(self._write(send))
        left = asyncio.create_task(_wait_until_left(receive))
        try:
            await asyncio.wait({writer, left}, return_when=asyncio.FIRST_COMPLETED)
            if writer.done():
                writer.result()
        finally:
            writer.cancel()
            left.cancel()
            await asyncio.gather(writer, left, return_exceptions=True)

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with aclosing(self._rest) as events:
            for event in self._begun:
                await _send_event(send, event)
            try:
                async for event in events:
                    await _send_event(send, event)
            except AmusdError as error:
                await _send_event(send, failure(error)[1])
            except Exception as error:  # noqa: BLE001 - the status is out: the client hears of it in the stream
                LOGGER.error("a stream failed on a defect", exc_info=error)
                await _send_event(send, failure(error)[1])
            else:
                await _send(send, b"data: [DONE]\n\n")
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send_event(send: Send, event: dict[str, Any]) -> None:
    await _send(send, b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n")


async def _send(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})
