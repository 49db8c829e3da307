"""The gRPC side of a server: `amusd.rpc.v1.Inference`, for `amusd.Client` and whoever speaks gRPC."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import grpc.aio

from amusd.errors import AccessError, AmusdError, InputError
from amusd.outputs import joined
from amusd.rpc.v1 import inference_pb2, inference_pb2_grpc
from amusd.serving.bodies import read_json, read_sampling
from amusd.serving.desk import FrontDesk, Job
from amusd.serving.intake import Intake
from amusd.transport.outputs import chunk_to_wire, output_to_wire
from amusd.transport.statuses import code_of, trailer_of
from amusd.wishes import Wishes

SERVICE: Final = "amusd.rpc.v1.Inference"
_OPTIONAL_WISHES: Final = ("speculative", "num_speculative_tokens", "deadline_seconds")
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class InferenceServicer(inference_pb2_grpc.InferenceServicer):
    """Requests in, chunks out; a call that is cancelled ends its request.

    Args:
        keys: of which a caller must send one as `authorization: Bearer KEY`; none lets everybody in.
        describe: tells about the server, as JSON.
    """

    def __init__(
        self, desk: FrontDesk, intake: Intake, keys: Sequence[str], describe: Callable[[], Awaitable[str]]
    ) -> None:
        self._desk = desk
        self._intake = intake
        self._keys = keys
        self._describe = describe

    async def Generate(  # noqa: N802
        self, request: inference_pb2.GenerateRequest, context: Context
    ) -> inference_pb2.Output:
        """One prompt, answered when it is finished."""
        finished = []
        async with self._answering(context, request.request_id):
            job = await self._read(request)
            async with self._desk.admit([job], request.request_id) as admitted:
                async for _, chunk in admitted.events():
                    if chunk.finished is not None:
                        finished.append(chunk.finished)
            return output_to_wire(joined(finished))
        raise AssertionError("a failed call was aborted")

    async def Stream(  # noqa: N802
        self, request: inference_pb2.GenerateRequest, context: Context
    ) -> AsyncIterator[inference_pb2.Chunk]:
        """One prompt, answered as it is committed."""
        async with self._answering(context, request.request_id):
            job = await self._read(request)
            async with self._desk.admit([job], request.request_id) as admitted:
                async for _, chunk in admitted.events():
                    yield chunk_to_wire(chunk)

    async def Abort(  # noqa: N802
        self, request: inference_pb2.AbortRequest, context: Context
    ) -> inference_pb2.AbortReply:
        """End a request by its name."""
        async with self._answering(context, request.request_id):
            return inference_pb2.AbortReply(found=self._desk.abort(request.request_id))
        raise AssertionError("a failed call was aborted")

    async def Info(  # noqa: N802
        self, request: inference_pb2.ServerInfoRequest, context: Context
    ) -> inference_pb2.ServerInfoReply:
        """About the server."""
        async with self._answering(context):
            return inference_pb2.ServerInfoReply(info=await self._describe())
        raise AssertionError("a failed call was aborted")

    async def Tokenize(  # noqa: N802
        self, request: inference_pb2.TokenizeRequest, context: Context
    ) -> inference_pb2.TokenizeReply:
        """Token ids of text, or of a conversation in the chat template."""
        async with self._answering(context):
            if request.messages:
                messages = [{"role": m.role, "content": m.content} for m in request.messages]
                return inference_pb2.TokenizeReply(ids=await self._intake.read_messages(messages))
            _, tokens = await self._intake.read(request.text)
            return inference_pb2.TokenizeReply(ids=tokens)
        raise AssertionError("a failed call was aborted")

    async def _read(self, request: inference_pb2.GenerateRequest) -> Job:
        match request.WhichOneof("prompt"):
            case "text":
                prompt, tokens = await self._intake.read(request.text)
            case "tokens":
                prompt, tokens = await self._intake.read(list(request.tokens.ids))
            case _:
                raise InputError("prompt", "(not given)", "give text, or token ids")
        settings = read_json(request.sampling, "sampling") if request.sampling else {}
        if not isinstance(settings, dict):
            raise InputError("sampling", request.sampling, "give a JSON object of SamplingParams")
        wishes = {name: getattr(request, name) for name in _OPTIONAL_WISHES if request.HasField(name)}
        return Job(prompt, tokens, read_sampling(settings), Wishes(**wishes, priority=request.priority))

    @asynccontextmanager
    async def _answering(self, context: Context, identity: str = "") -> AsyncIterator[None]:
        """Check the key, and turn an error into a status with its details."""
        try:
            check_key(dict(context.invocation_metadata() or ()).get("authorization"), self._keys)
            yield
        except AmusdError as error:
            context.set_trailing_metadata(trailer_of(error, identity))
            await context.abort(code_of(error), str(error))


def check_key(authorization: str | None, keys: Sequence[str]) -> None:
    """Compare what a caller sent with the keys, in a time that tells nothing about them.

    Raises:
        AccessError: a key is needed, and this is none of them.
    """
    if not keys:
        return
    scheme, _, sent = (authorization or "").partition(" ")
    offered = sent.strip().encode()
    matches = [secrets.compare_digest(offered, key.encode()) for key in keys]
    if scheme.lower() != "bearer" or not any(matches):
        raise AccessError("this server wants one of its API keys: send it as Authorization: Bearer KEY")
