"""A server process on this machine, for the scripts that load one."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import amusd.models

PROMPTS = Path(amusd.models.__file__).parent / "demo" / "prompts.jsonl"


@dataclass(frozen=True, slots=True)
class LocalServer:
    """Where it is."""

    pid: int
    http_port: int
    grpc_port: int


@contextmanager
def local_server(arguments: Sequence[str], log: Path) -> Iterator[LocalServer]:
    """Run `amusd serve` with free ports until the context ends.

    Args:
        log: where what it says goes.

    Raises:
        RuntimeError: it ended before it was ready.
    """
    ports = ["--port", "0", "--grpc-port", "0", "--log-format", "json"]
    command = [sys.executable, "-m", "amusd", "serve", "--launcher", "local", *ports, *arguments]
    with log.open("w") as written:
        process = subprocess.Popen(command, stderr=written)
    try:
        with log.open() as lines:
            while process.poll() is None:
                line = lines.readline()
                if '"event": "ready"' in line:
                    ready = json.loads(line)
                    yield LocalServer(process.pid, ready["http_port"], ready["grpc_port"])
                    return
        raise RuntimeError(f"the server ended before it was ready; see {log}")
    finally:
        process.terminate()
        process.wait(timeout=60)


def held_out_prompts() -> list[str]:
    """Prompts that the embedded models were not trained on."""
    return [json.loads(line)["prompt"] for line in PROMPTS.read_text(encoding="utf-8").splitlines()]
