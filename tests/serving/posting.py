"""Asks the HTTP side over an engine that only counts."""

import asyncio
import contextlib
import json

import httpx

from amusd.serving.desk import FrontDesk
from amusd.serving.http_front import HttpFront
from amusd.serving.intake import Intake
from amusd.serving.metrics import ServerMetrics
from tests.serving.fakes import FakeCoordinator

COMPLETIONS = "/v1/completions"
CHATS = "/v1/chat/completions"


@contextlib.asynccontextmanager
async def front(reader, *, queue_max=2, keys=(), template=None, opened=True):
    """A client of an app over a fake coordinator, and the three."""
    desk = FrontDesk(2, queue_max, ServerMetrics("demo"))
    coordinator = FakeCoordinator(reader)
    if opened:
        desk.open(coordinator)
    reader.tokenizer.chat_template = None
    app = HttpFront(desk, Intake(reader, template), "demo", keys, created=1).app()
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client, desk, coordinator


def ask(reader, path, content, **options):
    """Status and body of one POST."""

    async def post():
        async with front(reader, **options) as (client, _, coordinator):
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            response = await client.post(path, content=body)
            return response.status_code, response.json(), coordinator

    return asyncio.run(post())


def ask_text(reader, content):
    """The same of a stream."""

    async def post():
        async with front(reader) as (client, _, coordinator):
            response = await client.post(COMPLETIONS, json=content)
            return response.status_code, response.text, coordinator

    return asyncio.run(post())
