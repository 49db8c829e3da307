"""A client that blocks, with the methods of `LLM`."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

import grpc

from amusd.batches import Prompt, settings_for
from amusd.client.connection import (
    Connection,
    generate_request,
    generate_requests,
    read_info,
    tokenize_request,
)
from amusd.errors import AmusdError
from amusd.outputs import Chunk, RequestOutput
from amusd.params import SamplingParams
from amusd.rpc.v1 import inference_pb2, inference_pb2_grpc
from amusd.transport.outputs import chunk_from_wire, output_from_wire
from amusd.transport.statuses import error_of
from amusd.wishes import Wishes, WishLists, WishOptions


class Client:
    """Decodes on a server; use it as a context manager. Its methods may be called from several threads.

    Args:
        address: `host:port` of the server's gRPC side.
        options: see `amusd.client.connection.Connection`: token, tls, timeout_seconds, retries, concurrency.

    Raises, here and from every method:
        InputError: the server, or this side, refuses a value; it names the field.
        AccessError, BusyError, UnavailableError, DeadlineError, AbortedError: as their names say.

    Example:
        >>> with Client("127.0.0.1:8001") as client:
        ...     [output] = client.generate("def add(a, b):", SamplingParams(temperature=0, max_tokens=8))
    """

    def __init__(self, address: str, **options: Any) -> None:
        self._connection = connection = Connection(address, **options)
        credentials = connection.credentials()
        self._channel = (
            grpc.insecure_channel(address, options=connection.options)
            if credentials is None
            else grpc.secure_channel(address, credentials, options=connection.options)
        )
        self._stub = inference_pb2_grpc.InferenceStub(self._channel)

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        timeout_seconds: float | None = None,
        **wishes: Unpack[WishLists],
    ) -> list[RequestOutput]:
        """Decode prompts (text or token ids, one or many); outputs come in the order of the prompts.

        Args:
            params: for all prompts, or one for each; None means `SamplingParams()`.
            timeout_seconds: for each prompt, from when it is sent; then it is ended.
            wishes: speculative, num_speculative_tokens, priority, deadline_seconds, as `amusd.wishes.Wishes`
                has them, each for all prompts or as a list with one for each. They do not change the text.
        """
        requests = generate_requests(prompts, params, wishes)
        waiting = deque(sorted(enumerate(requests), key=lambda pair: pair[1].priority))
        running: deque[tuple[int, Any]] = deque()
        outputs: dict[int, RequestOutput] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self._connection.concurrency:
                    settings = self._settings(timeout_seconds)
                    index, request = waiting.popleft()
                    running.append((index, self._stub.Generate.future(request, **settings)))
                index, call = running[0]
                outputs[index] = output_from_wire(call.result())
                running.popleft()
        except grpc.RpcError as error:
            raise self._failure(error) from None
        finally:
            for _, call in running:
                call.cancel()
        return [outputs[index] for index in range(len(requests))]

    def stream(
        self,
        prompt: Prompt,
        params: SamplingParams | None = None,
        *,
        request_id: str = "",
        timeout_seconds: float | None = None,
        **wishes: Unpack[WishOptions],
    ) -> Iterator[Chunk]:
        """Decode one prompt; yields what each commit adds. Leaving the loop early aborts the request.

        Args:
            request_id: to `abort` it by; empty has the server make one.
            wishes: as of `generate`.
        """
        [settings] = settings_for([prompt], params)
        request = generate_request(prompt, settings, Wishes.from_dict(wishes), request_id)
        return self._chunks(request, timeout_seconds)

    def _chunks(
        self, request: inference_pb2.GenerateRequest, timeout_seconds: float | None
    ) -> Iterator[Chunk]:
        call = self._stub.Stream(request, **self._settings(timeout_seconds))
        try:
            for message in call:
                yield chunk_from_wire(message)
        except grpc.RpcError as error:
            raise self._failure(error) from None
        finally:
            call.cancel()

    def abort(self, request_id: str) -> bool:
        """End a request by its id; returns whether it was running or waiting."""
        reply = self._ask(self._stub.Abort, inference_pb2.AbortRequest(request_id=request_id))
        return bool(reply.found)

    def info(self) -> dict[str, Any]:
        """Version, model, limits and load of the server, and each of its workers by name."""
        return read_info(self._ask(self._stub.Info, inference_pb2.ServerInfoRequest()))

    def chat_prompt(self, messages: str | Sequence[Mapping[str, str]]) -> list[int]:
        """The prompt, as token ids, that the server's chat template makes of a conversation.

        Args:
            messages: each with `role` and `content`; text is one user message.
        """
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        return list(self._ask(self._stub.Tokenize, tokenize_request(messages)).ids)

    def _ask(self, method: Any, request: Any) -> Any:
        try:
            return method(request, **self._settings(None))
        except grpc.RpcError as error:
            raise self._failure(error) from None

    def _settings(self, timeout_seconds: float | None) -> dict[str, Any]:
        """What every call is made with."""
        connection = self._connection
        timeout = connection.timeout_seconds if timeout_seconds is None else timeout_seconds
        return {"timeout": timeout, "metadata": connection.metadata}

    def _failure(self, error: grpc.RpcError) -> AmusdError:
        return error_of(error, self._connection.address)

    def close(self) -> None:
        """End the connection, and with it what is still being decoded for it."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
