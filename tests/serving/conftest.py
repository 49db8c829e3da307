"""Servers under test: one with a fake engine for what it refuses, a real one for what it writes."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import amusd.models
from amusd import Client
from amusd.config import EngineConfig
from amusd.prompts import PromptReader

KEY = "secret"
FREE_SECONDS_MAX = 20
TEMPLATE = Path(__file__).parent / "template.jinja"
CORES = sorted(os.sched_getaffinity(0))
PROMPTS = Path(amusd.models.__file__).parent / "demo" / "prompts.jsonl"


@pytest.fixture(scope="package")
def reader():
    """Of the embedded pair; no test changes it."""
    return PromptReader(EngineConfig(launcher="local", max_model_len=64))


@pytest.fixture(scope="package")
def held_out():
    """Prompts that no model was trained on."""
    return [json.loads(line)["prompt"] for line in PROMPTS.read_text(encoding="utf-8").splitlines()]


@contextlib.contextmanager
def served(*options):
    """A real server process, ready; the lines of its log are read on."""
    command = [sys.executable, "-m", "amusd", "serve", "--launcher", "local"]
    pin = ["--port", "0", "--grpc-port", "0", "--target-devices", f"cpu:{CORES[0]}"]
    process = subprocess.Popen([*command, *pin, *options], stderr=subprocess.PIPE, text=True)
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if ready := re.search(r" ready .*http_port=(\d+) grpc_port=(\d+)", line):
                break
        else:
            raise AssertionError("".join(lines))
        http, grpc = ready.groups()
        yield SimpleNamespace(
            process=process, http=f"http://127.0.0.1:{http}", grpc=f"127.0.0.1:{grpc}", log=process.stderr
        )
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@pytest.fixture(scope="package")
def server():
    """Target and draft on different cores and a lookup, four requests at a time, twelve waiting, a key."""
    draft = ("--draft", "demo-large", "--draft", "prompt-lookup", "--draft-devices", f"cpu:{CORES[-1]}")
    limits = ("--max-requests", "4", "--max-queue", "12", "--drain-seconds", "0", "--statistics-seconds", "1")
    with served(*draft, *limits, "--api-key", KEY, "--chat-template", str(TEMPLATE)) as running:
        yield running


@pytest.fixture(scope="package")
def client(server):
    """Of that server."""
    with Client(server.grpc, token=KEY) as made:
        yield made


def held(client):
    """What requests hold in the server and in both workers."""
    info = client.info()
    assert set(info["occupancy"]) == {"target", "draft 0"}
    counts = {f"{name} {what}": n for name, found in info["occupancy"].items() for what, n in found.items()}
    return counts | {"running": info["running"], "waiting": info["waiting"]}


def wait_until_free(client):
    """Fail unless all of that ends."""
    until = time.monotonic() + FREE_SECONDS_MAX
    while any(found := held(client).values()):
        assert time.monotonic() < until, found
        time.sleep(0.05)
