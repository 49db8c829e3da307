"""The client for asyncio: the methods of `Client`, awaited."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

import grpc
import grpc.aio

from amusd.batches import Prompt, settings_for
from amusd.client.connection import (
    Connection,
    generate_request,
    generate_requests,
    read_info,
    tokenize_request,
)
from amusd.coordinator.places import Places
from amusd.errors import AmusdError
from amusd.outputs import Chunk, RequestOutput
from amusd.params import SamplingParams
from amusd.rpc.v1 import inference_pb2, inference_pb2_grpc
from amusd.transport.outputs import chunk_from_wire, output_from_wire
from amusd.transport.statuses import error_of
from amusd.wishes import Wishes, WishLists, WishOptions


class AsyncClient:
    """Decodes on a server; make it on the event loop that uses it, as an async context manager.

    Arguments and errors are those of `Client`.

    Example:
        >>> async with AsyncClient("127.0.0.1:8001") as client:
        ...     async for chunk in client.stream("def add(a, b):"):
        ...         print(chunk.text, end="")
    """

    def __init__(self, address: str, **options: Any) -> None:
        self._connection = connection = Connection(address, **options)
        credentials = connection.credentials()
        self._channel = (
            grpc.aio.insecure_channel(address, options=connection.options)
            if credentials is None
            else grpc.aio.secure_channel(address, credentials, options=connection.options)
        )
        self._stub = inference_pb2_grpc.InferenceStub(self._channel)
        self._places = Places(connection.concurrency)

    async def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        timeout_seconds: float | None = None,
        **wishes: Unpack[WishLists],
    ) -> list[RequestOutput]:
        """Decode prompts; see `Client.generate`."""
        requests = generate_requests(prompts, params, wishes)
        tasks = [asyncio.create_task(self._generate(request, timeout_seconds)) for request in requests]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _generate(
        self, request: inference_pb2.GenerateRequest, timeout_seconds: float | None
    ) -> RequestOutput:
        async with self._places.hold(request.priority):
            return output_from_wire(await self._ask(self._stub.Generate, request, timeout_seconds))

    async def stream(
        self,
        prompt: Prompt,
        params: SamplingParams | None = None,
        *,
        request_id: str = "",
        timeout_seconds: float | None = None,
        **wishes: Unpack[WishOptions],
    ) -> AsyncGenerator[Chunk, None]:
        """Decode one prompt; see `Client.stream`. To leave early, close it: `contextlib.aclosing` does."""
        [settings] = settings_for([prompt], params)
        request = generate_request(prompt, settings, Wishes.from_dict(wishes), request_id)
        call = self._stub.Stream(request, **self._settings(timeout_seconds))
        try:
            async for message in call:
                yield chunk_from_wire(message)
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from None
        finally:
            call.cancel()

    async def abort(self, request_id: str) -> bool:
        """End a request by its id; returns whether it was running or waiting."""
        reply = await self._ask(self._stub.Abort, inference_pb2.AbortRequest(request_id=request_id))
        return bool(reply.found)

    async def info(self) -> dict[str, Any]:
        """Version, model, limits and load of the server, and each of its workers by name."""
        return read_info(await self._ask(self._stub.Info, inference_pb2.ServerInfoRequest()))

    async def chat_prompt(self, messages: str | Sequence[Mapping[str, str]]) -> list[int]:
        """The prompt of a conversation as token ids; see `Client.chat_prompt`."""
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        return list((await self._ask(self._stub.Tokenize, tokenize_request(messages))).ids)

    async def _ask(self, method: Any, request: Any, timeout_seconds: float | None = None) -> Any:
        try:
            return await method(request, **self._settings(timeout_seconds))
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from None

    def _settings(self, timeout_seconds: float | None) -> dict[str, Any]:
        """What every call is made with."""
        connection = self._connection
        timeout = connection.timeout_seconds if timeout_seconds is None else timeout_seconds
        return {"timeout": timeout, "metadata": connection.metadata}

    def _failure(self, error: grpc.aio.AioRpcError) -> AmusdError:
        return error_of(error, self._connection.address)

    async def close(self) -> None:
        """End the connection, and with it what is still being decoded for it."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
