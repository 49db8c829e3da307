"""A server from its start, through README's example, to the end of its patience."""

import asyncio
import contextlib
import os
import queue
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from amusd import Client, SamplingParams, UnavailableError
from amusd.serving.server import Server
from amusd.serving.settings import ServerConfig
from tests.serving.conftest import served
from tests.serving.fakes import FakeCoordinator

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
DRAIN_SECONDS = 0.5
END_SECONDS_MAX = 15  # of the drain, the interfaces, the workers; far below what the requests would take


def told_until(log, event):
    """The fields of an event of the log."""
    while True:
        name, fields = log.get(timeout=30)
        if name == event:
            return fields


def probe(http_port, grpc_port):
    """What each interface says of the server, and what becomes of a request."""
    address = f"http://127.0.0.1:{http_port}"
    health = httpx.get(f"{address}/health")
    posted = httpx.post(f"{address}/v1/completions", json={"prompt": "a", "max_tokens": 2})
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        reply = stub.Check(health_pb2.HealthCheckRequest(service="amusd.rpc.v1.Inference"))
    name = health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)
    return health.status_code, health.json()["status"], posted.status_code, name


def test_a_server_is_ready_only_when_a_first_token_was_decoded(reader, monkeypatch):
    coordinator, log, found = FakeCoordinator(reader), queue.Queue(), {}
    coordinator.hold.clear()  # the workers are there, and the first token takes its time

    async def connect(*, traced):
        return coordinator

    async def disconnect():
        pass

    engine = SimpleNamespace(
        start_workers=lambda: None,
        connect=connect,
        disconnect=disconnect,
        close=lambda: None,
    )
    monkeypatch.setattr("amusd.serving.server.HostedEngine", lambda reader, say: engine)
    monkeypatch.setattr("amusd.serving.server.log", lambda event, **fields: log.put((event, fields)))

    async def run():
        loop, server = asyncio.get_running_loop(), Server(reader, ServerConfig(port=0, grpc_port=0), None)

        def watch():
            try:
                ports = told_until(log, "starting")
                ports = ports["http_port"], ports["grpc_port"]
                while not coordinator.live_count:
                    time.sleep(0.01)
                found["before"] = probe(*ports), len(coordinator.asked)
                loop.call_soon_threadsafe(coordinator.hold.set)
                told_until(log, "ready")
                found["after"] = probe(*ports), len(coordinator.asked)
            finally:
                loop.call_soon_threadsafe(server._on_signal)

        watching = threading.Thread(target=watch)
        watching.start()
        await server.run()
        watching.join()

    asyncio.run(run())
    assert found == {
        "before": ((503, "starting", 503, "NOT_SERVING"), 1),
        "after": ((200, "ready", 200, "SERVING"), 2),
    }


@pytest.fixture(scope="module")
def example():
    """The lines of README's section on serving."""
    [block] = re.findall(r"^## Serve\n\n```\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return block.splitlines()


@pytest.fixture(scope="module")
def readme_server(example, tmp_path_factory):
    """As README starts it, on free ports and with little patience."""
    folder = tmp_path_factory.mktemp("readme")
    install, template, serve, *_ = example
    assert install == "pip install 'amusd[serve]'"
    subprocess.run(template, shell=True, cwd=folder, check=True)
    program, command, *options = shlex.split(serve, comments=True)
    assert (program, command) == ("amusd", "serve")
    options = [str(folder / option) if option.endswith(".jinja") else option for option in options]
    with served(*options, "--drain-seconds", str(DRAIN_SECONDS)) as running:
        yield running


def test_the_lines_of_the_readme_work_as_they_stand(readme_server, example):
    *_, curl, chat = example
    curl = curl.replace("localhost:8000", readme_server.http.removeprefix("http://"))
    done = subprocess.run(curl, shell=True, capture_output=True, text=True, timeout=100, check=True)
    assert '"finish_reason"' in done.stdout
    program, *arguments = shlex.split(chat.replace("localhost:8001", readme_server.grpc), comments=True)
    assert program == "amusd"
    done = subprocess.run(
        [sys.executable, "-m", "amusd", *arguments, "--max-tokens", "24", "--temperature", "0"],
        input="def fibonacci(n):\n",
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 20


def test_a_request_that_outlives_the_drain_is_cut_and_the_server_still_ends_well(readme_server):
    """The last of this module: it ends the server."""
    with Client(readme_server.grpc) as client, httpx.Client(base_url=readme_server.http, timeout=30) as web:
        pids = [worker["pid"] for worker in client.info()["workers"].values()]
        assert len(pids) == 2
        stream = client.stream("class A:", SamplingParams(temperature=0, max_tokens=1900, ignore_eos=True))
        assert next(stream).token_ids
        body = {
            "prompt": "class B:",
            "max_tokens": 1900,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
        }
        with web.stream("POST", "/v1/completions", json=body) as response:
            lines = response.iter_lines()
            assert next(lines).startswith("data: ")
            told = time.monotonic()
            readme_server.process.send_signal(signal.SIGTERM)
            with pytest.raises(UnavailableError):
                list(stream)
            seen = []
            with contextlib.suppress(httpx.RemoteProtocolError):
                seen.extend(lines)
    assert readme_server.process.wait(timeout=30) == 0
    assert DRAIN_SECONDS < time.monotonic() - told < END_SECONDS_MAX
    assert "data: [DONE]" not in seen
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
