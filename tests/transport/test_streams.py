"""Links over real loopback gRPC."""

import asyncio
from contextlib import aclosing, asynccontextmanager

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from amusd.errors import InputError, ProtocolError
from amusd.rpc.v1 import target_pb2, target_pb2_grpc
from amusd.transport.link import Link, converse
from amusd.transport.options import CLIENT_OPTIONS
from amusd.transport.server import start_server


class Echo(target_pb2_grpc.TargetServicer):
    """Answers each Have with a Close of the same request; ends on 12, hangs up on 13, has a bug at 14."""

    def __init__(self):
        self.ready_count = 0
        self.ended = asyncio.Event()

    async def Speculate(self, request_iterator, context):  # noqa: N802
        def on_ready(link):
            self.ready_count += 1

        link = Link(on_ready)

        async def on_message(frame):
            match frame.have.request:
                case 12:
                    link.close()
                    return
                case 13:
                    raise ProtocolError("the drafter sent 13")
                case 14:
                    raise ZeroDivisionError("a bug")
            link.send([target_pb2.TargetFrame(closed=[target_pb2.Close(request=frame.have.request)])])

        try:
            async with aclosing(converse(request_iterator, context, link, on_message)) as frames:
                async for frame in frames:
                    yield frame
        finally:
            self.ended.set()


def have(request):
    return target_pb2.DrafterFrame(have={"request": request, "length": 1})


@asynccontextmanager
async def connected(echo):
    """An open stream to an echo, its channel and the port."""
    add = {"amusd.rpc.v1.Target": lambda s: target_pb2_grpc.add_TargetServicer_to_server(echo, s)}
    server, port = await start_server("127.0.0.1", 0, add)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=CLIENT_OPTIONS) as channel:
        yield target_pb2_grpc.TargetStub(channel).Speculate(), channel, port
    await server.stop(None)


def test_a_link_says_when_it_can_take_the_next_frame():
    async def scenario():
        echo = Echo()
        async with connected(echo) as (call, _, _):
            for request in range(5):
                await call.write(have(request))
                assert (await call.read()).closed[0].request == request
            assert echo.ready_count >= 4  # the last may still be on its way back
            await call.done_writing()
            assert await call.read() == grpc.aio.EOF
            await echo.ended.wait()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("request_id", "code", "words"),
    [
        (13, grpc.StatusCode.INVALID_ARGUMENT, "the drafter sent 13"),
        (14, grpc.StatusCode.INTERNAL, "a bug"),
    ],
)
def test_a_peer_is_told_why_its_stream_broke_and_whose_fault_it_was(request_id, code, words):
    async def scenario():
        async with connected(Echo()) as (call, _, _):
            await call.write(have(request_id))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.code() is code
            assert words in caught.value.details()

    asyncio.run(scenario())


def test_a_stream_that_we_end_ends_for_the_peer():
    async def scenario():
        echo = Echo()
        async with connected(echo) as (call, _, _):
            await call.write(have(12))
            assert await call.read() == grpc.aio.EOF
            await echo.ended.wait()

    asyncio.run(scenario())


def test_a_link_is_closed_once_for_the_first_reason():
    async def scenario():
        link = Link(lambda _: None)
        link.close(ProtocolError("first"))
        link.close(ProtocolError("second"))
        assert str(link.reason) == "first"
        assert [frame async for frame in link.frames()] == []

    asyncio.run(scenario())


def test_a_frame_larger_than_grpcs_own_limit_gets_through():
    async def scenario():
        async with connected(Echo()) as (call, _, _):
            await call.write(target_pb2.DrafterFrame(propose={"columns": bytes(5 << 20)}))
            assert len((await call.read()).closed) == 1

    asyncio.run(scenario())


def test_a_client_that_goes_away_ends_the_stream():
    async def scenario():
        echo = Echo()
        async with connected(echo) as (call, _, _):
            await call.write(have(1))
            await call.read()
            call.cancel()
            await echo.ended.wait()

    asyncio.run(scenario())


def test_the_server_reports_its_health():
    async def scenario():
        async with connected(Echo()) as (_, channel, _):
            stub = health_pb2_grpc.HealthStub(channel)
            reply = await stub.Check(health_pb2.HealthCheckRequest(service="amusd.rpc.v1.Target"))
            assert reply.status == health_pb2.HealthCheckResponse.SERVING

    asyncio.run(scenario())


def test_the_server_lists_its_services():
    async def scenario():
        async with connected(Echo()) as (_, channel, _):
            call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
            await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
            names = {service.name for service in (await call.read()).list_services_response.service}
            assert {"amusd.rpc.v1.Target", "grpc.health.v1.Health"} <= names
            await call.done_writing()

    asyncio.run(scenario())


def test_a_port_in_use_is_named():
    async def scenario():
        async with connected(Echo()) as (_, _, port):
            with pytest.raises(InputError, match=rf"port: 127.0.0.1:{port}: it is in use"):
                await start_server("127.0.0.1", port, {})

    asyncio.run(scenario())
