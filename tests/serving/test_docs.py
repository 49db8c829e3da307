"""The examples of docs/serving.md do what they say, on a server that was started as it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.conftest import KEY

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
ADDRESSES = ("http://127.0.0.1:8000", "127.0.0.1:8001")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def commands():
    """One for each line, continued ones joined; the server itself is started by the fixture."""
    lines = "".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [line for line in lines if not line.startswith(("amusd serve", "echo '{%"))]


def here(text, server):
    return text.replace(ADDRESSES[0], server.http).replace(ADDRESSES[1], server.grpc)


def test_the_page_has_examples_and_uses_the_fixture_s_key():
    assert len(blocks("python")) == 3
    assert len(commands()) >= 6
    assert f"--api-key {KEY}" in PAGE


@pytest.mark.parametrize("example", blocks("python"), ids=["openai", "client", "asyncio"])
def test_python_examples_print_text(server, example):
    done = subprocess.run(
        [sys.executable, "-c", here(example, server)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 20


@pytest.mark.parametrize("command", commands(), ids=lambda command: command[:40])
def test_commands_succeed(server, command):
    line = here(command, server).replace("amusd chat", f"{sys.executable} -m amusd chat")
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert '"error":' not in done.stdout  # the colon tells a failure from a token that says so
