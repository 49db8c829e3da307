"""Clients of `amusd serve`: `Client` blocks, `AsyncClient` is for asyncio; both return what `LLM` returns."""

from amusd.client.asynchronous import AsyncClient
from amusd.client.blocking import Client

__all__ = ["AsyncClient", "Client"]
