"""What a client sends again, against a service that fails when it is told to."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from amusd import AsyncClient, Client, UnavailableError
from amusd.outputs import Chunk, RequestOutput
from amusd.rpc.v1 import inference_pb2_grpc
from amusd.transport.outputs import chunk_to_wire, output_to_wire
from tests.cli.fakes import METRICS

OUTPUT = RequestOutput("a", (1,), "b", (2,), "length", 3, METRICS)
CHUNKS = [Chunk("", (2,), ("own",), (), None), Chunk("b", (), (), (("b", "own"),), OUTPUT)]


class Service(inference_pb2_grpc.InferenceServicer):
    """Answers `a` with `b`; its first answer breaks off behind so many messages."""

    def __init__(self, breaks_behind):
        self.breaks_behind = breaks_behind
        self.calls = 0

    def Generate(self, request, context):  # noqa: N802
        self.calls += 1
        if self.calls == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return output_to_wire(OUTPUT)

    def Stream(self, request, context):  # noqa: N802
        self.calls += 1
        for count, chunk in enumerate(CHUNKS):
            if self.calls == 1 and count == self.breaks_behind:
                context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
            yield chunk_to_wire(chunk)


@pytest.fixture
def serving():
    """Starts a service, and returns its address."""
    server = grpc.server(ThreadPoolExecutor(1))

    def start(service):
        inference_pb2_grpc.add_InferenceServicer_to_server(service, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        return f"127.0.0.1:{port}"

    yield start
    server.stop(None).wait()


def generate(address, **options):
    with Client(address, **options) as client:
        return client.generate("a")[0]


def stream(address, **options):
    with Client(address, **options) as client:
        return list(client.stream("a"))[-1].finished


def generate_asynchronously(address, **options):
    async def ask():
        async with AsyncClient(address, **options) as client:
            return (await client.generate("a"))[0]

    return asyncio.run(ask())


def stream_asynchronously(address, **options):
    async def ask():
        async with AsyncClient(address, **options) as client:
            return [chunk async for chunk in client.stream("a")][-1].finished

    return asyncio.run(ask())


STREAMS = [stream, stream_asynchronously]
ALL = [generate, generate_asynchronously, *STREAMS]


@pytest.mark.parametrize("ask", ALL)
def test_a_call_of_which_nothing_was_answered_is_sent_again(serving, ask):
    service = Service(0)
    assert ask(serving(service)) == OUTPUT
    assert service.calls == 2


@pytest.mark.parametrize("ask", STREAMS)
def test_a_call_that_broke_behind_a_first_chunk_is_an_error_and_not_sent_again(serving, ask):
    service = Service(1)
    with pytest.raises(UnavailableError, match="not now"):
        ask(serving(service))
    assert service.calls == 1


@pytest.mark.parametrize("ask", ALL)
def test_nothing_is_sent_again_where_that_is_turned_off(serving, ask):
    service = Service(0)
    with pytest.raises(UnavailableError, match="not now"):
        ask(serving(service), retries=False)
    assert service.calls == 1
